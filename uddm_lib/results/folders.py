"""Run folders: their names, and the ``run.json`` that says which parameters they belong to."""

import re

from uddm_lib.results.files import atomic_write, plain, read_json, resolve, to_json
from uddm_lib.results.provenance import now


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
    folder, parameters = resolve(folder), plain(parameters)
    if (folder / "run.json").exists():
        old = read_run(folder)
        missing = object()
        pairs = {
            name: (old.get(name, missing), parameters.get(name, missing))
            for name in sorted(old.keys() | parameters.keys())
        }
        differences = [
            " ".join(
                [
                    name,
                    "not set" if there is missing else repr(there),
                    "there,",
                    "not set" if asked is missing else repr(asked),
                    "asked",
                ]
            )
            for name, (there, asked) in pairs.items()
            if there != asked
        ]
        if differences:
            raise ValueError(
                f"{folder} holds results of other parameters: {'; '.join(differences)}. "
                "Choose another folder, or delete this one"
            )
        return folder
    atomic_write(folder / "run.json", to_json({"parameters": parameters, "created": now()}))
    return folder


def read_run(folder):
    """The parameters in a run folder's ``run.json``.

    Raises:
        FileNotFoundError: if the folder is not a run's. ValueError: if its ``run.json`` cannot be read.
    """
    path = resolve(folder) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no run's folder: it has no run.json")
    return read_json(path, "parameters")["parameters"]
