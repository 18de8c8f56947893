"""The sweep, killed again and again, ends in the tables of an undisturbed one.

``make test-faults`` runs it, which takes minutes.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from helpers.checkout import checkout
from uddm_lib.results import read_table

KILLS = int(os.environ.get("UDDM_KILLS", 20))
TIMED = ["tokens_per_second", "mfu"]  # columns that are measured times
# The smoke profile's shape with less to do, since the probes of a killed notebook start again.
PROFILE = {
    "theory": {"neurons": 100, "sequences": 16, "counts": [8, 64], "gaussians": 50},
    "experiments": [
        {
            "corpus": "markov",
            "length": 16,
            "vocab_size": 32,
            "sizes": ["pico"],
            "n": [8, 64],
            "training": {
                "steps": 400,
                "batch_size": 32,
                "learning_rate": 6.0e-3,
                "warmup_steps": 50,
                "ema_decay": 0.98,
                "checkpoint_every": 20,
            },
            "recovery": {"sequences": 32, "steps": 10},
            "entropy": {"sequences": 32, "generated": 32, "steps": 10},
        }
    ],
}


@pytest.fixture
def start():
    """Start the sweep of a checkout; what still runs at the test's end is killed."""
    started = []

    def sweep(folder):
        started.append(_sweep(folder))
        return started[-1]

    yield sweep
    for process in started:
        if process.poll() is None:
            kill(process)


def _sweep(folder):
    command = [
        sys.executable,
        "-m",
        "uddm_lib",
        "sweep",
        "faults",
        "--cores",
        "2",
        "--threads",
        "1",
    ]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "default"}
    with open(folder / "output.txt", "a") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def kill(process):
    """SIGKILL to the process group at once, then to the kernels, which have groups of their own."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parents = {
        int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())
    }
    family = {process.pid}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    os.killpg(process.pid, signal.SIGKILL)
    for pid in family - {process.pid}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def tables(folder):
    found = {
        path.relative_to(folder): read_table(path)
        for top in ("runs/faults", "paper_figures/faults")
        for path in (folder / top).rglob("*.csv")
    }
    return {path: table.drop(columns=TIMED, errors="ignore") for path, table in found.items()}


def check(folder, expected, process):
    assert process.returncode == 0, (folder / "output.txt").read_text()[-3000:]
    found = tables(folder)
    assert found.keys() == expected.keys()
    assert [str(path) for path in expected if not found[path].equals(expected[path])] == []


@pytest.mark.faults
def test_a_sweep_killed_at_random_moments_ends_in_the_same_tables(tmp_path, start):
    whole, disturbed = checkout(tmp_path / "whole"), checkout(tmp_path / "disturbed")
    for folder in (whole, disturbed):
        (folder / "runs" / "faults.yaml").write_text(yaml.safe_dump(PROFILE))
    sweep = start(whole)
    sweep.wait()
    expected = tables(whole)
    assert sweep.returncode == 0 and len(expected) > 10, (whole / "output.txt").read_text()[-3000:]
    chance, kills, ends = random.Random(20), 0, 0
    while kills < KILLS:
        sweep, moment = start(disturbed), chance.uniform(1, 25)
        try:
            sweep.wait(moment)
        except subprocess.TimeoutExpired:
            kill(sweep)
            kills += 1
            continue
        check(
            disturbed, expected, sweep
        )  # it ended between two kills: once more from the beginning
        ends += 1
        shutil.rmtree(disturbed / "runs" / "faults")
        shutil.rmtree(disturbed / "paper_figures" / "faults")
        time.sleep(0.1)
    sweep = start(disturbed)
    sweep.wait()
    check(disturbed, expected, sweep)
    print(f"{kills} kills, sweeps that ended: {ends + 1}, tables: {len(expected)}")
