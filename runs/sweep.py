"""Run the sweep of a profile: what `make figures` calls.

    python runs/sweep.py laptop --cores 2

It checks the profile before anything starts, lets Snakemake run what is missing or out of date, and says
where the figures are. The cores are shared out among the notebooks as a measurement says (workers.py). Further
arguments go to Snakemake. Called again, it continues where it stopped.
"""

import argparse
import fcntl
import subprocess
import sys
import time
from pathlib import Path

import ledger
import profiles
import workers
from profiles import ROOT

SNAKEMAKE = ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", "params", "input",
             "--scheduler", "greedy", "--nocolor",
             "--nolock"]  # our own lock ends with its process, Snakemake's outlives a kill


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("profile", help="name of a YAML file in runs/")
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use")
    parser.add_argument("--threads", type=int, default=0, help="threads a notebook; 0: what a measurement finds faster")
    options, further = parser.parse_known_args(arguments)
    folder = ROOT / "runs" / options.profile
    try:
        plan = profiles.jobs(options.profile)
        _check_folder(folder, plan)
        threads = _threads(plan, options)
    except profiles.ProfileError as error:
        return f"make figures: {error}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"make figures: another sweep of profile {options.profile} is running"
        return _run(options.profile, options.cores, threads, folder, further, lock)


def _check_folder(folder, plan):
    """Refuse runs that the profile does not list, since the figures would show them; check unknown names."""
    listed = {Path(target).parent.name for target in plan}
    present = {path.parent.name for path in folder.glob("*/run.json")}
    if strange := sorted(present - listed):
        raise profiles.ProfileError(
            f"runs/{folder.name} holds runs that runs/{folder.name}.yaml does not list, and the figures "
            f"would show them too: {', '.join(strange)}. Delete these folders or list them")
    # Corpora and sizes of runs that exist are known to be right, and the check costs seconds.
    profiles.check_names_of([job for target, job in plan.items() if Path(target).parent.name not in present])


def _threads(plan, options):
    """Threads for each notebook."""
    if options.cores < 1 or not 0 <= options.threads <= options.cores:
        raise profiles.ProfileError(f"cores={options.cores}, threads={options.threads}: cores must be at least 1, "
                                    "threads from 1 to as many as there are cores, or 0 to measure")
    return options.threads or workers.threads_each(plan, options.cores)


def _run(profile, cores, threads, folder, further, lock):
    start, log = time.time(), folder / "snakemake.log"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "runs" / "Snakefile"), "--config",
               f"profile={profile}", f"threads={threads}", "--cores", str(cores), *SNAKEMAKE, *further]
    figures = ROOT / "paper_figures" / profile
    if not any(figures.glob("*.png")):
        command += ["--forcerun", "scaling"]
    try:
        with open(log, "w") as stderr:  # the jobs speak for themselves on stdout
            code = subprocess.run(command, cwd=ROOT, stderr=stderr, stdin=subprocess.DEVNULL,
                                  pass_fds=[lock.fileno()]).returncode
    except KeyboardInterrupt:
        return "stopped; the same command continues where it was"
    plan = ledger.read_plan(folder)
    failed = [event for event in ledger.events(folder)
              if event["event"] == "failed" and event["time"] >= max(start, plan["time"])]
    if code:
        if not failed:  # then it is Snakemake itself that has something to say
            print("".join(log.read_text().splitlines(keepends=True)[-25:]), file=sys.stderr)
        what = f"notebooks failed: {len(failed)}" if failed else "Snakemake stopped"
        return f"make figures: {what}; the same command continues (log: {log.relative_to(ROOT)})"
    if plan["time"] < start:
        print(f"{profile}: nothing to do, all is up to date")
    print(f"figures: {figures.relative_to(ROOT)}/\nreport:  {(folder / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
