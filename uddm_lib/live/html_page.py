"""The live page as one file: its own files and what it holds of the runs, put together."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from uddm_lib.experiments import load_runs
from uddm_lib.live.contents import LARGEST, MOST_RUNS, page_contents
from uddm_lib.results import atomic_write

__all__ = ["live_page", "write_live_page"]

_FOLDER = Path(__file__).parent
_SCRIPTS = ("network.js", "tokens.js", "process.js", "view.js", "chooser.js", "controls.js")


def write_live_page(runs: Sequence[str | Path], output: str | Path) -> Path:
    """Write the page of ``runs`` to the file ``output``; returns its absolute path.

    Raises:
        FileNotFoundError: if a folder holds no finished run.
        ValueError: if ``output`` is no name of an HTML file, or as for :func:`live_page`.
        OSError: if the file cannot be written.
    """
    output = Path(output)
    if output.suffix not in (".html", ".htm"):
        raise ValueError(f"output={str(output)!r} must end in .html")
    if len(runs) > MOST_RUNS:  # before their corpus is loaded
        raise ValueError(f"runs: got {len(runs)}; the page holds 1 to {MOST_RUNS}")
    return atomic_write(Path.cwd() / output.expanduser(), live_page(runs))


def live_page(runs: Sequence[str | Path]) -> str:
    """The page of ``runs``, folders or patterns of one corpus, as HTML of at most 1.5 MB.

    Raises:
        FileNotFoundError: if a folder holds no finished run.
        ValueError: if the runs are of several corpora, too many, too large, or of a kind that the
            page cannot run.
    """
    parts = {name: _text(name) for name in ("live.html", "live.css", *_SCRIPTS)}
    room = LARGEST - sum(len(text.encode()) for text in parts.values())
    data = page_contents(load_runs(list(runs), device="cpu"), room)
    # A "<" in the data could end its script element.
    escaped = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    fillings = {
        "style": parts["live.css"],
        "data": escaped,
        "scripts": "\n".join(parts[name] for name in _SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fillings[match[1]], parts["live.html"])


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
