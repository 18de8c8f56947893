"""Training states on disk: a safetensors file with a checksum each; a run keeps its last two."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uddm_lib.checkpoints._files import existing, write_tensors
from uddm_lib.checkpoints.models import recover
from uddm_lib.results import resolve

__all__ = ["load_last", "load_state", "remove_states", "save_state", "save_step", "states"]


def save_state(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping) -> None:
    """Write a training state atomically, in one safetensors file with a checksum of all of it.

    Besides a copy of the tensors of a GPU, this takes no memory of their size.

    Args:
        path: the file, absolute or relative to the repository's root.
        tensors: tensors by name.
        metadata: anything that fits JSON.

    Raises:
        OSError: if the disk is full or read-only; an older file is left as it was.
    """
    path = resolve(path)
    tensors = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    text = json.dumps(metadata)
    about = {"state": text, "sha256": _digest(tensors, text)}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(temporary, tensors, about)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def load_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_state` wrote.

    Returns:
        The tensors and the metadata.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is truncated, changed or another kind of file; the message names it.
    """
    path = Path(path)
    existing(path.parent, path.name)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            # Copies, since the tensors lie in the mapped file, which later checkpoints remove.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if _digest(tensors, about["state"]) != about["sha256"]:
            raise ValueError("its checksum is another")
        return tensors, json.loads(about["state"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a training state, or damaged: {error!r}; delete it to start again"
        ) from None


def states(folder: str | Path) -> list[Path]:
    """Paths of the training states in a run's folder, oldest first."""
    return sorted(Path(folder).glob("state-*.safetensors"))


def save_step(
    folder: str | Path, step: int, tensors: Mapping[str, Tensor], metadata: Mapping
) -> None:
    """Write the training state after ``step`` steps; keep only this one and the one before it.

    Raises:
        OSError: if the disk is full or read-only; the older states are left as they were.
    """
    new = Path(folder) / f"state-{step:09d}.safetensors"
    try:
        save_state(new, tensors, metadata)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror} (older states are whole: once this is mended, the same call "
            "continues from the last one)",
            error.filename,
        ) from None
    before = [path for path in states(folder) if path < new][-1:]
    for path in set(states(folder)) - {new, *before}:
        path.unlink()  # older ones, and damaged ones of later steps


def load_last(
    folder: str | Path, say: Callable[[str], object] = print
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read the newest whole training state in a run's folder.

    Args:
        folder: the run's folder.
        say: is called with a message that names damaged states.

    Returns:
        The tensors and the metadata, or None if there is no state.

    Raises:
        ValueError: if all states are damaged.
    """
    damaged: list[str] = []
    for path in reversed(states(folder)):
        try:
            state = load_state(path)
        except ValueError as error:
            damaged.append(str(error))
            continue
        if damaged:
            say(f"{'; '.join(damaged)}. Going on from the one before it, {path.name}")
        return state
    if damaged:
        raise ValueError("; ".join(damaged))
    return None


def remove_states(folder: str | Path, unfinished: bool = False) -> None:
    """Remove the training states of a run's folder, and what killed writes left there.

    Args:
        folder: the run's folder.
        unfinished: remove only what killed writes left.
    """
    recover(Path(folder) / "model")  # else the only model might be among what is removed
    left_over = (".state-*.tmp", ".model-*")
    for pattern in left_over if unfinished else ("state-*.safetensors", *left_over):
        for path in Path(folder).glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _digest(tensors: Mapping[str, Tensor], metadata: str) -> str:
    """SHA-256 of the metadata and, one after the other, of the tensors on the CPU."""
    digest = hashlib.sha256(metadata.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
