"""Forked kernels: they hold what was imported before them, are otherwise like any kernel, and end when they have to."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from test_sweep import ROOT, call, execute, finish, sources, write_notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
# A library that notebooks import.
SLOW = """import logging, os
IMPORTED_BY, LOG = os.getpid(), logging.getLogger('slow')
LOG.addHandler(logging.StreamHandler())
os.environ.setdefault('SET_BY_IMPORT', '1')
"""
READ = """import json, os, signal, sys
import numpy, pandas
import slow_library
numbers = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD
slow_library.LOG.warning('logged')
json.dump({'imported by': slow_library.IMPORTED_BY, 'kernel': os.getpid(), 'parent': os.getppid(), 't': t,
           'folder': os.getcwd(), 'group': os.getpgid(0), 'path': sys.path,
           'signals': [repr(signal.getsignal(each)) for each in numbers],
           'environment': {**os.environ, 'JPY_PARENT_PID': None, 'UDDM_KERNELS': None}, 'draw': numpy.random.rand(),
           'columns': pandas.get_option('display.max_columns'), 'library': slow_library.__file__}, open('facts', 'w'))
"""
WAIT = (
    "import os, time\nopen('kernel', 'w').write(str(os.getpid()))\nwhile True:\n    time.sleep(0.1)"
)


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "slow_library.py").write_text(SLOW)
    write_notebook(sources(tmp_path) / "notebooks" / "x.ipynb", "t: float = 1.0", READ)
    return tmp_path


@pytest.fixture
def served(monkeypatch):
    """Start a server for a checkout's notebook x; jobs started from then on know of it."""
    monkeypatch.syspath_prepend(ROOT / "runs")
    import kernels

    with contextlib.ExitStack() as stack:

        def start(checkout):
            monkeypatch.setattr(kernels, "ROOT", checkout)
            log = stack.enter_context(open(checkout / "server.log", "w"))
            variables, held = stack.enter_context(
                kernels.server([checkout / "notebooks" / "x.ipynb"], 1, log)
            )
            monkeypatch.setenv(kernels.VARIABLE, variables[kernels.VARIABLE])
            return held

        yield start


def run(checkout, notebook="x"):
    return execute(checkout, f"notebooks/{notebook}.ipynb", f"runs/tiny/{notebook}.ipynb")


def facts(checkout):
    return json.loads((checkout / "facts").read_text())


def start_waiting(checkout):
    """Start a job that waits for ever; returns its process and the number of its kernel."""
    write_notebook(checkout / "notebooks" / "y.ipynb", "t: float = 1.0", WAIT)
    job = call(
        checkout,
        "runs/execute.py",
        "--notebook",
        "notebooks/y.ipynb",
        "--outputs",
        "runs/tiny/y.ipynb",
        "--folder",
        "runs/tiny",
        "--label",
        "a job",
    )
    while not ((path := checkout / "kernel").exists() and path.read_text()):
        time.sleep(0.05)
    return job, int(path.read_text())


def ends(pid):
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return True
        time.sleep(0.1)
    return False


def test_kernel_has_what_was_imported_before_it(checkout, served):
    served(checkout)
    draws = set()
    for _ in range(2):
        text, code = run(checkout)
        assert code == 0, text
        assert "logged" not in text  # but in the notebook
        found = facts(checkout)
        assert (
            found["imported by"] == found["parent"]
            and found["kernel"] == found["group"] != found["parent"]
        )
        assert ends(found["kernel"])
        draws.add(found["draw"])
    assert len(draws) == 2  # each kernel has random numbers of its own
    executed = nbformat.read(checkout / "runs" / "tiny" / "x.ipynb", 4)
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3]
    assert executed.cells[-1].outputs[0].text == "logged\n"


@pytest.mark.parametrize("backend", ["", "agg"])
def test_forked_kernel_differs_from_others_in_nothing_else(checkout, served, monkeypatch, backend):
    monkeypatch.setenv("MPLBACKEND", backend)
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    monkeypatch.setenv(
        "SLURM_JOB_ID", "1"
    )  # its jobs, and so their kernels, ignore what Slurm sends
    assert run(checkout)[1] == 0
    alone = facts(checkout)
    served(checkout)
    assert run(checkout)[1] == 0
    forked = facts(checkout)
    assert alone["imported by"] == alone["kernel"] and forked["imported by"] == forked["parent"]
    assert alone["t"] == 0.5 and alone["environment"]["SET_BY_IMPORT"] == "1"
    assert alone["signals"].count("<Handlers.SIG_IGN: 1>") == 2
    own = {"imported by", "kernel", "parent", "group", "draw"}
    assert alone.keys() == forked.keys() and {name: alone[name] for name in alone.keys() - own} == {
        name: forked[name] for name in forked.keys() - own
    }


def test_output_of_a_kernel_goes_where_its_job_says(checkout, served):
    served(checkout)
    write_notebook(
        checkout / "notebooks" / "y.ipynb",
        "t: float = 1.0",
        "import os\n_ = os.write(2, b'low level\\n')",
        "print('to the notebook')",
        "import subprocess\nassert subprocess.run(['false']).returncode == 1",
    )
    text, code = run(checkout, "y")
    assert code == 0 and "low level" in text
    assert "to the notebook" in (checkout / "runs" / "tiny" / "y.ipynb").read_text()
    assert "low level" not in (checkout / "server.log").read_text()


def test_failed_cell_and_dead_kernel_are_told(checkout, served):
    served(checkout)
    write_notebook(
        checkout / "notebooks" / "y.ipynb", "t: float = 1.0", "raise ValueError('no luck')"
    )
    text, code = run(checkout, "y")
    assert code == 1 and "ValueError: no luck" in text
    write_notebook(checkout / "notebooks" / "y.ipynb", "t: float = 1.0", "import os\nos._exit(3)")
    text, code = run(checkout, "y")
    assert code == 1 and "DeadKernelError" in text


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_kernel_ends_with_its_job(checkout, served, end):
    served(checkout)
    job, kernel = start_waiting(checkout)
    assert os.getpgid(kernel) == kernel
    job.send_signal(end)
    finish(job)
    assert ends(kernel)


def test_kernel_ends_with_the_server_and_the_next_job_does_without(checkout, served):
    held = served(checkout)
    job, kernel = start_waiting(checkout)
    server = int(Path(f"/proc/{kernel}/stat").read_text().rpartition(")")[2].split()[1])
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGUSR1,
    ):  # these are for the sweep and its jobs
        os.kill(server, number)
    time.sleep(0.2)
    assert os.path.exists(f"/proc/{kernel}")
    os.dup2(os.open(os.devnull, os.O_WRONLY), held[0])  # the last who held its input lets go
    text, code = finish(job)
    assert code == 1 and "DeadKernelError" in text and ends(kernel)
    assert not Path(os.environ["UDDM_KERNELS"]).parent.exists()
    assert run(checkout)[1] == 0
    found = facts(checkout)
    assert found["imported by"] == found["kernel"]


@pytest.mark.parametrize(
    "unsafe",
    [
        pytest.param(
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            id="threads",
        ),
        pytest.param("import os\nos._exit(1)", id="crash"),
    ],
)
def test_jobs_do_without_a_server_that_cannot_fork(checkout, served, unsafe):
    only_there = f"import sys\nif 'kernels' in sys.argv[0]:\n    exec({unsafe!r})\n"
    (checkout / "slow_library.py").write_text(only_there + SLOW)
    served(checkout)
    text, code = run(checkout)
    assert code == 0, text
    found = facts(checkout)
    assert found["imported by"] == found["kernel"]


def test_stuck_server_is_not_waited_for(served, tmp_path, monkeypatch):
    import kernels

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        monkeypatch.setenv(kernels.VARIABLE, str(tmp_path / "s"))
        monkeypatch.setattr(kernels, "PATIENCE", 0.1)
        assert kernels._Forked.asked_for([], {}) is None


def test_kernel_whose_job_went_before_it_answered_ends(checkout, served):
    served(checkout)
    request = {
        "arguments": ["-f", str(checkout / "connection.json")],
        "environment": dict(os.environ),
        "ignored": [],
        "folder": str(checkout),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["UDDM_KERNELS"])
        socket.send_fds(connection, [b"\n"], [1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        kernel = int(connection.recv(100, socket.MSG_PEEK))
    assert ends(kernel)


@pytest.mark.parametrize("folder", ["missing", "x" * 100])
def test_no_server_without_a_place_for_its_socket(served, checkout, monkeypatch, folder):
    import kernels

    (checkout / ("x" * 100)).mkdir()
    monkeypatch.setattr(kernels.tempfile, "tempdir", str(checkout / folder))
    with kernels.server([checkout / "notebooks" / "x.ipynb"], 1, subprocess.DEVNULL) as found:
        assert found == ({}, [])


def test_what_the_project_imports_can_be_forked(tmp_path, monkeypatch):
    # Its libraries start no thread: else every sweep would silently do without.
    monkeypatch.syspath_prepend(ROOT / "runs")
    code = (
        "import glob, sys; sys.path.insert(0, 'runs'); import kernels\n"
        "kernels._import_what(sorted(glob.glob('notebooks/0*.ipynb')))\n"
        "print(kernels._safe_to_fork(), 'transformers.modeling_utils' in sys.modules)"
    )
    import kernels

    environment = os.environ | kernels._environment(1) | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
