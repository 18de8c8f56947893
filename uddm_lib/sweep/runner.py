"""The command ``sweep``: run the notebooks of a profile; ``make figures`` calls it.

    python -m uddm_lib sweep laptop --cores 2
    python -m uddm_lib sweep paper --cluster slurm --partition gpu --gpus 1 --time 8h

It checks the profile before anything starts, lets Snakemake run what is missing or out of date, and
says where the figures are. Called again, it continues where it stopped.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uddm_lib import environment
from uddm_lib.sweep import cluster, outdated, paths, status
from uddm_lib.sweep.jobs import Job, check_names, jobs_of, unlisted_runs
from uddm_lib.sweep.profiles import SweepError

_DESCRIPTION = """\
Run every notebook that a profile (runs/PROFILE.yaml) asks for, on this machine or on a cluster, and
draw the figures. What is done is not repeated. Further options go to Snakemake.
"""
NOTEBOOK_MEMORY = 2**30  # bytes that a notebook takes on a CPU, mostly for what it imports
_SNAKEMAKE = [
    "--keep-going",
    "--rerun-incomplete",
    *("--rerun-triggers", "mtime", "params", "input"),
    *("--scheduler", "greedy"),
    "--nocolor",
    "--nolock",  # our own lock ends with its process; Snakemake's outlives a kill
    *("--profile", "none"),  # not the user's
    *("--latency-wait", "60"),  # seconds that a file system may take to show a file
]


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "sweep",
        help="run the notebooks of a profile and draw the figures",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an option of Snakemake is no abbreviation of ours
    )
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sweep, those on a cluster too, to ``parser``."""
    parser.add_argument("profile", metavar="PROFILE", help="name of a YAML file in runs/")
    parser.add_argument(
        "--cores", type=int, help="processor cores to use; default: all that there are"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="threads of a notebook: cores // threads notebooks run at a time; default: 1, "
        "or all cores on a machine with a GPU, whose memory two notebooks might exceed",
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument(
        "--keep", action="store_true", help="keep what another version of uddm_lib has finished"
    )
    other.add_argument(
        "--again", action="store_true", help="delete those results, and make them again"
    )
    cluster.add_options(parser)
    parser.set_defaults(takes_further_options=True)


def run(options: argparse.Namespace) -> int:
    """Run the sweep; returns the exit status.

    Raises:
        SweepError: if it cannot start.
    """
    root = paths.checkout()
    paths.check_name(options.profile)
    environment.apply()
    jobs = jobs_of(options.profile, root)
    folder = root / paths.results_folder(options.profile)
    _check_runs(folder, jobs)
    settings = cluster.settings(options, root)
    if settings:
        cluster.check_python()
    with _lock(folder) as lock:
        cores, threads = (0, settings.pop("threads")) if settings else cores_and_threads(options)
        if settings and (left := cluster.jobs_left(options.profile, root)):
            raise SweepError(
                f"{len(left)} Slurm jobs of an earlier sweep of profile {options.profile} are in "
                f"the queue; wait for them or cancel them: scancel {' '.join(left)}"
            )
        _check_versions(folder, jobs, root, options)
        outdated.remove_incomplete(jobs, root)
        if not all((root / target).exists() for target in jobs):
            # Snakemake makes a deleted notebook again only for a page that is not there.
            (folder / "index.html").unlink(missing_ok=True)
        place = cluster.write_profile(folder, settings) if settings else ["--cores", str(cores)]
        command = _snakemake(options.profile, jobs, threads, root)
        with _ended_jobs_shown(folder, jobs) if settings else contextlib.nullcontext():
            return _run_snakemake(
                [*command, *place, *options.further], folder, root, bool(settings), lock
            )


def _check_runs(folder: Path, jobs: Mapping[str, Job]) -> None:
    """Name runs that the profile does not list; refuse unknown names of corpora and sizes."""
    if unlisted := unlisted_runs(folder, jobs.values()):
        print(f"{folder.name}: not in the profile, left out of figures: {', '.join(unlisted)}")
    present = {path.parent.name for path in folder.glob("*/run.json")}
    # Names of runs that exist are known to be right, and the check takes seconds.
    check_names(job for job in jobs.values() if not present.issuperset(job.runs))


def _check_versions(
    folder: Path, jobs: Mapping[str, Job], root: Path, options: argparse.Namespace
) -> None:
    """Refuse results of another version of uddm_lib, unless the options say what to do."""
    if options.keep:
        return
    stale = outdated.made_by_other_code(folder, jobs, root)
    if options.again:
        outdated.remove_results(folder, stale, root)
    elif stale:
        raise SweepError(
            f"results in runs/{folder.name} were made by another version of uddm_lib "
            f"({len(stale)} notebooks). To go on with them: OPTIONS=--keep. "
            "To delete them and make them again: OPTIONS=--again"
        )


def cores_and_threads(options: argparse.Namespace) -> tuple[int, int]:
    """Cores that the sweep uses on this machine, and threads of each notebook.

    More cores than there are, or notebooks than fit into memory, are not used; a line says so.

    Raises:
        SweepError: if the options ``cores`` and ``threads`` don't go together.
    """
    from uddm_lib.devices import default_device  # late: torch takes seconds

    available, memory = environment.available_cores(), environment.available_memory()
    wanted, threads = options.cores or available, options.threads
    if options.cores == 0 or wanted < 1 or not 0 <= threads <= wanted:
        raise SweepError(
            f"--cores {options.cores} --threads {threads}: cores must be at least 1, and "
            "threads from 1 to as many as there are cores"
        )
    cores = min(wanted, available)
    threads = min(threads, cores) or (1 if default_device().type == "cpu" else cores)
    notebooks = min(cores // threads, max(1, memory // NOTEBOOK_MEMORY))
    if cores < wanted or notebooks < cores // threads:
        several = ["" if count == 1 else "s" for count in (notebooks, threads)]
        print(
            f"{notebooks} notebook{several[0]} at a time, {threads} thread{several[1]} each: "
            f"cores available: {available}, memory: {memory / 2**30:.1f} GiB",
            flush=True,
        )
    return notebooks * threads, threads


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[int]:
    """Keep other sweeps of the profile out; yields the descriptor of the file that is locked.

    Raises:
        SweepError: if another sweep holds the lock.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        raise SweepError(
            "a sweep needs the module fcntl, which Windows lacks: on Windows, use WSL"
        ) from None

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise SweepError(f"another sweep of profile {folder.name} is running") from None
        except OSError as error:
            print(
                f"warning: the file system has no locks ({error.strerror}): start no second sweep "
                f"of profile {folder.name} meanwhile",
                file=sys.stderr,
            )
        yield file.fileno()


def _snakemake(profile: str, jobs: Mapping[str, Job], threads: int, root: Path) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "runs" / "Snakefile")]
    # A list of one text: Snakemake would take the bare name 007, even in quotes, for a number.
    listed = json.dumps([profile], ensure_ascii=False)
    command += [*_SNAKEMAKE, "--config", f"profile={listed}", f"threads={threads}"]
    # What a profile lists first is begun first: it should be what takes longest.
    first = [target for target, job in jobs.items() if job.stage == "entropy"][:1]
    command += ["--prioritize", *first]
    if not any((root / paths.figures_folder(profile)).glob("*.png")):
        command += ["--forcerun", "scaling"]
    return command


def _run_snakemake(command: list[str], folder: Path, root: Path, remote: bool, lock: int) -> int:
    """Run Snakemake, whose messages go to a log; returns its exit status.

    ``remote``: its jobs are those of a cluster. The lock is held until all its processes end.
    """
    start, log = time.time(), folder / "snakemake.log"
    try:
        with open(log, "w") as stderr:  # stdout is inherited: local jobs speak for themselves
            code = _call(
                command, remote, cwd=root, stderr=stderr, stdin=subprocess.DEVNULL, pass_fds=[lock]
            )
    except KeyboardInterrupt:
        print("stopped; the same command continues where it was", file=sys.stderr)
        return 1
    sweep = status.read_sweep(folder)
    if code:
        states = [
            record["state"]
            for record in status.records(folder).values()
            if record["time"] >= max(start, sweep["time"])
        ]
        counts = {state: states.count(state) for state in ("failed", "stopped")}
        if not any(counts.values()):  # then it is Snakemake itself that has something to say
            print("".join(log.read_text().splitlines(keepends=True)[-25:]), file=sys.stderr)
        ends = [f"notebooks {state}: {count}" for state, count in counts.items() if count]
        print(
            f"{', '.join(ends) or 'Snakemake stopped'}; the same command continues "
            f"(log: {log.relative_to(root)})",
            file=sys.stderr,
        )
        return 1
    if sweep["time"] < start:
        print(f"{folder.name}: nothing to do, all is up to date")
    print(f"figures: {paths.figures_folder(folder.name)}/")
    print(f"report:  {paths.results_folder(folder.name)}/index.html")
    return 0


def _call(command: list[str], remote: bool, **options: Any) -> int:
    """Run ``command``; returns its exit status.

    Ctrl-C ends it, but lets it cancel the jobs of a cluster first.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            if not remote:
                process.kill()
            process.wait()
            raise


@contextlib.contextmanager
def _ended_jobs_shown(folder: Path, jobs: Mapping[str, Job]) -> Iterator[None]:
    """Show on this screen the jobs of a cluster as they end."""
    shown = {target: record["time"] for target, record in status.records(folder).items()}
    finished = threading.Event()

    def show_new() -> None:
        for target, record in status.records(folder).items():
            if record["state"] in status.ENDED and record["time"] != shown.get(target):
                shown[target] = record["time"]
                if target in jobs:
                    line = status.ended_line(
                        folder,
                        jobs[target].label,
                        record["state"],
                        record["seconds"] or 0,
                        record["message"],
                    )
                    print(line, flush=True)

    def show() -> None:
        while not finished.wait(2):
            show_new()
        show_new()

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
