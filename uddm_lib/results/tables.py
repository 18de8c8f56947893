"""Tables as CSV, each with its provenance and digest in a JSON file beside it."""

import hashlib
import io

from uddm_lib.results.files import read_json, resolve, to_json, write_together

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
    sidecar = {
        "provenance": provenance,
        "rows": len(frame),
        "columns": columns,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return write_together({path.with_suffix(".json"): to_json(sidecar).encode(), path: data})[1]


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
        raise FileNotFoundError(
            f"{path} has no {sidecar.name} beside it: not a table written by uddm_lib"
        )
    about = read_json(sidecar, "sha256")
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise ValueError(
            f"{path} is not the table that {sidecar.name} describes: truncated or changed after "
            "it was written; run its notebook again"
        )
    numbers = {name: [""] for name, kind in about["columns"].items() if kind != "str"}
    frame = pd.read_csv(
        io.BytesIO(data),
        dtype=about["columns"],
        keep_default_na=False,
        na_values=numbers,
        lineterminator="\n",
    )
    frame.attrs["provenance"] = about["provenance"]
    return frame
