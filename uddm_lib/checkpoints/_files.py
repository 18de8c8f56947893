"""Files of tensors, written with errors that name them; files that must be there; names in them."""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["existing", "read_weights", "some", "write_tensors"]

_COPIED = 2**26  # bytes that are copied from one map of a file
_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


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


def read_weights(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    """Copies of the weights in float32, by their names without the prefix.

    Raises:
        FileNotFoundError: if there is no ``model.safetensors``.
        ValueError: if the file is damaged, or a tensor lacks the prefix or holds no floats.
    """
    path = existing(folder, "model.safetensors")
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
        if strange := [name for name in names if not name.startswith(prefix)]:
            raise ValueError(f"unknown weights: {some(strange)}")
        while names:
            # A map of the file is let go after a part of it: the copies alone stay in memory, and
            # nothing that later happens to the file reaches them.
            copied = 0
            with safe_open(path, framework="pt") as file:
                while names and copied < _COPIED:
                    name = names.pop()
                    tensor = file.get_tensor(name)
                    if tensor.dtype not in _FLOATS:
                        raise ValueError(
                            f"{some([name])} holds {tensor.dtype}, not floating-point numbers"
                        )
                    tensors[name.removeprefix(prefix)] = tensor.to(torch.float32, copy=True)
                    copied += tensor.nbytes
            del tensor
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged: {some([str(error)])}") from None
    return tensors


def some(names: Iterable[str]) -> str:
    """The first few names from a file, for a message: short, without control characters."""
    names = list(names)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(ascii(name[:90])[1:-1] for name in names[:4]) + more
