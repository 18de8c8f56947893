"""Execute one notebook of the sweep with Papermill and make its HTML page.

The Snakefile's rules call it: ``python -m uddm_lib.sweep.execute --help``. The executed notebook
gets its name only when all of it succeeded; a failed one is kept as ``<name>.failed.ipynb``.

Exit status: 0, done; 1, failed; 75 (EX_TEMPFAIL of sysexits.h), stopped. It is stopped when a
signal ended the training after a checkpoint; the same call continues. Under Slurm a stopped job
first goes back into the queue, unless someone cancelled it.
"""

import argparse
import json
import logging
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from uddm_lib import environment
from uddm_lib.results import atomic_write
from uddm_lib.sweep import cluster, paths, status

PATIENCE = 600  # seconds that a kernel may take to start, and its output to arrive
HEARTBEAT = 30.0  # seconds until a job first says how far it is; then twice as many
EXIT_STATUS = {"done": 0, "failed": 1, "stopped": 75}


class Outcome(NamedTuple):
    """How an execution ended: ``done``, ``failed`` or ``stopped``, and what there is to say."""

    state: str
    message: str | None = None


def main() -> int:
    """Execute the notebook that the command line names; returns the exit status."""
    options = _options()
    root = paths.checkout()
    target, folder = root / options.target, root / options.folder
    environment.apply(options.threads)
    progress = target.with_name(f".{target.stem}.progress.json")
    os.environ["UDDM_PROGRESS"] = str(progress)
    if "SLURM_JOB_ID" in os.environ:
        # Slurm signals every process of a job. The training in the kernel answers for all, so this
        # process ignores the signals. The kernel inherits that: KILL ends what cannot checkpoint.
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
    code = status.code_versions(folder, options.target)
    status.write_record(folder, options.target, "running", code)
    start, ended = time.time(), start_heartbeat(options.label, progress, folder)
    try:
        outcome = _execute(root, options)
    finally:
        ended.set()
        progress.unlink(missing_ok=True)
    seconds, job = time.time() - start, None
    if outcome.state == "stopped":
        job = cluster.job_to_requeue()
        where = f"Slurm job {job} goes back into the queue" if job else "the same command continues"
        outcome = Outcome("stopped", f"  a checkpoint is kept; {where}")
    status.write_record(folder, options.target, outcome.state, code, seconds, outcome.message)
    print(
        status.ended_line(folder, options.label, outcome.state, seconds, outcome.message),
        flush=True,
    )
    if job:  # last of all: it ends this process too
        cluster.requeue(job)
    return EXIT_STATUS[outcome.state]


def start_heartbeat(label: str, progress: Path, folder: Path) -> threading.Event:
    """Start a thread that says now and then how far the job is; the event that ends it.

    Args:
        label: the job's name on the screen.
        progress: the file in which the notebook's progress bar keeps its state.
        folder: the profile's, which knows the share of the whole sweep that is done.
    """
    ended = threading.Event()

    def beat() -> None:
        pause = HEARTBEAT
        while not ended.wait(pause):
            pause = 2 * HEARTBEAT
            try:
                state = json.loads(progress.read_text())
            except (OSError, ValueError):
                continue  # no bar is up at the moment
            left = state["seconds_left"]
            print(
                f"[{status.progress(folder).share:4.0%}] {label}: "
                f"{state['description']} {state['done']}/{state['total']}"
                + (f", about {status.duration_in_words(left)}" if left else ""),
                flush=True,
            )

    threading.Thread(target=beat, daemon=True).start()
    return ended


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--notebook", required=True, help="the notebook, from the repository root")
    parser.add_argument("--target", required=True, help="the executed notebook, likewise")
    parser.add_argument("--parameters", type=json.loads, default={}, help="its parameters, as JSON")
    parser.add_argument("--folder", required=True, help="the profile's folder, with the status")
    parser.add_argument("--label", required=True, help="what the job is called on the screen")
    parser.add_argument("--threads", type=int, default=1, help="of the notebook")
    return parser.parse_args()


def _execute(root: Path, options: argparse.Namespace) -> Outcome:
    """Execute the notebook, and make its HTML page."""
    # jsonschema would build a grammar of international addresses, which takes seconds of every
    # job. Notebooks have no such addresses, and None stands for "not installed".
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    import papermill  # type: ignore[import-untyped]  # it has no types

    from uddm_lib.sweep.notebook_page import notebook_page

    logging.getLogger("papermill").setLevel(logging.ERROR)
    target = root / options.target
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    running = target.with_name(f".{target.stem}.running.ipynb")
    running.parent.mkdir(parents=True, exist_ok=True)
    try:
        executed = papermill.execute_notebook(
            _escaped(root / options.notebook),
            _escaped(running),
            parameters=options.parameters,
            kernel_name="python3",
            kernel_manager_class=_kernel_manager(),
            cwd=root,
            progress_bar=False,
            start_timeout=PATIENCE,
            iopub_timeout=PATIENCE,
            shutdown_kernel="immediate",  # PyTorch takes two seconds to exit
        )
        atomic_write(target.with_suffix(".html"), notebook_page(executed, target.stem))
        os.replace(running, target)
    except Exception as error:
        if getattr(error, "ename", "") == "Stopped":  # uddm_lib.training.Stopped, in the kernel
            running.unlink(missing_ok=True)
            return Outcome("stopped")
        if running.exists():
            os.replace(running, failed)
        return Outcome("failed", _failure_message(options.notebook, error, failed, root))
    return Outcome("done")


def _escaped(path: Path) -> str:
    """A path for Papermill, which takes braces in it for parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel_manager() -> type:
    """A class that starts kernels of this Python, whatever kernel is installed as ``python3``."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    return Manager


def _failure_message(notebook: str, error: Any, failed: Path, root: Path) -> str:
    """What went wrong, for a person: notebook, cell, its first lines, the error, where to look."""
    lines = [f"  {notebook}"]
    if hasattr(error, "ename"):  # a cell raised it
        source = error.source.strip().splitlines()
        lines[0] += f", cell [{error.exec_count}], failed:"
        lines += [f"    | {line}" for line in source[:6]]
        lines += ["    | ..."] if len(source) > 6 else []
        lines += [f"  {error.ename}: {textwrap.shorten(error.evalue, 600)}"]
    else:  # a dead kernel, a full disk
        lines += [f"  failed with {type(error).__name__}: {error}"]
    if failed.exists():
        lines += [f"  what was executed: {failed.relative_to(root)}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
