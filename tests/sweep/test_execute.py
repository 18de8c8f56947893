"""One job: failures are readable, a stop is no failure, a long job says how far it is."""

import json
import os
import re

import nbformat
import pytest

from helpers.fake_sweep import finish, start, wait_for, write_notebook
from uddm_lib.sweep import cluster, execute, status

STOPPED = "class Stopped(RuntimeError): pass\nraise Stopped('after step 5')"


def run_job(checkout, target):
    """Execute notebooks/x.ipynb; what it printed, without the kernel's own log, and its status."""
    text, code = finish(
        start(
            checkout,
            *("-m", "uddm_lib.sweep.execute", "--notebook", "notebooks/x.ipynb"),
            *("--target", target, "--folder", "runs/tiny", "--label", "a job"),
            *("--parameters", '{"t": 0.5}'),
        )
    )
    return [line for line in text.splitlines() if "IPKernelApp" not in line], code


def test_failed_notebook_is_one_readable_block(checkout):
    write_notebook(
        checkout / "notebooks" / "x.ipynb",
        "t: float = 1.0",
        "assert t == 0.5",
        "a = 1\nraise ValueError('n=0 is less than 1')\n" + "# more\n" * 9,
    )
    lines, code = run_job(checkout, "runs/tiny/x.ipynb")
    assert code == 1
    assert re.fullmatch(r"a job +0:\d\d  FAILED", lines[0])
    assert lines[1:] == [
        "  notebooks/x.ipynb, cell [4], failed:",
        "    | a = 1",
        "    | raise ValueError('n=0 is less than 1')",
        *["    | # more"] * 4,
        "    | ...",
        "  ValueError: n=0 is less than 1",
        "  what was executed: runs/tiny/x.failed.ipynb",
    ]
    assert not (checkout / "runs" / "tiny" / "x.ipynb").exists()
    nbformat.validate(nbformat.read(checkout / "runs" / "tiny" / "x.failed.ipynb", 4))
    record = status.read_record(checkout / "runs" / "tiny", "runs/tiny/x.ipynb")
    assert record["state"] == "failed" and "n=0 is less than 1" in record["message"]


def test_kernel_of_a_finished_notebook_is_not_waited_for(checkout):
    write_notebook(
        checkout / "notebooks" / "x.ipynb",
        "t: float = 1.0",
        "import atexit, pathlib\n_ = atexit.register(pathlib.Path('exited').touch)",
    )
    lines, code = run_job(checkout, "runs/tiny/x.ipynb")
    assert code == 0, lines
    assert not (checkout / "exited").exists()
    assert "<title>x</title>" in (checkout / "runs" / "tiny" / "x.html").read_text()


def test_notebook_that_a_signal_stopped_is_no_failure(checkout):
    write_notebook(checkout / "notebooks" / "x.ipynb", "t: float = 1.0", STOPPED)
    lines, code = run_job(checkout, "runs/tiny/x.ipynb")
    assert code == 75
    assert re.fullmatch(r"a job +0:\d\d  STOPPED", lines[0])
    assert lines[1:] == ["  a checkpoint is kept; the same command continues"]
    folder = checkout / "runs" / "tiny"
    assert [path.name for path in folder.iterdir()] == ["jobs"]
    assert status.read_record(folder, "runs/tiny/x.ipynb")["state"] == "stopped"


@pytest.mark.parametrize(
    ("shown", "requeued"),
    [
        ("JobState=RUNNING Reason=None", True),
        ("JobState=COMPLETING Reason=TimeLimit", True),
        ("JobState=COMPLETING Reason=None", False),
    ],
)
def test_stopped_job_of_slurm_is_requeued_unless_it_was_cancelled(
    tmp_path, monkeypatch, capsys, shown, requeued
):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        f"#!/bin/sh\n[ $1 = show ] && echo {shown} && exit\necho disabled >&2\nexit 1\n"
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert cluster.job_to_requeue() is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert cluster.job_to_requeue() == ("7" if requeued else None)
    cluster.requeue("7")
    assert (
        capsys.readouterr().out
        == "  Slurm job 7 is not requeued: disabled; the same command continues\n"
    )


def test_long_job_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    state = tmp_path / "state.json"
    state.write_text(
        json.dumps({"description": "training", "done": 30, "total": 100, "seconds_left": 70.0})
    )
    monkeypatch.setattr(execute, "HEARTBEAT", 0.01)
    printed = []
    monkeypatch.setattr(status, "progress", lambda folder: status.Progress(1, 14, 0.07, None))
    ended = execute.start_heartbeat("training markov pico", state, tmp_path)
    wait_for(lambda: printed.append(capsys.readouterr().out) or "\n" in "".join(printed))
    ended.set()
    lines = "".join(printed).splitlines()
    assert set(lines) == {"[  7%] training markov pico: training 30/100, about 70 s"}
