"""What a sweep has to do and what it has done: `plan.json` and `jobs.jsonl` in the profile's folder.

The plan is written when a sweep starts. Every job appends a line when it starts and when it ends; the
durations of earlier sweeps stay, so that the time left is known from the first job on.
"""

import json
import time
from collections import defaultdict
from pathlib import Path

from uddm_lib.results import atomic_write


def write_plan(folder, jobs, workers):
    """Start a sweep of ``jobs`` (a dictionary target -> Job) on ``workers`` workers."""
    kinds = {target: job.kind for target, job in jobs.items()}
    plan = {"time": time.time(), "workers": workers, "jobs": kinds}
    atomic_write(Path(folder).resolve() / "plan.json", json.dumps(plan, indent=1))


def read_plan(folder):
    """The plan in ``folder``; an empty one when there is none."""
    try:
        return json.loads((Path(folder) / "plan.json").read_text())
    except FileNotFoundError:
        return {"time": 0, "workers": 1, "jobs": {}}


def note(folder, target, kind, event, seconds=None, text=None):
    """Append ``event`` (start, done, failed or stopped) of the job ``target``, with what there is to say about it."""
    line = json.dumps(
        {
            "target": target,
            "kind": kind,
            "event": event,
            "time": time.time(),
            "seconds": seconds,
            "text": text,
        }
    )
    with open(Path(folder) / "jobs.jsonl", "a") as file:
        file.write(line + "\n")  # one write: lines of parallel jobs do not mix


def events(folder):
    """All events, oldest first. A line that a kill cut short is left out."""
    path, found = Path(folder) / "jobs.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def standing(folder, now=None):
    """How the sweep stands: (jobs ended, jobs planned, seconds left or None when nothing is known yet)."""
    plan, past, now = read_plan(folder), events(folder), now or time.time()
    recent = [
        event for event in past if event["time"] >= plan["time"] and event["target"] in plan["jobs"]
    ]
    ended = {event["target"] for event in recent if event["event"] in ("done", "failed")}
    started = {event["target"]: event["time"] for event in recent if event["event"] == "start"}
    durations = defaultdict(list)
    for event in past:
        if event["event"] == "done":
            for depth in range(len(event["kind"]) + 1):
                durations[tuple(event["kind"][:depth])].append(event["seconds"])
    left = []
    for target, kind in plan["jobs"].items():
        if target not in ended:
            expected = _expected(durations, kind)
            if expected is None:
                return len(ended), len(plan["jobs"]), None
            left.append(max(expected - (now - started.get(target, now)), 0))
    seconds = max(sum(left) / plan["workers"], max(left, default=0))
    return len(ended), len(plan["jobs"]), seconds


def opening(folder):
    """The line that a sweep starts with."""
    plan, (_, planned, left) = read_plan(folder), standing(folder)
    line = f"{Path(folder).name}: notebooks to run: {planned}, {plan['workers']} at a time"
    return line + (f", about {in_words(left)}" if left else "")


def told(folder, label, event, seconds, text=None):
    """What the screen shows when the job ``label`` ended: how the sweep stands, and ``text`` below it."""
    ended, planned, left = standing(folder)
    count = f"[{ended:>{len(str(planned))}}/{planned}] " if planned else ""
    rest = f"about {in_words(left)} left" if left and ended < planned else ""
    minutes, seconds = divmod(round(seconds), 60)
    word = "" if event == "done" else f"{event.upper()}  "
    line = f"{count}{label:<36} {minutes:3d}:{seconds:02d}  {word}{rest}".rstrip()
    return f"{line}\n{text}" if text else line


def _expected(durations, kind):
    """Mean seconds of the jobs most like ``kind``: of one stage, corpus, size; else less alike."""
    for depth in range(len(kind), -1, -1):
        known = durations.get(tuple(kind[:depth]))
        if known:
            return sum(known[-4:]) / len(known[-4:])  # the latest: the profile may have changed
    return None


def in_words(seconds):
    """Seconds as a person would say them."""
    if seconds < 90:
        return f"{max(round(seconds, -1), 10):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
