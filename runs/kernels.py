"""Kernels that start at once: forked from one process that has imported what the notebooks import.

Importing PyTorch, transformers and pandas takes four to five seconds of a kernel, and a sweep starts dozens. So the
sweep keeps one process (`server`) that imports them once, computes nothing, and forks a kernel whenever a job
(execute.py, `KernelManager`) asks through a Unix socket. The connection stays open for the kernel's life: the kernel
ends with the job that asked, and with the server. Where there is no server, or it can't fork safely (not Linux,
threads, a GPU), jobs start kernels of their own.
"""

import ast
import builtins
import contextlib
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

ROOT = (
    Path(__file__).resolve().parents[1]
)  # not from profiles, whose uddm_lib need not be this checkout's
VARIABLE = "UDDM_KERNELS"  # names the server's socket
PATIENCE = 120  # seconds that a job waits for a kernel before it starts its own
_LAUNCHER = "ipykernel_launcher"
_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]  # what stops a sweep or a training


@contextlib.contextmanager
def server(notebooks, threads, log):
    """Run a server of kernels with ``threads`` threads that have imported what ``notebooks`` import.

    What it says goes to the file ``log``. Yields the variables that tell jobs of it and the file descriptors that keep
    it alive: it ends with the ``with`` statement, or when all processes that hold them have ended. Without notebooks,
    or where it can't fork, both are empty.
    """
    listener = _listener() if notebooks and sys.platform == "linux" else None
    if listener is None:
        yield {}, []
        return
    with listener:
        path = listener.getsockname()
        process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), *map(str, notebooks)],
            cwd=ROOT,
            env=_environment(threads),
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    try:
        yield {VARIABLE: path}, [process.stdin.fileno()]
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(Path(path).parent, ignore_errors=True)


def _listener():
    """A socket in a folder of its own, where who asks before the server is ready waits; None where there can't be one:
    no space, or a path of more than 107 characters (so it is not in runs/)."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        folder = tempfile.mkdtemp(prefix="uddm-")
        listener.bind(str(Path(folder) / "kernels"))
    except OSError:
        listener.close()
        return None
    listener.listen(64)
    return listener


def _environment(threads):
    """What libraries read when they are loaded."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
    }  # pyarrow's allocator else starts a thread


class KernelManager(AsyncKernelManager):
    """Starts its kernel through the server, or as usual where there is none."""

    async def _async_launch_kernel(self, kernel_cmd, **options):
        own_python = kernel_cmd[0] == sys.executable and _LAUNCHER in kernel_cmd
        process = None
        if VARIABLE in os.environ and own_python and isinstance(self.provisioner, LocalProvisioner):
            process = _Forked.asked_for(kernel_cmd[kernel_cmd.index(_LAUNCHER) + 1 :], options)
        if process is None:
            return await super()._async_launch_kernel(kernel_cmd, **options)
        self.provisioner.process = process
        self.provisioner.pid = self.provisioner.pgid = process.pid
        self._reconcile_connection_info(self.provisioner.connection_info)


class _Forked:
    """A forked kernel, with as much of subprocess.Popen as a provisioner uses: it is not a child of this process."""

    stdin = stdout = stderr = None

    def __init__(self, connection, pid):
        self.pid = pid
        self._connection = (
            connection  # closed when this process ends, however it ends: then the kernel ends
        )
        self._descriptor = os.pidfd_open(pid)

    @classmethod
    def asked_for(cls, arguments, options):
        """Ask the server for a kernel; returns None if it doesn't answer."""
        connection = socket.socket(socket.AF_UNIX)
        request = {
            "arguments": arguments,
            "environment": options.get("env", dict(os.environ)),
            "folder": str(options.get("cwd") or os.getcwd()),
            "ignored": [
                number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_IGN
            ],
        }
        try:
            connection.settimeout(PATIENCE)
            connection.connect(os.environ[VARIABLE])
            socket.send_fds(connection, [b"\n"], [1, 2])
            connection.sendall(json.dumps(request).encode() + b"\n")
            return cls(connection, int(connection.makefile().readline()))
        except (OSError, ValueError):  # ValueError: it ended before it answered
            connection.close()
            return None

    def poll(self):
        """1 once the kernel has ended (its own status is its parent's to read), else None."""
        return 1 if select.select([self._descriptor], [], [], 0)[0] else None

    def wait(self):
        select.select([self._descriptor], [], [])
        return 1

    def send_signal(self, number):
        signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def serve(listener, notebooks):
    """Import what ``notebooks`` import, then fork a kernel for every connection to the socket ``listener``."""
    for number in (
        _SIGNALS
    ):  # they are for the sweep and its jobs, and with the last of these our standard input closes
        signal.signal(number, signal.SIG_IGN)
    sys.path[0] = os.getcwd()  # as a kernel has it, in place of this script's folder
    before = dict(os.environ)
    _import_what(notebooks)
    if not _safe_to_fork():
        return
    added = {name: value for name, value in os.environ.items() if name not in before}
    gc.freeze()  # else the first collection would copy all these pages into every kernel
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for the status of kernels
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(Path(listener.getsockname()).parent, ignore_errors=True)
            return
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                listener.close()
                _become_kernel(connection, added)
                return


def _import_what(notebooks):
    """Import as a kernel does: libraries look then for a parent, a way to draw, IPython and where errors go."""
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # kernels end when this process does
    os.environ["MPLBACKEND"] = (
        os.environ.get("MPLBACKEND") or "module://matplotlib_inline.backend_inline"
    )
    import ipykernel.kernelapp  # noqa: F401

    builtins.get_ipython = lambda: types.SimpleNamespace(kernel=None)
    with contextlib.redirect_stderr(_CurrentErrors()):
        for statement in sorted({text for notebook in notebooks for text in _imports(notebook)}):
            with contextlib.suppress(Exception):  # the notebook itself will say what is wrong
                exec(statement, {})
    del builtins.get_ipython


class _CurrentErrors:
    """Whatever sys.stderr is when it is used: logging keeps the one that it finds on import, which is no notebook's."""

    def __getattr__(self, name):
        return getattr(sys.__stderr__ if sys.stderr is self else sys.stderr, name)


def _imports(notebook):
    """The import statements of a notebook, outside of functions and conditions."""
    for cell in json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            with contextlib.suppress(SyntaxError):
                code = ast.parse(
                    "\n".join("" if line.startswith(("%", "!")) else line for line in lines)
                )
                yield from (
                    ast.unparse(node)
                    for node in code.body
                    if isinstance(node, (ast.Import, ast.ImportFrom))
                )


def _safe_to_fork():
    """A fork copies neither threads nor the state of a GPU."""
    torch = sys.modules.get("torch")
    return len(os.listdir("/proc/self/task")) == 1 and not (torch and torch.cuda.is_available())


def _become_kernel(connection, added):
    """Be the kernel that the other side of ``connection`` asks for, with the variables that imports ``added``."""
    os.setsid()  # a group of its own, as every kernel
    _, (stdout, stderr), _, _ = socket.recv_fds(connection, 1, 2)
    request = json.loads(connection.makefile().readline())
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(added | request["environment"])
    os.chdir(request["folder"])
    sys.argv, sys.path[0] = [_LAUNCHER, *request["arguments"]], request["folder"]
    for number in [*_SIGNALS, signal.SIGCHLD]:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else default)
    if (
        "numpy" in sys.modules
    ):  # default generators, which else go on alike in all kernels; Python's own sees to itself
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()
    threading.Thread(target=_end_with, args=(connection.dup(),), daemon=True).start()
    connection.sendall(f"{os.getpid()}\n".encode())
    runpy.run_module(_LAUNCHER, run_name="__main__", alter_sys=True)


def _end_with(connection):
    with contextlib.suppress(OSError):  # it went without reading our answer
        connection.recv(1)  # nothing is ever sent: it returns when the other side is gone
    os._exit(1)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given, sys.argv[2:])
