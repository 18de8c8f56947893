"""Training states on disk: one safetensors file each, with a checksum; the last two of a run are kept."""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from uddm_lib.checkpoints.models import existing
from uddm_lib.results import atomic_write

__all__ = ["load_last", "load_state", "remove_states", "save_state", "save_step", "states"]


def save_state(path, tensors, metadata):
    """Write a training state: a dict of tensors and a JSON-able dict, in one safetensors file, atomically.

    The file carries a checksum of all of it.

    Raises:
        OSError: if the disk is full or read-only; an older file is left as it was.
    """
    tensors = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    metadata = json.dumps(metadata)
    atomic_write(
        path, serialize(tensors, {"state": metadata, "sha256": _digest(tensors, metadata)})
    )


def load_state(path):
    """Read what :func:`save_state` wrote.

    Returns:
        The dict of tensors and the dict of metadata.

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
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        if _digest(tensors, about["state"]) != about["sha256"]:
            raise ValueError("its checksum is another")
        return tensors, json.loads(about["state"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a training state, or damaged: {error!r}; delete it to start again"
        ) from None


def states(folder):
    """Paths of the training states in a run's folder, oldest first."""
    return sorted(Path(folder).glob("state-*.safetensors"))


def save_step(folder, step, tensors, metadata):
    """Write the training state after ``step`` steps, and remove all but it and the one before it.

    Raises:
        OSError: if the disk is full or read-only; the older states are left as they were.
    """
    new = Path(folder) / f"state-{step:09d}.safetensors"
    try:
        save_state(new, tensors, metadata)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror} (older states are whole: the same call goes on from the last "
            "once this is mended)",
            error.filename,
        ) from None
    before = [path for path in states(folder) if path < new][-1:]
    for path in set(states(folder)) - {
        new,
        *before,
    }:  # of later steps are those that were found damaged
        path.unlink()


def load_last(folder, say=print):
    """Read the newest training state in a run's folder that is whole; damaged ones are named through ``say``.

    Returns:
        The dict of tensors and the dict of metadata, or None if there is no state.

    Raises:
        ValueError: if all are damaged.
    """
    damaged = []
    for path in reversed(states(folder)):
        try:
            found = load_state(path)
        except ValueError as error:
            damaged.append(str(error))
            continue
        if damaged:
            say(f"{'; '.join(damaged)}. Going on from the one before it, {path.name}")
        return found
    if damaged:
        raise ValueError("; ".join(damaged))
    return None


def remove_states(folder, unfinished=False):
    """Remove the training states of a run's folder, or just the ``unfinished`` files that killed writes left there."""
    for pattern in (
        (".state-*.tmp", ".model-*")
        if unfinished
        else ("state-*.safetensors", ".state-*.tmp", ".model-*")
    ):
        for path in Path(folder).glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _digest(tensors, metadata):
    digest = hashlib.sha256(metadata.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
