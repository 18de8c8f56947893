"""Where a result comes from: versions, commit, parameters, seed and time."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from uddm_lib.results.files import plain, repository_root

# What decides the numbers; rebuilt figures or other generated files do not make a commit "dirty".
_SOURCES = ("uddm_lib", "notebooks", "runs")


def _git(root, *arguments):
    answer = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    )
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


def now():
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(parameters, seed=None):
    """Where a result comes from, fit for JSON: versions, git commit, parameters, seed and time (UTC)."""
    return {
        "package": "uddm-companion",
        "version": _version("uddm-companion"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "seed": plain(seed),
        "time": now(),
        "parameters": plain(parameters),
    }
