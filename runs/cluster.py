"""The sweep on a cluster: what a job asks for, as a Snakemake profile.

`runs/profiles/<name>/config.yaml` describes a cluster; options of sweep.py replace its values for one sweep.
"""

import getpass
import importlib.util
import re
import shutil
import subprocess

import yaml
from profiles import ROOT, ProfileError

from uddm_lib.results import atomic_write

PROFILES = ROOT / "runs" / "profiles"
# option -> Snakemake's resource, what it is
RESOURCES = {
    "partition": ("slurm_partition", "partition of the cluster"),
    "account": ("slurm_account", "account that is charged"),
    "gpus": ("gpu", "GPUs of a job that evaluates a network"),
    "time": ("runtime", "time limit of a job: minutes, or a number with m, h or d (8h)"),
    "memory": ("mem_mb", "memory of a job: megabytes, or a number with M or G (16G)"),
}
UNITS = {
    "time": {"": 1, "m": 1, "h": 60, "d": 24 * 60},
    "memory": {"": 1, "M": 1, "G": 1000},
    "gpus": {"": 1},
}


def add_options(parser):
    """Add the options of a sweep on a cluster to an argument ``parser``."""
    group = parser.add_argument_group(
        "on a cluster",
        "what is not given stands in runs/profiles/NAME/config.yaml; "
        "--threads is the number of cpus per task",
    )
    group.add_argument(
        "--cluster", metavar="NAME", help="run every notebook as a job of this cluster (slurm)"
    )
    for name, (_, meaning) in RESOURCES.items():
        group.add_argument(f"--{name}", help=meaning)
    group.add_argument(
        "--no-requeue", action="store_true", help="a stopped job does not go back into the queue"
    )


def settings(options):
    """The Snakemake profile of ``options.cluster`` with the options put in, and ``threads``; None without a cluster.

    Raises:
        ProfileError: naming the option, what was given and what is allowed.
    """
    given = {
        name: getattr(options, name) for name in RESOURCES if getattr(options, name) is not None
    }
    if not options.cluster:
        if given or options.no_requeue:
            raise ProfileError(
                f"{', '.join(given) or 'no_requeue'}: only with a cluster, for instance --cluster slurm"
            )
        return None
    path = PROFILES / options.cluster / "config.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.parent.name for file in PROFILES.glob("*/config.yaml")))
        raise ProfileError(
            f"cluster={options.cluster!r} has no runs/profiles/{options.cluster}/config.yaml; "
            f"there are {known}"
        )
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        raise ProfileError(
            f"cluster={options.cluster!r} takes Snakemake's plugin for Slurm, which is not installed: "
            ".venv/bin/pip install -c constraints.txt -e '.[cluster]'"
        )
    if not shutil.which("squeue"):
        raise ProfileError(
            f"cluster={options.cluster!r}: squeue is not found; start where Slurm's commands are"
        )
    if options.threads < 0:
        raise ProfileError(
            f"threads={options.threads}: at least 1, or 0 for the one in {path.relative_to(ROOT)}"
        )
    config = content.pop("config", {})  # sweep.py gives it in full
    resources = content.setdefault("default-resources", {})
    resources |= {RESOURCES[name][0]: _value(name, text) for name, text in given.items()}
    if options.no_requeue:
        content.pop("slurm-requeue", None)
        content["slurm-no-requeue"] = True
    content["slurm-jobname-prefix"] = _prefix(options.profile)
    return content | {"threads": options.threads or config.get("threads", 1)}


def write(folder, content):
    """Write a Snakemake profile into ``folder``, the sweep's; returns the arguments with which Snakemake uses it."""
    atomic_write(folder / "cluster" / "config.yaml", yaml.safe_dump(content))
    return ["--workflow-profile", str(folder / "cluster")]


def jobs_left(profile):
    """Numbers of the jobs that an earlier sweep of ``profile`` in this checkout left in the queue.

    A sweep that was killed on the machine it was started on leaves its jobs behind; two of them must not write to the
    same run.
    """
    asked = subprocess.run(
        ["squeue", "-h", "--user", getpass.getuser(), "-o", "%i|%j|%Z"],
        capture_output=True,
        text=True,
    )
    lines = [line.split("|") for line in asked.stdout.splitlines()]
    return [
        job
        for job, name, folder in lines
        if name.startswith(f"{_prefix(profile)}_") and folder == str(ROOT)
    ]


def _prefix(profile):
    return re.sub(r"\W", "-", f"uddm-{profile}")[:50]


def _value(name, text):
    """An option's value as Snakemake's resource: a number, or text in quotes since Snakemake evaluates it."""
    if name not in UNITS:
        return repr(text)
    found = re.fullmatch(r"(\d+)([a-zA-Z]?)", text)
    if not found or found[2] not in UNITS[name]:
        units = ", ".join(unit for unit in UNITS[name] if unit)
        raise ProfileError(
            f"{name}={text!r} must be a whole number"
            + (f", which may end in {units}" if units else "")
        )
    return int(found[1]) * UNITS[name][found[2]]
