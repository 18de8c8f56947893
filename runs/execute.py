"""Execute one notebook of the sweep with Papermill and make its HTML page: what the Snakefile's rules call.

The executed notebook gets its name only when all of it succeeded; a failed one is kept as
`<name>.failed.ipynb`.

Exit status: 0, done; 1, failed; 75 (EX_TEMPFAIL of sysexits.h), stopped: a signal ended the training after a
checkpoint, and the same call continues. Under Slurm a stopped job is put back into the queue first, unless someone
cancelled it.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

# jsonschema would build a grammar of internationalised addresses, a second of every job; notebooks have none.
sys.modules["rfc3987_syntax"] = None

import kernels
import ledger
import papermill
from nbconvert import HTMLExporter
from profiles import ROOT

from uddm_lib.results import atomic_write

HEARTBEAT = (
    30  # seconds until the first line of a job that is still running; then one every two of these
)
STOPPED = 75  # EX_TEMPFAIL


def main():
    options = _options()
    target = ROOT / options.outputs[0]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    os.environ["UDDM_PROGRESS"] = str(target.with_name(f".{target.stem}.progress.json"))
    mark = target.with_name(f".{target.stem}.stopped")  # training makes it when a signal stopped it
    mark.unlink(missing_ok=True)
    os.environ["UDDM_STOPPED"] = str(mark)
    if (
        "SLURM_JOB_ID" in os.environ
    ):  # Slurm signals every process of a job; the kernel's training answers for all
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(
                number, signal.SIG_IGN
            )  # and the kernel inherits it: KILL ends what cannot checkpoint
    folder = ROOT / options.folder
    folder.mkdir(parents=True, exist_ok=True)
    ledger.note(folder, options.outputs[0], options.kind, "start")
    start, heartbeat = time.time(), _heartbeat(options.label)
    try:
        failure = _execute(ROOT / options.notebook, target, options.parameters)
        missing = [name for name in options.outputs if not (ROOT / name).exists()]
        if missing and not failure:
            failure = f"  {options.notebook} ended without writing {', '.join(missing)}"
    finally:
        heartbeat.set()
        Path(os.environ["UDDM_PROGRESS"]).unlink(missing_ok=True)
    seconds = time.time() - start
    event = "done" if not failure else "stopped" if mark.exists() else "failed"
    if event == "stopped":
        mark.unlink()
        target.with_name(f"{target.stem}.failed.ipynb").unlink(missing_ok=True)
        job = _job_to_requeue()
        failure = "  a checkpoint is kept; " + (
            f"Slurm job {job} goes back into the queue" if job else "the same command continues"
        )
    ledger.note(folder, options.outputs[0], options.kind, event, seconds, failure)
    print(ledger.told(folder, options.label, event, seconds, failure), flush=True)
    if event == "stopped" and job:  # last of all: it ends this process too
        _requeue(job)
    return {"done": 0, "failed": 1, "stopped": STOPPED}[event]


def _options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--notebook", required=True, help="the notebook, from the repository root")
    parser.add_argument(
        "--outputs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="the executed notebook, then what it has to write, from the repository root",
    )
    parser.add_argument("--parameters", type=json.loads, default={}, help="its parameters, as JSON")
    parser.add_argument(
        "--folder", required=True, help="the profile's folder, with the sweep's plan"
    )
    parser.add_argument(
        "--kind", type=json.loads, default=[], help="[stage, corpus, size], as JSON"
    )
    parser.add_argument("--label", required=True, help="what the job is called on the screen")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _execute(notebook, target, parameters):
    """Execute ``notebook`` as ``target``, with its HTML page; returns the text of a failure, or None."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    running = target.with_name(f".{target.stem}.running.ipynb")
    running.parent.mkdir(parents=True, exist_ok=True)
    try:
        executed = papermill.execute_notebook(
            notebook,
            running,
            parameters=parameters,
            kernel_name="python3",
            cwd=ROOT,
            progress_bar=False,
            kernel_manager_class=kernels.KernelManager,
            shutdown_kernel="immediate",
        )  # PyTorch takes two seconds to exit
        page, _ = HTMLExporter().from_notebook_node(executed, {"metadata": {"name": target.stem}})
        atomic_write(target.with_suffix(".html"), page)
        os.replace(running, target)
    except Exception as error:
        if running.exists():
            os.replace(running, failed)
        return _failure(notebook, error, failed)
    return None


def _failure(notebook, error, failed):
    """What went wrong, for a person: notebook, cell, its first lines, the error, where to look."""
    lines = [f"  {notebook.relative_to(ROOT)}"]
    if hasattr(
        error, "ename"
    ):  # a cell raised; anything else is the machinery: a dead kernel, a full disk
        source = error.source.strip().splitlines()
        lines[0] += f", cell [{error.exec_count}], failed:"
        lines += [f"    | {line}" for line in source[:6]] + (
            ["    | ..."] if len(source) > 6 else []
        )
        lines += [f"  {error.ename}: {textwrap.shorten(error.evalue, 600)}"]
    else:
        lines += [f"  failed with {type(error).__name__}: {error}"]
    if failed.exists():
        lines += [f"  what was executed: {failed.relative_to(ROOT)}"]
    return "\n".join(lines)


def _job_to_requeue():
    """The number of the Slurm job that this process is part of, unless someone cancelled it; None without one."""
    job = os.environ.get("SLURM_JOB_ID")
    shown = _call("scontrol", "show", "job", job).stdout if job else ""
    # A job that scancel ended is COMPLETING too, and requeueing would bring it back; one that was warned still runs.
    return job if "JobState=RUNNING" in shown or "Reason=TimeLimit" in shown else None


def _requeue(job):
    asked = _call("scontrol", "requeue", job)
    if asked.returncode:
        print(
            f"  Slurm job {job} is not requeued: {asked.stderr.strip()}; the same command continues",
            flush=True,
        )


def _call(*command):
    return subprocess.run(command, capture_output=True, text=True)


def _heartbeat(label):
    """Start a thread that now and then says how far the notebook is; returns the event that ends it."""
    ended = threading.Event()

    def beat():
        pause = HEARTBEAT
        while not ended.wait(pause):
            pause = 2 * HEARTBEAT
            try:
                state = json.loads(Path(os.environ["UDDM_PROGRESS"]).read_text())
            except (OSError, ValueError):
                continue  # no bar is up at the moment
            left = state["seconds_left"]
            print(
                f"      {label}: {state['description']} {state['done']}/{state['total']}"
                + (f", about {ledger.in_words(left)}" if left else ""),
                flush=True,
            )

    threading.Thread(target=beat, daemon=True).start()
    return ended


if __name__ == "__main__":
    sys.exit(main())
