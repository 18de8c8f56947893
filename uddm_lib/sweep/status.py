"""What a sweep has to do and what it has done, in files of the profile's folder.

``sweep.json`` says which jobs a sweep has; it is written when the sweep starts. ``jobs/`` holds one
record a job, which the job alone replaces: jobs on several machines never write to one file.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from uddm_lib.results import atomic_write, package_digest
from uddm_lib.sweep.jobs import Job
from uddm_lib.sweep.notebooks import NOTEBOOKS
from uddm_lib.sweep.paths import results_folder

ENDED = ("done", "failed", "stopped")


class Record(TypedDict):
    """How a job stands."""

    target: str
    state: str  # running, done, failed or stopped
    time: float  # when it came to be in this state
    seconds: float | None  # how long the execution took that ended
    code: list[str]  # digests of the versions of uddm_lib that worked on it
    message: str | None


class Progress(NamedTuple):
    """How far a sweep is: jobs ended, jobs planned, the share of the work, seconds left."""

    ended: int
    planned: int
    share: float  # of the runs in all notebooks, 0 to 1
    seconds_left: float | None  # None when nothing is known yet


def write_sweep(folder: Path, jobs: Mapping[str, Job]) -> None:
    """Start a sweep of ``jobs``."""
    last_tables = {
        target: [job.tables(run)[-1] for run in job.runs] for target, job in jobs.items()
    }
    content = {"time": time.time(), "jobs": last_tables, "before": 0}
    content["before"], _ = _counts(folder, content, {})
    atomic_write(folder.resolve() / "sweep.json", json.dumps(content, indent=1))


def read_sweep(folder: Path) -> dict[str, Any]:
    """The sweep that was started last in ``folder``; one without jobs if there was none."""
    try:
        content: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    except FileNotFoundError:
        return {"time": 0, "jobs": {}, "before": 0}
    return content


def write_record(
    folder: Path,
    target: str,
    state: str,
    code: list[str],
    seconds: float | None = None,
    message: str | None = None,
) -> None:
    """Record that the job ``target`` is now in ``state``, for which see :class:`Record`."""
    record = Record(
        target=target, state=state, time=time.time(), seconds=seconds, code=code, message=message
    )
    atomic_write(_record_file(folder, target), json.dumps(record))


def read_record(folder: Path, target: str) -> Record | None:
    """The record of the job ``target``, if it has one."""
    try:
        record: Record = json.loads(_record_file(folder, target).read_text())
    except FileNotFoundError:
        return None
    return record


def records(folder: Path) -> dict[str, Record]:
    """The records of all jobs, by their targets, also of runs that are no longer listed."""
    found: list[Record] = [json.loads(path.read_text()) for path in folder.glob("jobs/**/*.json")]
    return {record["target"]: record for record in sorted(found, key=lambda record: record["time"])}


def code_versions(folder: Path, target: str) -> list[str]:
    """Digests of the versions of uddm_lib that work on the job ``target``, this one last.

    Only a training continues what earlier versions left in the folders of its runs.
    """
    current, record = package_digest(), read_record(folder, target)
    training = Path(target).stem == NOTEBOOKS["training"]
    earlier = record["code"] if record and training else []
    return [*(digest for digest in earlier if digest != current), current]


def remove_record(folder: Path, target: str) -> None:
    """Forget the job ``target``."""
    _record_file(folder, target).unlink(missing_ok=True)


def progress(folder: Path, now: float | None = None) -> Progress:
    """How far the sweep is at the time ``now``, by default this moment."""
    sweep, known, now = read_sweep(folder), records(folder), now or time.time()
    recent = {
        target: record
        for target, record in known.items()
        if target in sweep["jobs"] and record["time"] >= sweep["time"]
    }
    ended = sum(record["state"] in ("done", "failed") for record in recent.values())
    done, total = _counts(folder, sweep, recent)
    # What was there before took no time of this sweep.
    share = (done - sweep["before"]) / max(total - sweep["before"], 1)
    left = (now - sweep["time"]) * (1 - share) / share if share > 0 else None
    return Progress(ended, len(sweep["jobs"]), share, left)


def opening_line(folder: Path) -> str:
    """The line that a sweep starts with."""
    return f"{folder.name}: notebooks to run: {len(read_sweep(folder)['jobs'])}"


def ended_line(
    folder: Path, label: str, state: str, seconds: float, message: str | None = None
) -> str:
    """What the screen shows when the job ``label`` ended, with ``message`` below it."""
    ended, planned, _, left = progress(folder)
    count = f"[{ended:>{len(str(planned))}}/{planned}] " if planned else ""
    rest = f"about {duration_in_words(left)} left" if left and ended < planned else ""
    minutes, seconds = divmod(round(seconds), 60)
    word = "" if state == "done" else f"{state.upper()}  "
    line = f"{count}{label:<36} {minutes:3d}:{seconds:02d}  {word}{rest}".rstrip()
    return f"{line}\n{message}" if message else line


def duration_in_words(seconds: float) -> str:
    """A duration as a person would say it."""
    if seconds < 90:
        return f"{max(round(seconds, -1), 10):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _counts(folder: Path, sweep: dict[str, Any], recent: dict[str, Record]) -> tuple[int, int]:
    """How many runs of the sweep's notebooks are done, and how many there are."""
    root, done, total = folder.resolve().parents[1], 0, 0
    for target, tables in sweep["jobs"].items():
        total += max(len(tables), 1)
        if target in recent and recent[target]["state"] in ("done", "failed"):
            done += max(len(tables), 1)
        else:
            done += sum((root / table).is_file() for table in tables)
    return done, total


def _record_file(folder: Path, target: str) -> Path:
    name = Path(target).relative_to(results_folder(folder.name))
    return folder.resolve() / "jobs" / name.with_suffix(".json")
