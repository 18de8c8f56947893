"""Several processes that train together, as torchrun would start them."""

import os
import socket
import subprocess
import sys


def launch(*command, processes=2, cwd=None, **environment):
    """Run a Python ``command`` in several processes, all of which must succeed; their output."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    common = os.environ | common | environment
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(processes)
    ]
    try:
        output = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * processes, "\n".join(output)
    return output
