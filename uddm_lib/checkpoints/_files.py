"""Files of tensors, written with errors that name them; files that must be there; names in them."""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

__all__ = ["existing", "some", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, readable for all, and wait until the disk has it.

    Args:
        path: the file.
        tensors: contiguous tensors on the CPU.
        metadata: texts by name.

    Raises:
        OSError: naming the file, if the disk is full or read-only.
    """
    try:
        safetensors.torch.save_file(dict(tensors), path, metadata)
    except SafetensorError as error:  # it has the number of the system's error in its text only
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error), str(path)) from None
    path.chmod(0o644)  # safetensors lets its owner alone read it
    with open(path, "r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())


def existing(folder: Path, name: str) -> Path:
    """The path of a file that must be there.

    Raises:
        FileNotFoundError: if it is not.
    """
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"{folder / name} is missing: no trained model or state was saved there"
        )
    return folder / name


def some(names: Iterable[str]) -> str:
    """The first few names from a file, for a message: short, without control characters."""
    names = list(names)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(ascii(name[:90])[1:-1] for name in names[:4]) + more
