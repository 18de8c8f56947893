"""Execute one notebook of the sweep with Papermill and make its HTML page: what the Snakefile's rules call.

The executed notebook gets its name only when all of it succeeded; a failed one is kept as
`<name>.failed.ipynb`.
"""

import argparse
import json
import logging
import os
import sys
import textwrap
import threading
import time
from pathlib import Path

import ledger
import papermill
from nbconvert import HTMLExporter
from profiles import ROOT

from uddm_lib.results import atomic_write

HEARTBEAT = 30  # seconds until the first line of a job that is still running; then one every two of these


def main():
    options = _options()
    target = ROOT / options.outputs[0]
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    os.environ["UDDM_PROGRESS"] = str(target.with_name(f".{target.stem}.progress.json"))
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
    ledger.note(folder, options.outputs[0], options.kind, "failed" if failure else "done", seconds)
    print(_standing(folder, options.label, seconds, bool(failure)), *([failure] if failure else []),
          sep="\n", flush=True)
    return 1 if failure else 0


def _options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--notebook", required=True, help="the notebook, from the repository root")
    parser.add_argument("--outputs", nargs="+", required=True, metavar="FILE",
                        help="the executed notebook, then what it has to write, from the repository root")
    parser.add_argument("--parameters", type=json.loads, default={}, help="its parameters, as JSON")
    parser.add_argument("--folder", required=True, help="the profile's folder, with the sweep's plan")
    parser.add_argument("--kind", type=json.loads, default=[], help="[stage, corpus, size], as JSON")
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
        executed = papermill.execute_notebook(notebook, running, parameters=parameters, kernel_name="python3",
                                              cwd=ROOT, progress_bar=False)
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
    if hasattr(error, "ename"):  # a cell raised; anything else is the machinery: a dead kernel, a full disk
        source = error.source.strip().splitlines()
        lines[0] += f", cell [{error.exec_count}], failed:"
        lines += [f"    | {line}" for line in source[:6]] + (["    | ..."] if len(source) > 6 else [])
        lines += [f"  {error.ename}: {textwrap.shorten(error.evalue, 600)}"]
    else:
        lines += [f"  failed with {type(error).__name__}: {error}"]
    if failed.exists():
        lines += [f"  what was executed: {failed.relative_to(ROOT)}"]
    return "\n".join(lines)


def _standing(folder, label, seconds, failed):
    ended, planned, left = ledger.standing(folder)
    count = f"[{ended:>{len(str(planned))}}/{planned}] " if planned else ""
    rest = f"about {ledger.in_words(left)} left" if left and ended < planned else ""
    minutes, seconds = divmod(round(seconds), 60)
    line = f"{count}{label:<36} {minutes:3d}:{seconds:02d}  {'FAILED  ' if failed else ''}{rest}"
    return line.rstrip()


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
            print(f"      {label}: {state['description']} {state['done']}/{state['total']}"
                  + (f", about {ledger.in_words(left)}" if left else ""), flush=True)

    threading.Thread(target=beat, daemon=True).start()
    return ended


if __name__ == "__main__":
    sys.exit(main())
