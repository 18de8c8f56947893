"""Progress bars, on the screen or in a file that the sweep reads."""

import io
import json
import os
from pathlib import Path

from tqdm import tqdm

from uddm_lib.results.files import atomic_write


class _ProgressFile(tqdm):
    """A bar that keeps a small JSON file up to date instead of drawing itself."""

    def __init__(self, *arguments, **options):
        self.path = Path(os.environ["UDDM_PROGRESS"])
        super().__init__(*arguments, file=io.StringIO(), mininterval=1, miniters=1, **options)

    def display(self, msg=None, pos=None):
        state = self.format_dict
        rate = state["rate"] or (state["n"] / state["elapsed"] if state["elapsed"] else 0)
        left = (self.total - self.n) / rate if rate and self.total else None
        content = {
            "description": self.desc.rstrip(": "),
            "done": self.n,
            "total": self.total,
            "seconds_left": left,
        }
        try:
            atomic_write(self.path, json.dumps(content))
        except OSError:
            pass  # a lost progress file is no reason to lose the work


def progress(iterable, total=None, description="", enabled=False):
    """``iterable`` wrapped in a tqdm bar that is shown when ``enabled``.

    When the environment variable ``UDDM_PROGRESS`` names a file, the bar keeps ``{"description", "done",
    "total", "seconds_left"}`` there as JSON instead, at most once a second, for a runner that shows it.
    """
    if os.environ.get("UDDM_PROGRESS"):
        return _ProgressFile(iterable, total=total, desc=description)
    return tqdm(iterable, total=total, desc=description, disable=not enabled)
