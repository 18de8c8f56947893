"""A copy of the checkout for tests that change it or kill what runs in it."""

import shutil
from pathlib import Path

from helpers.paths import ROOT


def checkout(folder):
    """Copy what a sweep needs into ``folder``."""
    for name in ("notebooks", "uddm_lib"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
        )
    shutil.copytree(
        ROOT / "runs",
        folder / "runs",
        ignore=lambda path, names: [name for name in names if (Path(path) / name).is_dir()],
    )
    shutil.copytree(ROOT / "runs" / "pretrained", folder / "runs" / "pretrained")
    return folder
