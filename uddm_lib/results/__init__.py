"""Run folders, tables with provenance, notebook parameters and progress: everything that touches the disk.

Paths that are not absolute are taken from the repository root, whatever the working directory.
"""

from uddm_lib.results.files import atomic_write, repository_root, resolve
from uddm_lib.results.folders import open_run, read_run, run_name
from uddm_lib.results.parameters import check_parameters
from uddm_lib.results.progress import progress
from uddm_lib.results.provenance import provenance
from uddm_lib.results.tables import read_table, write_table

__all__ = [
    "atomic_write",
    "check_parameters",
    "open_run",
    "progress",
    "provenance",
    "read_run",
    "read_table",
    "repository_root",
    "resolve",
    "run_name",
    "write_table",
]
