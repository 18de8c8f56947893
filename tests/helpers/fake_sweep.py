"""A checkout with tiny notebooks, whose sweep takes seconds."""

import copy
import os
import shutil
import subprocess
import sys
import time

import nbformat
import yaml

from helpers.paths import ROOT

PROFILE = {
    "experiments": [
        {
            "corpus": "markov",
            "length": 16,
            "sizes": ["pico"],
            "n": [1, 2],
            "training": {"steps": 3},
            "recovery": {"levels": [0.1]},
        }
    ],
    "assert_claims": ["stored"],
}
_PROBE = (
    "from pathlib import Path\n"
    "for folder in [run] if isinstance(run, str) else run:\n"
    "    for name in {}:\n"
    "        (Path(folder) / name).write_text('a\\n1\\n')"
)
_TRAIN = """\
import time
from pathlib import Path
from uddm_lib.results import run_name
counts, seeds = (value if isinstance(value, list) else [value] for value in (n, seed))
for n, seed in ((n, seed) for n in counts for seed in seeds):
    run = Path(folder) / run_name(corpus, size, n, seed)
    if Path(f'fail-{n}').exists():
        raise RuntimeError(f'no luck with {n}')
    while Path('wait').exists():
        time.sleep(0.1)
    run.mkdir(parents=True, exist_ok=True)
    with open('trained', 'a') as file:
        print(run.name, file=file)
    for name in ('log.csv', 'validation.csv', 'run.json'):
        (run / name).write_text('a\\n1\\n')
"""
NOTEBOOKS = {  # the first cell of each holds its parameters
    "01_theory": ["seed: int = 1", "seed"],
    "02_training": [
        "folder: str = ''\ncorpus: str = ''\nlength: int = 1\n"
        "size: str = ''\nn: int | list[int | str] | str = 1\nseed: int | list[int] = 1\n"
        "steps: int = 1\nlearning_rate: float = 0.1",
        _TRAIN,
    ],
    "03_recovery": [
        "run: str | list[str] = ''\nlevels: list[float] = []",
        _PROBE.format(["recovery.csv", "basins.csv", "examples.csv"]),
    ],
    "04_entropy": [
        "run: str | list[str] = ''\nt: float = 1",
        _PROBE.format(["token_entropy.csv", "sequence_entropy.csv", "samples.csv"]),
    ],
    "05_scaling": [
        "results_folder: str = ''\noutput: str = ''\nassert_claims: list[str] = []\n"
        "left_out: list[str] = []",
        "from pathlib import Path\nPath(output).mkdir(parents=True, exist_ok=True)\n"
        "(Path(output) / 'figure1.png').touch()\nprint(assert_claims, left_out)",
    ],
}


def profile_with(**changes):
    """The profile with ``changes`` in its experiment; a change to None leaves the key out."""
    profile = copy.deepcopy(PROFILE)
    experiment = profile["experiments"][0] | changes
    profile["experiments"] = [{key: v for key, v in experiment.items() if v is not None}]
    return profile


def write_profile(folder, profile, name="tiny"):
    """Write a profile into a checkout."""
    (folder / "runs" / f"{name}.yaml").write_text(yaml.safe_dump(profile))


def write_notebook(path, parameters, *cells):
    """Write a notebook with a cell of parameters and others."""
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [
        nbformat.v4.new_code_cell(source, id=f"cell{number}")
        for number, source in enumerate((parameters, *cells))
    ]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)


def write_sources(folder):
    """Write the sweep's own files into ``folder``, and of the library only what they import."""
    (folder / "notebooks").mkdir()
    (folder / "runs").mkdir()
    for path in (ROOT / "runs").iterdir():
        if path.is_file():
            shutil.copy(path, folder / "runs")
    shutil.copytree(ROOT / "runs" / "profiles", folder / "runs" / "profiles")
    package = folder / "uddm_lib"
    for name in ("results", "sweep"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "uddm_lib" / name, package / name, ignore=ignored)
    for path in (ROOT / "uddm_lib").glob("*.py"):
        shutil.copy(path, package)
    (package / "data.py").write_text("CORPORA = {'markov': 1, 'kjv': 1, 'bible': 1, 'lm1b': 1}\n")
    sizes = "SIZES = dict.fromkeys('pico nano micro mini tiny small medium'.split())\n"
    (package / "model.py").write_text(sizes)


def write_checkout(folder, notebooks=NOTEBOOKS):
    """A checkout in ``folder`` with tiny notebooks and the profile ``tiny``."""
    write_sources(folder)
    for name, cells in notebooks.items():
        write_notebook(folder / "notebooks" / f"{name}.ipynb", *cells)
    write_profile(folder, PROFILE)
    return folder


def start(checkout, *arguments, env=None, **options):
    """Start Python in a checkout, whose package it uses; ``env`` is further variables."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "PYTHONUNBUFFERED": "1",
        **(env or {}),
    }
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=checkout, env=environment, text=True, **pipes, **options
    )


def start_sweep(checkout, profile="tiny", *options, **started_with):
    """Start a sweep on two cores."""
    command = ("-m", "uddm_lib", "sweep", profile, "--cores", "2", "--threads", "1", *options)
    return start(checkout, *command, **started_with)


def finish(process):
    """What a process printed, and its exit status."""
    return process.communicate()[0], process.returncode


def wait_for(ready, seconds=240):
    """Wait until ``ready()`` is true."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.1)
