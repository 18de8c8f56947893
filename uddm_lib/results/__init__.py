"""Everything that touches the disk: run folders, tables with provenance, parameters, progress.

Relative paths start at the repository root, whatever the working directory.
"""

from uddm_lib.results.files import atomic_write, repository_root, resolve
from uddm_lib.results.folders import file_name, open_run, read_run, run_name
from uddm_lib.results.parameters import check_parameters, convert_parameters
from uddm_lib.results.progress_bars import progress
from uddm_lib.results.tables import read_table, write_table
from uddm_lib.results.versions import input_versions, package_digest, provenance

__all__ = [
    "atomic_write",
    "check_parameters",
    "convert_parameters",
    "file_name",
    "input_versions",
    "open_run",
    "package_digest",
    "progress",
    "provenance",
    "read_run",
    "read_table",
    "repository_root",
    "resolve",
    "run_name",
    "write_table",
]
