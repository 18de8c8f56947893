"""A run that was stopped, killed or short of disk ends, bit by bit, as an undisturbed one."""

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
import torch

from helpers.paths import ROOT
from helpers.training_runs import EXACT, before_step, run, unmeasured
from uddm_lib import checkpoints, devices
from uddm_lib.results import read_table, write_table
from uddm_lib.training import Stopped, TrainingLoop


@pytest.fixture(autouse=True)
def no_measurement(monkeypatch):
    monkeypatch.setattr(devices, "matmul_rate", unmeasured)


@pytest.fixture
def ends(monkeypatch):
    """What runs ended with, by folder name: weights, averaged weights and the optimizer's state."""
    states, run_loop = {}, TrainingLoop.run

    def keeps(self, *arguments):
        rows = run_loop(self, *arguments)
        states[self.folder.parent.name] = self.state.tensors()
        return rows

    monkeypatch.setattr(TrainingLoop, "run", keeps)
    return states


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize("name", ["dropout", "gaussian", "parts"])
def test_a_run_stopped_after_any_step_ends_the_same(tmp_path, monkeypatch, ends, name):
    whole = run(tmp_path / "whole", name)
    number, handlers = (
        signal.SIGTERM,
        [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)],
    )
    steps = []

    def stops(step):
        steps.append(step)
        if step % 2:
            os.kill(os.getpid(), number)

    before_step(monkeypatch, stops)
    for reached in range(2, 13, 2):
        with pytest.raises(
            Stopped,
            match=f"after step {reached}; the same" if reached < 12 else "at its end",
        ):
            run(tmp_path / "stopped", name)
        assert handlers == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
        number = signal.SIGUSR1 if number == signal.SIGTERM else signal.SIGTERM
    assert steps == list(range(12)) and not list((tmp_path / "stopped" / name).glob("*state*"))
    assert run(tmp_path / "stopped", name).log[EXACT].equals(whole.log[EXACT])
    assert same(ends["stopped"], ends["whole"])


def test_outside_the_main_thread_signals_are_left_alone(tmp_path, monkeypatch):
    handlers = []
    before_step(monkeypatch, lambda step: handlers.append(signal.getsignal(signal.SIGTERM)))
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run, args=(tmp_path, "plain"))
    thread.start()
    thread.join()
    assert handlers == [before] * 12


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_the_same(tmp_path, ends):
    whole, chance = run(tmp_path / "whole", "killed"), random.Random(1)
    command = [sys.executable, "tests/helpers/training_runs.py", str(tmp_path / "killed"), "killed"]
    folder = tmp_path / "killed" / "killed"
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    while not any(int(path.stem[6:]) >= 30 for path in checkpoints.states(folder)):
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.05))
    process.kill()
    process.wait()
    assert not (folder / "model").exists()
    (
        folder / ".state-000000100.safetensors.1.tmp"
    ).touch()  # what a kill in the middle of a write leaves
    assert run(tmp_path / "killed", "killed").log[EXACT].equals(whole.log[EXACT])
    assert same(ends["killed"], ends["whole"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "log.csv",
        "log.json",
        "model",
        "run.json",
    ]


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """The folder of a run that died in its tenth step; its checkpoints are of steps 6 and 9."""

    def dies(step):
        if step == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_step(patch, dies)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "again", "plain", checkpoint_every=3)
    folder = tmp_path / "again" / "plain"
    assert [path.name for path in checkpoints.states(folder)] == [
        "state-000000006.safetensors",
        "state-000000009.safetensors",
    ]
    return folder


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-1000] ^= 1
    elif how == "header":
        where = content.index(b"losses")
        content[where + 12] ^= 1
    path.write_bytes(
        content[: len(content) // 2] if how == "truncated" else b"" if how == "empty" else content
    )


@pytest.mark.parametrize("how", ["flipped", "header", "truncated", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path, monkeypatch, capsys, ends, interrupted, how
):
    whole = run(tmp_path / "whole", "plain", checkpoint_every=3)
    damage(interrupted / "state-000000009.safetensors", how)
    steps = []
    before_step(monkeypatch, steps.append)
    again = run(tmp_path / "again", "plain", checkpoint_every=3)
    said = capsys.readouterr().out
    assert "state-000000009.safetensors is not a training state, or damaged" in said
    assert "Going on from the one before it, state-000000006.safetensors" in said
    assert (
        steps[0] == 6
        and again.log[EXACT].equals(whole.log[EXACT])
        and same(ends["again"], ends["whole"])
    )


def test_two_damaged_checkpoints_are_an_error(tmp_path, interrupted):
    for path in checkpoints.states(interrupted):
        damage(path, "flipped")
    with pytest.raises(
        ValueError, match="000000009.safetensors is not .*000000006.safetensors is not"
    ):
        run(tmp_path / "again", "plain", checkpoint_every=3)


def test_a_damaged_checkpoint_does_not_outlive_a_newer_one(tmp_path):
    for step in (3, 6, 9):
        checkpoints.save_step(tmp_path, step, {"a": torch.ones(1000)}, {"step": step})
    damage(tmp_path / "state-000000009.safetensors", "flipped")
    checkpoints.save_step(tmp_path, 7, {"a": torch.ones(1000)}, {"step": 7})
    assert [path.name[6:15] for path in checkpoints.states(tmp_path)] == ["000000006", "000000007"]


# a full disk


@pytest.fixture
def disk(tmp_path):
    """A folder on a file system of its own, of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("no mount command: a full disk can't be made")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "uddm-test", folder],
        stderr=subprocess.PIPE,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"no right to mount a file system that can be full: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk):
    """Fill the disk; returns the file to delete."""
    with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert shutil.disk_usage(disk).free == 0
    return disk / "filler"


@pytest.mark.parametrize("at", [6, 8])
def test_a_full_disk_during_a_checkpoint_loses_nothing(tmp_path, monkeypatch, ends, disk, at):
    """The second checkpoint fails; or, in the run's last steps, the log does."""
    whole = run(tmp_path / "whole", "plain", checkpoint_every=at // 2)
    with monkeypatch.context() as patch:
        before_step(patch, lambda step: step == at - 1 and fill(disk))
        with pytest.raises(
            OSError, match=r"No space left on device.*(state-000000006|log.*csv|log.json)"
        ) as error:
            run(disk / "again", "plain", checkpoint_every=at // 2)
    assert error.value.errno == errno.ENOSPC
    folder = disk / "again" / "plain"
    assert [path.name for path in checkpoints.states(folder)] == [
        "state-000000003.safetensors"
    ] or at == 8
    assert checkpoints.load_last(folder) and not list(folder.glob(".*tmp"))
    (disk / "filler").unlink()
    assert (
        run(disk / "again", "plain", checkpoint_every=at // 2).log[EXACT].equals(whole.log[EXACT])
    )
    assert same(ends["again"], ends["whole"])


def test_a_full_disk_during_a_table_loses_nothing(disk):
    old, new = (pd.DataFrame({"n": range(size)}) for size in (5, 5000))
    write_table(old, disk / "table.csv", {"seed": 1})
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - 8192)  # room for the small file beside it alone
    with pytest.raises(OSError, match="No space left on device.*table.csv"):
        write_table(new, disk / "table.csv", {"seed": 2})
    again = read_table(disk / "table.csv")
    assert again.equals(old) and again.attrs["provenance"] == {"seed": 1}
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "table.csv", "table.json"]
    filler.unlink()
    write_table(new, disk / "table.csv", {"seed": 2})
    assert read_table(disk / "table.csv").equals(new)
