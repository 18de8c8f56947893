"""Stopping on request: schedulers send SIGTERM or SIGUSR1 before they take a machine away."""

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["Stopped", "stop_requests"]

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Stopped(RuntimeError):
    """A signal asked to stop, and the work ended early; the same call continues it."""


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Catch SIGTERM and SIGUSR1, which would end the process, in the list that it yields.

    The earlier handlers return at the end. Python allows handlers in the main thread only:
    in other threads the list stays empty.
    """
    received: list[int] = []
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before[number] = signal.signal(number, lambda number, _: received.append(number))
        yield received
    finally:
        for number, handler in before.items():
            # None stands for a handler that was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
