"""Tables as CSV, each with its provenance and its digest in a JSON file beside it."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uddm_lib.results.files import read_json, resolve, to_json, write_in_order

if TYPE_CHECKING:  # loaded when a table is read: the sweep's runner needs no pandas
    import pandas

_TYPES = {"i": "int64", "u": "int64", "f": "float64", "b": "bool"}  # by kind of dtype, else text


def write_table(frame: "pandas.DataFrame", path: str | Path, provenance: Mapping[str, Any]) -> Path:
    """Write ``frame`` (without its index) as CSV, and its description beside it as ``<name>.json``.

    The description holds the provenance, the columns with their types and the table's digest.
    If the process dies at any moment, the older table or the new one can be read, each with its
    own provenance. Returns the absolute Path of the table.

    Raises:
        ValueError: if ``path`` does not end in ``.csv``, or is ``run.csv`` (``run.json`` is the
            run's own file).
        OSError: naming the file, if it cannot be written; the older table is then intact.
    """
    path = resolve(path)
    if path.suffix != ".csv" or path.name == "run.csv":
        raise ValueError(f"path={str(path)!r}: a table is a .csv file, and not run.csv")
    data = frame.to_csv(index=False, lineterminator="\n").encode()
    description = {
        "provenance": dict(provenance),
        "rows": len(frame),
        "columns": {str(name): _TYPES.get(t.kind, "str") for name, t in frame.dtypes.items()},
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    sidecar = path.with_suffix(".json")
    contents = [(path, data), (sidecar, to_json(description).encode())]
    if older := _description_on_disk(path):
        # Two renames are not one: in between, the sidecar describes both tables.
        both = to_json({**description, "previous": older}).encode()
        contents = [(sidecar, both), *contents]
    else:
        contents.reverse()  # a table on disk always has a sidecar
    write_in_order(contents)
    if not _description_on_disk(path):  # another machine's table came in between
        write_in_order([(sidecar, to_json(description).encode()), (path, data)])
    return path


def read_table(path: str | Path) -> "pandas.DataFrame":
    """Read a table of :func:`write_table`; its provenance is in ``frame.attrs["provenance"]``.

    Numbers come back exactly, and text as it was: none of it is taken for a missing value.

    Raises:
        FileNotFoundError: if the table or its sidecar is missing.
        ValueError: if the table is not the one its sidecar describes (truncated, edited, foreign).
    """
    import pandas as pd

    path = resolve(path)
    data, sidecar = path.read_bytes(), path.with_suffix(".json")
    if not sidecar.is_file():
        raise FileNotFoundError(
            f"{path} has no {sidecar.name} beside it: not a table written by uddm_lib"
        )
    description = _describing(data, read_json(sidecar, "sha256"))
    if description is None:
        raise ValueError(
            f"{path} is not the table that {sidecar.name} describes: truncated or changed after "
            "it was written; run its notebook again"
        )
    columns = description["columns"]
    frame = pd.read_csv(  # numbers are exact from pandas 3.1 on
        io.BytesIO(data),
        dtype=columns,
        keep_default_na=False,
        na_values={name: [""] for name, kind in columns.items() if kind != "str"},
        lineterminator="\n",
    )
    frame.attrs["provenance"] = description["provenance"]
    return frame


def _describing(data: bytes, sidecar: dict[str, Any]) -> dict[str, Any] | None:
    """The part of a sidecar that describes a table's bytes: its own, that before it, or none."""
    digest = hashlib.sha256(data).hexdigest()
    for description in (sidecar, sidecar.get("previous", {})):
        if description.get("sha256") == digest:
            return {key: value for key, value in description.items() if key != "previous"}
    return None


def _description_on_disk(path: Path) -> dict[str, Any] | None:
    """What describes the table now at ``path``; None if there is no readable one."""
    try:
        return _describing(path.read_bytes(), read_json(path.with_suffix(".json"), "sha256"))
    except (OSError, ValueError):
        return None
