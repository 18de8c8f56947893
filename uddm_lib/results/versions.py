"""Which code made a result: versions, commit, digest of the package, and the inputs' codes."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from uddm_lib.results import files

# What decides the numbers. Rebuilt figures and recorded results do not make a commit "dirty".
_SOURCES = ("uddm_lib", "notebooks", "runs", "benchmarks", ":(exclude)benchmarks/results")


def provenance(
    parameters: Mapping[str, Any], seed: Any = None, inputs: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Where a result comes from, fit for JSON: versions, commit, parameters, seed, time (UTC).

    ``code`` is :func:`package_digest`. It names the package even where the commit is unknown.

    Args:
        parameters: those that the result depends on.
        seed: of the random numbers.
        inputs: provenances of the tables that the result is computed from. Their commits and
            digests then stand under ``inputs``; more than one digest means mixed versions.
    """
    about = {
        "package": "uddm-companion",
        "version": _version("uddm-companion"),
        "commit": _commit(),
        "code": package_digest(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "seed": files.plain(seed),
        "time": now(),
        "parameters": files.plain(dict(parameters)),
    }
    inputs = list(inputs)
    return about | ({"inputs": input_versions(inputs)} if inputs else {})


def input_versions(provenances: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The ``commits`` and the digests (``code``) in provenances and in their inputs, sorted.

    A table of an older version has no digest: its commit stands in the place of it.
    """
    commits, code = set(), set()
    for about in provenances:
        inputs = about.get("inputs", {})
        commits.update(inputs.get("commits", ()))
        code.update(inputs.get("code", ()))
        if "commit" in about:
            commits.add(about["commit"])
            code.add(about.get("code", f"commit {about['commit']}"))
    return {"commits": sorted(commits), "code": sorted(code)}


def package_digest() -> str:
    """SHA-256 of the package's source files as they were when this process loaded them."""
    return _LOADED


def source_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the ``.py`` files in a folder, wherever it is."""
    digest = hashlib.sha256()
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    for name in sorted(names):
        data = names[name].read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _commit() -> str:
    """The checkout's commit, with ``-dirty`` if sources differ from it; ``unknown`` outside git."""
    try:
        root = files.repository_root()
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"
        changed = _git(root, "status", "--porcelain", "--", *_SOURCES)
        return _git(root, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# At import: during hours of training the files may change, but not the code that runs.
_LOADED = source_digest(Path(__file__).resolve().parents[1])
