"""The sweep on a cluster: what a job asks for, as a Snakemake profile, and Slurm's queue.

``runs/profiles/<name>/config.yaml`` describes a cluster; options of the command ``sweep`` replace
its values for one sweep.
"""

import argparse
import getpass
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from uddm_lib.results import atomic_write
from uddm_lib.sweep.profiles import SweepError

# option -> Snakemake's resource, what it is
RESOURCES = {
    "partition": ("slurm_partition", "partition of the cluster"),
    "account": ("slurm_account", "account that is charged"),
    "gpus": ("gpu", "GPUs of a job that evaluates a network"),
    "time": ("runtime", "time limit of a job, such as 90m, 8h or 2d"),
    "memory": ("mem", "memory of a job, such as 16GB"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sweep on a cluster to ``parser``."""
    group = parser.add_argument_group(
        "on a cluster",
        "Options that are not given stand in runs/profiles/NAME/config.yaml; "
        "--threads is the number of CPUs of a job.",
    )
    group.add_argument(
        "--cluster", metavar="NAME", help="run every notebook as a job of this cluster (slurm)"
    )
    for name, (_, meaning) in RESOURCES.items():
        group.add_argument(f"--{name}", type=int if name == "gpus" else str, help=meaning)
    group.add_argument(
        "--no-requeue", action="store_true", help="a stopped job does not go back into the queue"
    )


def settings(options: argparse.Namespace, root: Path) -> dict[str, Any] | None:
    """The Snakemake profile of ``options.cluster`` with the options put in; None without a cluster.

    The entry ``threads`` is no option of Snakemake: how many CPUs a job gets.

    Raises:
        SweepError: naming the option, its value and what is allowed.
    """
    given = {
        name: getattr(options, name) for name in RESOURCES if getattr(options, name) is not None
    }
    if not options.cluster:
        if given or options.no_requeue:
            names = ", ".join(f"--{name}" for name in given) or "--no-requeue"
            raise SweepError(f"{names}: only with a cluster, for instance --cluster slurm")
        return None
    if options.threads < 0:
        raise SweepError(f"--threads {options.threads} is not a positive integer")
    content = _read_profile(options.cluster, root)
    config = content.pop("config", {})  # the sweep gives it in full
    resources = content.setdefault("default-resources", {})
    resources |= {RESOURCES[name][0]: _resource(name, value) for name, value in given.items()}
    if options.no_requeue:
        content.pop("slurm-requeue", None)
        content["slurm-no-requeue"] = True
    content["slurm-jobname-prefix"] = _job_prefix(options.profile)
    threads = options.threads or config.get("threads", 1)
    return content | {"threads": threads}


def write_profile(folder: Path, content: dict[str, Any]) -> list[str]:
    """Write a Snakemake profile into the sweep's ``folder``; the arguments that make it used."""
    atomic_write(folder / "cluster" / "config.yaml", yaml.safe_dump(content))
    return ["--workflow-profile", str(folder / "cluster")]


def jobs_left(profile: str, root: Path) -> list[str]:
    """Numbers of the jobs that an earlier sweep of ``profile`` in this checkout left in the queue.

    A sweep that was killed leaves its jobs behind, and two jobs must not write to the same run.

    Raises:
        SweepError: if Slurm does not say which jobs are in the queue.
    """
    queue = _call("squeue", "-h", "--user", getpass.getuser(), "-o", "%i|%j|%Z")
    if queue.returncode:
        raise SweepError(
            f"squeue failed, so jobs of an earlier sweep may still run: {queue.stderr.strip()}. "
            "Try again when Slurm answers"
        )
    jobs = [line.split("|") for line in queue.stdout.splitlines()]
    return [
        number
        for number, name, folder in jobs
        if name.startswith(f"{_job_prefix(profile)}_") and folder == str(root)
    ]


def job_to_requeue() -> str | None:
    """The number of the Slurm job that this process is part of, unless someone cancelled it."""
    job = os.environ.get("SLURM_JOB_ID")
    shown = _call("scontrol", "show", "job", job).stdout if job else ""
    # A job that scancel ended is COMPLETING like one at its time limit, and requeueing would bring
    # it back. A job that was only warned still runs.
    return job if "JobState=RUNNING" in shown or "Reason=TimeLimit" in shown else None


def requeue(job: str) -> None:
    """Put a Slurm job back into the queue, which ends it."""
    answer = _call("scontrol", "requeue", job)
    if answer.returncode:
        print(
            f"  Slurm job {job} is not requeued: {answer.stderr.strip()}; "
            "the same command continues",
            flush=True,
        )


def _read_profile(name: str, root: Path) -> dict[str, Any]:
    profiles = root / "runs" / "profiles"
    path = profiles / name / "config.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.parent.name for file in profiles.glob("*/config.yaml")))
        raise SweepError(f"--cluster {name} has no {path.relative_to(root)}; there are {known}")
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        raise SweepError(
            f"--cluster {name} takes Snakemake's plugin for Slurm, which is not installed: "
            ".venv/bin/pip install -c constraints.txt -e '.[cluster]'"
        )
    if not shutil.which("squeue"):
        raise SweepError(f"--cluster {name}: squeue is not found; start where Slurm's commands are")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _resource(name: str, value: str | int) -> str | int:
    """An option's value as Snakemake reads it: it parses times and sizes, and evaluates names."""
    return repr(value) if name in ("partition", "account") else value


def _job_prefix(profile: str) -> str:
    return re.sub(r"\W", "-", f"uddm-{profile}")[:50]


def _call(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True)
