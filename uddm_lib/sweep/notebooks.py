"""The notebooks of a sweep: their names, tables and parameters, read without executing them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from uddm_lib.results import convert_parameters

NOTEBOOKS = {
    "theory": "01_theory",
    "training": "02_training",
    "recovery": "03_recovery",
    "entropy": "04_entropy",
    "scaling": "05_scaling",
}
# What a notebook writes into the folder of every run. No output of a job: Snakemake deletes those
# before it runs the job again, and runs that are done would be done again.
TABLES = {
    "training": ["validation.csv", "log.csv"],  # the log when a run is trained
    "recovery": ["recovery.csv", "basins.csv", "examples.csv"],
    "entropy": ["token_entropy.csv", "sequence_entropy.csv", "samples.csv"],
}


def code_digest(notebook: Path) -> str:
    """Digest of a notebook's code; prose and stored outputs don't count."""
    sources = [_source(cell) for cell in _cells(notebook) if cell["cell_type"] == "code"]
    return hashlib.sha256("\n\0".join(sources).encode()).hexdigest()[:16]


def default_parameters(notebook: Path) -> dict[str, Any]:
    """The parameters that ``notebook`` declares, with their defaults."""
    namespace = _declarations(notebook)
    return {name: namespace[name] for name in namespace["__annotations__"]}


def converted_parameters(notebook: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """``parameters`` converted to the types that ``notebook`` declares.

    Raises:
        ValueError: naming each unknown parameter, or each value of a wrong type.
    """
    return convert_parameters(parameters, _declarations(notebook)["__annotations__"])


def _declarations(notebook: Path) -> dict[str, Any]:
    """The namespace that the cell tagged ``parameters`` leaves: literals, each with its type."""
    tagged = [cell for cell in _cells(notebook) if "parameters" in cell["metadata"].get("tags", [])]
    namespace: dict[str, Any] = {"__annotations__": {}}
    if tagged:
        exec(_source(tagged[0]), namespace)
    return namespace


def _cells(notebook: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])
