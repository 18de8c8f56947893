"""Run the sweep of a profile: what `make figures` calls.

    python runs/sweep.py laptop --cores 2
    python runs/sweep.py paper --cluster slurm --partition gpu --gpus 1 --time 8h

It checks the profile before anything starts, lets Snakemake run what is missing or out of date, and says
where the figures are. The cores are shared out among the notebooks as a measurement says (workers.py); on a cluster
every notebook is a job, with what cluster.py asks for. Further arguments go to Snakemake. Called again, it continues
where it stopped.
"""

import argparse
import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import kernels
import ledger
import profiles
import workers
from profiles import ROOT

import cluster

SNAKEMAKE = [
    "--keep-going",
    "--rerun-incomplete",
    "--rerun-triggers",
    "mtime",
    "params",
    "input",
    "--scheduler",
    "greedy",
    "--nocolor",
    "--nolock",
]  # our own lock ends with its process, Snakemake's outlives a kill


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("profile", help="name of a YAML file in runs/")
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="threads a notebook; 0: what a measurement finds faster",
    )
    cluster.add_options(parser)
    options, further = parser.parse_known_args(arguments)
    folder = ROOT / "runs" / options.profile
    try:
        plan = profiles.jobs(options.profile)
        _check_folder(folder, plan)
        settings = cluster.settings(options)
        threads = settings.pop("threads") if settings else _threads(plan, options)
    except profiles.ProfileError as error:
        return f"make figures: {error}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"make figures: another sweep of profile {options.profile} is running"
        if settings and (left := cluster.jobs_left(options.profile)):
            return (
                f"make figures: {len(left)} Slurm jobs of an earlier sweep of profile {options.profile} are in the "
                f"queue; wait for them or cancel them: scancel {' '.join(left)}"
            )
        where = cluster.write(folder, settings) if settings else ["--cores", str(options.cores)]
        return _run(folder, plan, threads, [*where, *further], lock, bool(settings))


def _check_folder(folder, plan):
    """Refuse runs that the profile does not list, since the figures would show them; check unknown names."""
    listed = {Path(target).parent.name for target in plan}
    present = {path.parent.name for path in folder.glob("*/run.json")}
    if strange := sorted(present - listed):
        raise profiles.ProfileError(
            f"runs/{folder.name} holds runs that runs/{folder.name}.yaml does not list, and the figures "
            f"would show them too: {', '.join(strange)}. Delete these folders or list them"
        )
    # Corpora and sizes of runs that exist are known to be right, and the check costs seconds.
    profiles.check_names_of(
        [job for target, job in plan.items() if Path(target).parent.name not in present]
    )


def _threads(plan, options):
    """Threads for each notebook."""
    if options.cores < 1 or not 0 <= options.threads <= options.cores:
        raise profiles.ProfileError(
            f"cores={options.cores}, threads={options.threads}: cores must be at least 1, "
            "threads from 1 to as many as there are cores, or 0 to measure"
        )
    return options.threads or workers.threads_each(plan, options.cores)


def _run(folder, jobs, threads, arguments, lock, remote):
    """Run Snakemake with further ``arguments``; ``remote``: its jobs are those of a cluster."""
    profile, start, log = folder.name, time.time(), folder / "snakemake.log"
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "runs" / "Snakefile"),
        *SNAKEMAKE,
        "--config",
        f"profile={profile}",
        f"threads={threads}",
        *arguments,
    ]
    notebooks = [] if remote else sorted({ROOT / job.notebook for job in jobs.values()})
    figures = ROOT / "paper_figures" / profile
    if not any(figures.glob("*.png")):
        command += ["--forcerun", "scaling"]
    try:
        with (
            open(log, "w") as stderr,
            _said(folder, jobs) if remote else contextlib.nullcontext(),
            kernels.server(notebooks, threads, stderr) as (variables, held),
        ):
            # stdout is inherited: local jobs speak for themselves
            code = _call(
                command,
                remote,
                cwd=ROOT,
                env=os.environ | variables,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                pass_fds=[lock.fileno(), *held],
            )
    except KeyboardInterrupt:
        return "stopped; the same command continues where it was"
    plan = ledger.read_plan(folder)
    last = {
        event["target"]: event["event"]
        for event in ledger.events(folder)
        if event["time"] >= max(start, plan["time"])
    }
    if code:
        ends = {word: list(last.values()).count(word) for word in ("failed", "stopped")}
        if not any(ends.values()):  # then it is Snakemake itself that has something to say
            print("".join(log.read_text().splitlines(keepends=True)[-25:]), file=sys.stderr)
        what = (
            ", ".join(f"notebooks {word}: {n}" for word, n in ends.items() if n)
            or "Snakemake stopped"
        )
        return f"make figures: {what}; the same command continues (log: {log.relative_to(ROOT)})"
    if plan["time"] < start:
        print(f"{profile}: nothing to do, all is up to date")
    print(
        f"figures: {figures.relative_to(ROOT)}/\nreport:  {(folder / 'index.html').relative_to(ROOT)}"
    )
    return 0


def _call(command, remote, **options):
    """Run ``command``; returns its exit status. Ctrl-C ends it, but lets it cancel ``remote`` jobs first."""
    with subprocess.Popen(command, **options) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            if not remote:
                process.kill()
            process.wait()
            raise


@contextlib.contextmanager
def _said(folder, jobs):
    """Show on this screen what the jobs of a cluster note in the ledger as they end."""
    seen, ended = len(ledger.events(folder)), threading.Event()

    def show():
        nonlocal seen
        last = False
        while not last:
            last = ended.wait(2)
            new = ledger.events(folder)[seen:]
            seen += len(new)
            for event in new:
                if event["event"] != "start" and event["target"] in jobs:
                    print(
                        ledger.told(
                            folder,
                            jobs[event["target"]].label,
                            event["event"],
                            event["seconds"],
                            event["text"],
                        ),
                        flush=True,
                    )

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
