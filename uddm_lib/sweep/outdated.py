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


def remove_results(folder: Path, jobs: list[Job], root: Path) -> None:
    """Remove the results of ``jobs`` in the profile's ``folder``, so that they run again.

    With a training go its runs' whole folders, since all else in them comes from their models.
    """
    for job in jobs:
        (root / job.target).unlink(missing_ok=True)
        for run in job.runs if job.stage == "training" else ():
            shutil.rmtree(root / job.run_folder(run), ignore_errors=True)
        status.remove_record(folder, job.target)


def remove_incomplete(jobs: Mapping[str, Job], root: Path) -> None:
    """Remove executed notebooks whose tables are gone: Snakemake then runs these again."""
    for job in jobs.values():
        tables = [table for run in job.runs for table in job.tables(run)]
        if not all((root / table).is_file() for table in tables):
            (root / job.target).unlink(missing_ok=True)


def _exists(job: Job, root: Path) -> bool:
    folders = [root / job.run_folder(run) for run in job.runs]
    return (root / job.target).exists() or (
        job.stage == "training" and any((folder / "run.json").exists() for folder in folders)
    )
