"""What a sweep has to do and what it has done, in files of the profile's folder.

``sweep.json`` says which jobs a sweep has; it is written when the sweep starts. ``jobs/`` holds one
record a job, which the job alone replaces: jobs on several machines never write to one file. A
record keeps the duration of an earlier execution: the time left is known from the first job on.
"""

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from uddm_lib.results import atomic_write, package_digest
from uddm_lib.sweep.jobs import Job
from uddm_lib.sweep.paths import results_folder

ENDED = ("done", "failed", "stopped")
_RECENT = 4  # executions of a kind that a duration is the mean of: the profile may have changed


class Record(TypedDict):
    """How a job stands."""

    target: str
    kind: list[str]
    state: str  # running, done, failed or stopped
    time: float  # when it came to be in this state
    seconds: float | None  # how long the execution took that ended
    seconds_when_done: float | None  # how long the last one took that was done
    code: list[str]  # digests of the versions of uddm_lib that worked on it
    message: str | None


class Progress(NamedTuple):
    """How far a sweep is: jobs ended, jobs planned, seconds left (None when nothing is known)."""

    ended: int
    planned: int
    seconds_left: float | None


def write_sweep(folder: Path, jobs: Mapping[str, Job], workers: int) -> None:
    """Start a sweep of ``jobs``, ``workers`` at a time."""
    described = {
        target: {"kind": job.kind, "tables": [job.tables(run)[-1] for run in job.runs]}
        for target, job in jobs.items()
    }
    content = {"time": time.time(), "workers": workers, "jobs": described}
    atomic_write(folder.resolve() / "sweep.json", json.dumps(content, indent=1))


def read_sweep(folder: Path) -> dict[str, Any]:
    """The sweep that was started last in ``folder``; one without jobs if there was none."""
    try:
        content: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    except FileNotFoundError:
        return {"time": 0, "workers": 1, "jobs": {}}
    return content


def write_record(
    folder: Path,
    target: str,
    kind: list[str],
    state: str,
    code: list[str],
    seconds: float | None = None,
    message: str | None = None,
) -> None:
    """Record that the job ``target`` is now in ``state``, for which see :class:`Record`."""
    earlier = read_record(folder, target)
    when_done = earlier["seconds_when_done"] if earlier else None
    record = Record(
        target=target,
        kind=kind,
        state=state,
        time=time.time(),
        seconds=seconds,
        seconds_when_done=seconds if state == "done" else when_done,
        code=code,
        message=message,
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


def code_versions(folder: Path, target: str, kind: list[str]) -> list[str]:
    """Digests of the versions of uddm_lib that work on the job ``target``, this one last.

    Only a training continues what earlier versions left in the folders of its runs.
    """
    current, record = package_digest(), read_record(folder, target)
    earlier = record["code"] if record and kind[:1] == ["training"] else []
    return [*(digest for digest in earlier if digest != current), current]


def remove_record(folder: Path, target: str) -> None:
    """Forget the job ``target``."""
    _record_file(folder, target).unlink(missing_ok=True)


def progress(folder: Path, now: float | None = None) -> Progress:
    """How far the sweep is at the time ``now``, by default this moment."""
    sweep, known, now = read_sweep(folder), records(folder), now or time.time()
    durations = defaultdict(list)
    for record in known.values():
        if record["seconds_when_done"] is not None:
            for depth in range(len(record["kind"]) + 1):
                durations[tuple(record["kind"][:depth])].append(record["seconds_when_done"])
    recent = {
        target: record
        for target, record in known.items()
        if target in sweep["jobs"] and record["time"] >= sweep["time"]
    }
    ended = {target for target, record in recent.items() if record["state"] in ("done", "failed")}
    left = []
    for target in sweep["jobs"].keys() - ended:
        expected = _expected_seconds(durations, sweep["jobs"][target]["kind"])
        if expected is None:
            return Progress(len(ended), len(sweep["jobs"]), None)
        running = target in recent and recent[target]["state"] == "running"
        left.append(max(expected - (now - recent[target]["time"] if running else 0), 0))
    seconds = max(sum(left) / sweep["workers"], max(left, default=0))
    return Progress(len(ended), len(sweep["jobs"]), seconds)


def share_done(folder: Path) -> float:
    """The share of the sweep that is done, 0 to 1, counted in runs of notebooks."""
    sweep, known, root = read_sweep(folder), records(folder), folder.resolve().parents[1]
    total = done = 0
    for target, job in sweep["jobs"].items():
        record, size = known.get(target), max(len(job["tables"]), 1)
        ended = record and record["time"] >= sweep["time"] and record["state"] in ("done", "failed")
        total += size
        done += size if ended else sum((root / table).is_file() for table in job["tables"])
    return done / total if total else 0.0


def opening_line(folder: Path) -> str:
    """The line that a sweep starts with."""
    workers, (_, planned, left) = read_sweep(folder)["workers"], progress(folder)
    line = f"{folder.name}: notebooks to run: {planned}, {workers} at a time"
    return line + (f", about {duration_in_words(left)}" if left else "")


def ended_line(
    folder: Path, label: str, state: str, seconds: float, message: str | None = None
) -> str:
    """What the screen shows when the job ``label`` ended, with ``message`` below it."""
    ended, planned, left = progress(folder)
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


def _record_file(folder: Path, target: str) -> Path:
    name = Path(target).relative_to(results_folder(folder.name))
    return folder.resolve() / "jobs" / name.with_suffix(".json")


def _expected_seconds(
    durations: Mapping[tuple[str, ...], list[float]], kind: list[str]
) -> float | None:
    """Mean duration of the jobs most like ``kind``: of one stage, corpus, size; else less alike."""
    for depth in range(len(kind), -1, -1):
        if known := durations.get(tuple(kind[:depth])):
            recent = known[-_RECENT:]
            return sum(recent) / len(recent)
    return None
