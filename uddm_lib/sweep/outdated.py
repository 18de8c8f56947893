"""Results that another version of uddm_lib made: found, kept or removed."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from uddm_lib.results import package_digest
from uddm_lib.sweep import status
from uddm_lib.sweep.jobs import Job


def made_by_other_code(folder: Path, jobs: Mapping[str, Job], root: Path) -> list[Job]:
    """The jobs whose results in the profile's ``folder`` are not of this version of uddm_lib alone.

    A result without a record counts as one of another version.
    """
    current, records = [package_digest()], status.records(folder)
    return [
        job
        for target, job in jobs.items()
        if _exists(job, root) and (target not in records or records[target]["code"] != current)
    ]


def remove_results(jobs: list[Job], root: Path) -> None:
    """Remove the results of ``jobs``, so that they run again.

    With a training goes the whole run, since all else in its folder comes from its model.
    """
    for job in jobs:
        target = root / job.target
        if job.stage == "training":
            shutil.rmtree(target.parent)
        else:
            target.unlink(missing_ok=True)  # may be gone with its run


def _exists(job: Job, root: Path) -> bool:
    target = root / job.target
    return target.exists() or (job.stage == "training" and (target.parent / "run.json").exists())
