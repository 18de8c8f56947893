"""Run folders, tables with provenance, notebook parameters and progress: everything that touches the disk.

Every write is atomic: readers see the old file or the new one, never half of one. Paths that are not absolute
are taken from the repository root, whatever the working directory.
"""

import hashlib
import io
import json
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from uddm_lib.parameters import check_parameters

__all__ = ["atomic_write", "check_parameters", "open_run", "progress", "provenance", "read_run", "read_table",
           "repository_root", "resolve", "run_name", "write_table"]

# What decides the numbers; rebuilt figures or other generated files do not make a commit "dirty".
_SOURCES = ("uddm_lib", "notebooks", "runs")


# paths and files ---------------------------------------------------------------

def repository_root():
    """The folder that holds ``uddm_lib`` and ``notebooks``: around the package, else above the current one.

    Raises:
        FileNotFoundError: if neither is inside a checkout of the repository.
    """
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[1], here, *here.parents):
        if (folder / "uddm_lib").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(f"no folder with uddm_lib/ and notebooks/ around {Path(__file__).parent} "
                            f"or above {here}: install with pip install -e . or start in a checkout")


def resolve(path):
    """``path`` as an absolute Path; a relative one is taken from the repository root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else repository_root() / path


def atomic_write(path, content):
    """Write ``content`` (str as UTF-8, or bytes) to ``path`` through a temporary file beside it, then rename.

    Missing parent folders are made. Returns the absolute Path.

    Raises:
        OSError: naming the file, when it cannot be written (full disk, read-only folder). An older file is
            then intact and no temporary file stays.
    """
    return _write_together({resolve(path): content.encode() if isinstance(content, str) else content})[0]


def _write_together(contents):
    """Write files (absolute Path -> bytes), all temporary ones before the first takes its name: a full disk then
    leaves all of the older ones, which may only be of use together. Returns their paths."""
    written = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, temporary in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            os.replace(temporary, path)
    except BaseException as error:
        for temporary in written.values():
            try:
                temporary.unlink(missing_ok=True)
            except OSError:
                pass  # the folder itself is gone or unreadable: the first error says what is wrong
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    return list(written)


def _plain(value):
    """``value`` as JSON would give it back, so that parameters compare equal before and after the disk."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # NumPy and torch scalars
        return value.item()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _json(value):
    return json.dumps(_plain(value), indent=1, ensure_ascii=False) + "\n"


def _read_json(path, holds):
    """The dictionary in ``path``; a file that is not one with the key ``holds`` is an error that names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: truncated, or not by uddm_lib ({error})") from None
    if not isinstance(content, dict) or holds not in content:
        raise ValueError(f"{path} has no {holds!r}: not written by uddm_lib")
    return content


# provenance --------------------------------------------------------------------

def _git(root, *arguments):
    answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _commit():
    """The checkout's commit, with ``-dirty`` when the sources differ from it; ``unknown`` outside git."""
    try:
        root = repository_root()
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"
        changed = _git(root, "status", "--porcelain", "--", *_SOURCES)
        return _git(root, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _now():
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def provenance(parameters, seed=None):
    """Where a result comes from, fit for JSON: versions, git commit, parameters, seed and time (UTC)."""
    return {"package": "uddm-companion", "version": _version("uddm-companion"), "commit": _commit(),
            "python": platform.python_version(), "torch": _version("torch"), "seed": _plain(seed),
            "time": _now(), "parameters": _plain(parameters)}


# tables ------------------------------------------------------------------------

_KINDS = {"i": "int64", "u": "int64", "f": "float64", "b": "bool"}


def write_table(frame, path, provenance):
    """Write ``frame`` (without its index) as CSV at ``path``, and what it is beside it in ``<name>.json``.

    The sidecar holds the provenance, the columns with their types and the digest of the table; it is written
    first, so a table on disk always has one. Returns the absolute Path.

    Raises:
        ValueError: if ``path`` does not end in ``.csv``, or is ``run.csv`` (``run.json`` is the run's own).
        OSError: naming the file, if it cannot be written; an older table and its sidecar are then intact.
    """
    path = resolve(path)
    if path.suffix != ".csv" or path.name == "run.csv":
        raise ValueError(f"path={str(path)!r}: a table is a .csv file, and not run.csv")
    data = frame.to_csv(index=False, lineterminator="\n").encode()
    columns = {str(name): _KINDS.get(dtype.kind, "str") for name, dtype in frame.dtypes.items()}
    sidecar = {"provenance": provenance, "rows": len(frame), "columns": columns,
               "sha256": hashlib.sha256(data).hexdigest()}
    return _write_together({path.with_suffix(".json"): _json(sidecar).encode(), path: data})[1]


def read_table(path):
    """Read a table of :func:`write_table`; its provenance is in ``frame.attrs["provenance"]``.

    Text columns come back as they were (no text is taken for a missing value), numbers exactly.

    Raises:
        FileNotFoundError: if the table or its sidecar is missing.
        ValueError: if the table is not the one its sidecar describes (truncated, edited, foreign).
    """
    import pandas as pd  # here, since the sweep's runner needs the rest of this module at once

    path = resolve(path)
    data, sidecar = path.read_bytes(), path.with_suffix(".json")
    if not sidecar.is_file():
        raise FileNotFoundError(f"{path} has no {sidecar.name} beside it: not a table written by uddm_lib")
    about = _read_json(sidecar, "sha256")
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise ValueError(f"{path} is not the table that {sidecar.name} describes: truncated or changed after "
                         "it was written; run its notebook again")
    numbers = {name: [""] for name, kind in about["columns"].items() if kind != "str"}
    frame = pd.read_csv(io.BytesIO(data), dtype=about["columns"], keep_default_na=False, na_values=numbers,
                        lineterminator="\n")
    frame.attrs["provenance"] = about["provenance"]
    return frame


# run folders -------------------------------------------------------------------

def run_name(corpus, size, n):
    """Name of a run's folder, as ``markov-pico-n000016``; ``nall`` for the whole corpus (n = 0 or "all").

    Raises:
        ValueError: if ``n`` is neither of these nor a positive integer.
    """
    if n != "all" and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
        raise ValueError(f"n={n!r} is not a positive integer or 'all'")
    corpus = re.sub(r"[^\w.]+", "-", corpus).strip("-")
    return f"{corpus}-{size}-n" + ("all" if n in (0, "all") else f"{n:06d}")


def open_run(folder, parameters):
    """Make a run folder with ``parameters`` in its ``run.json``, or enter one made with the same parameters.

    Returns the absolute Path.

    Raises:
        ValueError: if the folder holds results of other parameters (each difference is named), or its
            ``run.json`` is not one; nothing is changed then.
        OSError: naming the file, if it cannot be written.
    """
    folder, parameters = resolve(folder), _plain(parameters)
    if (folder / "run.json").exists():
        old = read_run(folder)
        missing = object()
        pairs = {name: (old.get(name, missing), parameters.get(name, missing))
                 for name in sorted(old.keys() | parameters.keys())}
        differences = [" ".join([name, "not set" if there is missing else repr(there), "there,",
                                 "not set" if asked is missing else repr(asked), "asked"])
                       for name, (there, asked) in pairs.items() if there != asked]
        if differences:
            raise ValueError(f"{folder} holds results of other parameters: {'; '.join(differences)}. "
                             "Choose another folder, or delete this one")
        return folder
    atomic_write(folder / "run.json", _json({"parameters": parameters, "created": _now()}))
    return folder


def read_run(folder):
    """The parameters in a run folder's ``run.json``.

    Raises:
        FileNotFoundError: if the folder is not a run's. ValueError: if its ``run.json`` cannot be read.
    """
    path = resolve(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no run's folder: it has no run.json")
    return _read_json(path, "parameters")["parameters"]


# progress ----------------------------------------------------------------------

class _ProgressFile(tqdm):
    """A bar that keeps a small JSON file up to date instead of drawing itself."""

    def __init__(self, *arguments, **options):
        self.path = Path(os.environ["UDDM_PROGRESS"])
        super().__init__(*arguments, file=io.StringIO(), mininterval=1, miniters=1, **options)

    def display(self, msg=None, pos=None):
        state = self.format_dict
        rate = state["rate"] or (state["n"] / state["elapsed"] if state["elapsed"] else 0)
        left = (self.total - self.n) / rate if rate and self.total else None
        content = {"description": self.desc.rstrip(": "), "done": self.n, "total": self.total,
                   "seconds_left": left}
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
