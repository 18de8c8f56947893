"""Progress bars, on the screen or in a file that the sweep reads."""

import io
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from uddm_lib.results.files import atomic_write


def progress(
    iterable: Iterable[Any] | None = None,
    total: int | None = None,
    description: str = "",
    enabled: bool = False,
) -> tqdm:
    """A tqdm bar over ``iterable``, shown if ``enabled``; without one, call the bar's ``update``.

    If the environment variable ``UDDM_PROGRESS`` names a file, nothing is shown. The file then
    holds ``{"description", "done", "total", "seconds_left"}`` as JSON, written at most once a
    second, for the program that runs the notebook.
    """
    if path := os.environ.get("UDDM_PROGRESS"):
        return _ProgressFile(Path(path), iterable, total=total, desc=description)
    return tqdm(iterable, total=total, desc=description, disable=not enabled)


class _ProgressFile(tqdm):
    """A bar that keeps a small JSON file up to date instead of drawing itself."""

    def __init__(self, path: Path, iterable: Iterable[Any] | None, **options: Any) -> None:
        self.path = path
        super().__init__(iterable, file=io.StringIO(), mininterval=1, miniters=1, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        state = self.format_dict
        rate = state["rate"] or (state["n"] / state["elapsed"] if state["elapsed"] else 0)
        content = {
            "description": self.desc.rstrip(": "),
            "done": self.n,
            "total": self.total,
            "seconds_left": (self.total - self.n) / rate if rate and self.total else None,
        }
        with suppress(OSError):  # a lost progress file is no reason to lose the work
            atomic_write(self.path, json.dumps(content))
