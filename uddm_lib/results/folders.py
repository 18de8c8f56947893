"""Run folders: their names, and the ``run.json`` that says which parameters they belong to."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uddm_lib.results.files import atomic_write, plain, read_json, resolve, to_json
from uddm_lib.results.versions import now


def run_name(corpus: str, size: str, n: int | str, seed: int = 1) -> str:
    """Name of a run's folder: ``markov-pico-n000016-s1``, or ``kjv-nano-nall-s1`` for ``n="all"``.

    Raises:
        ValueError: if ``n`` is neither a positive integer nor the word ``all``.
    """
    if n != "all" and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
        raise ValueError(f"n={n!r} is not a positive integer or 'all'")
    number = n if isinstance(n, str) else format(n, "06d")
    return f"{file_name(corpus)}-{size}-n{number}-s{seed}"


def file_name(text: str) -> str:
    """``text`` with everything that does not belong in a file's name replaced by hyphens."""
    return re.sub(r"[^\w.]+", "-", text).strip("-")


def open_run(folder: str | Path, parameters: Mapping[str, Any]) -> Path:
    """Make a run folder that holds ``parameters``, or enter one made with the same parameters.

    Returns the absolute Path; the parameters are in its ``run.json``.

    Raises:
        ValueError: naming each difference, if the folder holds results of other parameters,
            or naming its ``run.json``, if that cannot be read. Nothing is changed then.
        OSError: naming the file, if it cannot be written.
    """
    folder, requested = resolve(folder), plain(dict(parameters))
    if not (folder / "run.json").exists():
        atomic_write(folder / "run.json", to_json({"parameters": requested, "created": now()}))
    elif differences := _differences(read_run(folder), requested):
        raise ValueError(
            f"{folder} holds results of other parameters: {'; '.join(differences)}. "
            "Choose another folder, or delete this one"
        )
    return folder


def read_run(folder: str | Path) -> dict[str, Any]:
    """The parameters in a run folder's ``run.json``.

    Raises:
        FileNotFoundError: if the folder is not a run's.
        ValueError: if its ``run.json`` cannot be read.
    """
    path = resolve(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is not a run's folder: it has no run.json")
    return read_json(path, "parameters")["parameters"]


def _differences(stored: dict[str, Any], requested: dict[str, Any]) -> list[str]:
    """A phrase for every parameter that differs."""

    def words(parameters: dict[str, Any], name: str) -> str:
        return repr(parameters[name]) if name in parameters else "not set"

    return [
        f"{name} {words(stored, name)} there, {words(requested, name)} requested"
        for name in sorted(stored.keys() | requested.keys())
        if (name in stored, stored.get(name)) != (name in requested, requested.get(name))
    ]
