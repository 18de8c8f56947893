"""The sweep on a cluster: what a job asks for, as a Snakemake profile, and Slurm's queue.

``runs/profiles/<name>/config.yaml`` describes a cluster; options of the command ``sweep`` replace
its values for one sweep.
"""

import argparse
import ast
import contextlib
import getpass
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from uddm_lib.results import atomic_write
from uddm_lib.sweep.profiles import SweepError

# option -> Snakemake's resource, what it is
RESOURCES = {
    "partition": ("slurm_partition", "partition of the cluster, or several: gpu,long"),
    "account": ("slurm_account", "account that is charged"),
    "gpus": ("gpu", "GPUs of a job that evaluates a network, as 2 or a100:2"),
    "gres": ("gres", "the same as a generic resource, as gpu:a100:2"),
    "time": ("runtime", "time limit of a job, such as 90m, 8h or 2d"),
    "memory": ("mem", "memory of a job, such as 16GB"),
    "qos": ("qos", "quality of service"),
    "constraint": ("constraint", "features of a node, such as a100|h100"),
}
_NAMES = ("partition", "account", "gres", "qos", "constraint")  # text that is no size and no time
_ANSWER = 100  # seconds; a training is warned 120 before its end


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
        group.add_argument(f"--{name}", help=meaning)
    group.add_argument("--exclude", metavar="NODES", help="nodes that no job may use: node1,node2")
    group.add_argument(
        "--no-requeue", action="store_true", help="a stopped job does not go back into the queue"
    )


def check_python() -> None:
    """Refuse a path of Python that a job's script, where it stands without quotes, would break.

    Raises:
        SweepError: naming the path.
    """
    if re.search(r"[^\w@%+=:,./-]", sys.executable):
        raise SweepError(
            f"{sys.executable}: jobs of a cluster take no such path of Python; put the checkout "
            "into a folder whose path has no spaces or quotes"
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
        others = {"exclude": options.exclude, "no-requeue": options.no_requeue}
        if given or any(others.values()):
            names = ", ".join(f"--{name}" for name in [*given, *filter(others.get, others)])
            raise SweepError(f"{names}: only with a cluster, for instance --cluster slurm")
        return None
    if options.threads < 0:
        raise SweepError(f"--threads {options.threads} is not a positive integer")
    content = _read_profile(options.cluster, root)
    config = content.pop("config", {})  # the sweep gives it in full
    content["default-resources"] |= {
        RESOURCES[name][0]: repr(value) if name in _NAMES else value
        for name, value in given.items()
        if name != "gpus"
    }
    _put_gpus(content, given.get("gpus"), given.get("gres"))
    if options.exclude:
        _put_extra(content, f"--exclude={shlex.quote(options.exclude)}")
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
    jobs = [line.split("|", 2) for line in queue.stdout.splitlines()]
    return [
        number
        for number, name, folder in jobs
        if name.startswith(f"{_job_prefix(profile)}_") and Path(folder).resolve() == root.resolve()
    ]


def job_to_requeue() -> str | None:
    """The number of the Slurm job that this process is part of, unless someone cancelled it."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    answer = _call("scontrol", "show", "job", job)
    if answer.returncode:
        print(f"  Slurm does not say how job {job} stands: {answer.stderr.strip()}", flush=True)
    shown = answer.stdout
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
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for key in ("default-resources", "set-resources"):
        content[key] = content.get(key) or {}
        if not isinstance(content[key], dict):
            raise SweepError(f"{path.relative_to(root)}: {key} must have lines of NAME: VALUE")
    rules = content["set-resources"]
    content["set-resources"] = {rule: values or {} for rule, values in rules.items()}
    return content


def _put_gpus(content: dict[str, Any], gpus: str | None, gres: str | None) -> None:
    """Put the GPUs of a job, asked for in one way or the other, into a Snakemake profile.

    Raises:
        SweepError: if both are given, or ``gpus`` is no number, with or without a model.
    """
    found = re.fullmatch(r"(?:([\w.]+):(?!0+$))?(\d+)", gpus or "0")
    if not found:
        raise SweepError(f"--gpus {gpus} is not a number of GPUs, as 2, or of a model, as a100:2")
    if gpus and gres:
        raise SweepError(f"--gpus {gpus} and --gres {gres}: give one of them")
    resources, model = content["default-resources"], found[1]
    if gpus:
        resources["gpu"] = int(found[2])
    if gres:
        resources.pop("gpu", None)
    if model:
        resources["gpu_model"] = repr(model)
    for rule in content["set-resources"].values():
        if rule.get("gpu") == 0:  # what takes no GPU takes none of these either
            rule |= {name: "''" for name in ("gres", "gpu_model") if name in resources}


def _put_extra(content: dict[str, Any], option: str) -> None:
    """Put an option of sbatch into a Snakemake profile: each ``slurm_extra`` replaces others."""
    resources = content["default-resources"]
    for one in (resources, *content["set-resources"].values()):
        if "slurm_extra" in one or one is resources:
            before = one.get("slurm_extra", "")
            with contextlib.suppress(SyntaxError, ValueError):  # Snakemake wants it in quotes
                before = ast.literal_eval(before)
            one["slurm_extra"] = repr(f"{before} {option}".strip())


def _job_prefix(profile: str) -> str:
    return re.sub(r"\W", "-", f"uddm-{profile}")[:50]


def _call(*command: str) -> "subprocess.CompletedProcess[str]":
    """What a command of Slurm says; one that is missing or does not answer has failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
