"""The command ``train``: train one run of a profile, in one process or in several.

    accelerate launch --num_processes 8 -m uddm_lib train paper lm1b-medium-nall-s1
    torchrun --nproc-per-node 8 -m uddm_lib train paper lm1b-medium-nall-s1

The processes, on one machine or on several with one file system, split every batch. The run's
notebook then finds it trained, and goes on from there.
"""

import argparse
import os
import sys
from pathlib import Path

from uddm_lib.sweep import paths

_DESCRIPTION = """\
Train one run of a profile as its notebook would, runs/PROFILE/RUN. Under accelerate launch or
torchrun, the processes split every batch. Killed, it continues with the same call. On SIGTERM,
which launchers pass on, it makes a checkpoint and exits with status 75.
"""
_EXAMPLE = """\
example:
  accelerate launch --num_processes 8 -m uddm_lib train paper lm1b-medium-nall-s1
"""
STOPPED = 75  # EX_TEMPFAIL of sysexits.h


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "train",
        help="train one run of a profile, in several processes",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("profile", metavar="PROFILE", help="name of a YAML file in runs/")
    parser.add_argument("name", metavar="RUN", help="a run, such as markov-pico-n000064-s1")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train the run; returns the exit status.

    Raises:
        ProfileError: if the profile cannot be run, or has no such run.
    """
    from uddm_lib.training import Stopped  # late: torch takes seconds

    try:
        train_one(options.profile, options.name, paths.checkout())
    except Stopped as stopped:
        print(stopped)
        return STOPPED
    return 0


def train_one(profile: str, name: str, root: Path) -> None:
    """Train the run ``name`` of ``profile`` in the checkout ``root``.

    Raises:
        ProfileError: if the profile cannot be run, or has no such run.
    """
    from uddm_lib import experiments  # late, likewise
    from uddm_lib.sweep import jobs, profiles, status

    trainings = {
        run: job
        for job in jobs.jobs_of(profile, root).values()
        if job.stage == "training"
        for run in job.runs
    }
    if name not in trainings:
        raise profiles.ProfileError(
            f"run {name!r} is not in {paths.profile_file(profile)}, "
            f"which has {', '.join(trainings)}"
        )
    job = trainings[name]
    folder = root / paths.results_folder(profile)
    if os.environ.get("RANK", "0") == "0":  # the first process alone writes
        code = status.code_versions(folder, job.target)
        status.write_record(folder, job.target, "running", code)
    experiment = experiments.prepare(job.all_parameters(root) | job.runs[name])
    experiments.train_run(experiment, folder / name, show_progress=sys.stderr.isatty())
