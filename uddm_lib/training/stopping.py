"""Stopping on request: a scheduler sends SIGTERM or SIGUSR1 some time before it takes the machine away."""

import contextlib
import os
import signal
import threading
from pathlib import Path

__all__ = ["Stopped", "stop_requests"]

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]


class Stopped(RuntimeError):
    """Work that ended early because a signal asked for it; the same call continues where it stopped.

    The environment variable ``UDDM_STOPPED``, if set, names an empty file that tells other processes of it.
    """

    def __init__(self, message, announce=True):
        super().__init__(message)
        if announce and os.environ.get("UDDM_STOPPED"):
            Path(os.environ["UDDM_STOPPED"]).touch()


@contextlib.contextmanager
def stop_requests():
    """Collect SIGTERM and SIGUSR1, which else end the process, in the list that the ``with`` statement gives.

    The handlers that were there return at its end. Outside the main thread, where Python allows no handlers, the
    list stays empty.
    """
    received, before = [], {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before[number] = signal.signal(number, lambda number, _: received.append(number))
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(
                number, signal.SIG_DFL if handler is None else handler
            )  # None: not from Python
