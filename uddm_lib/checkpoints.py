"""Models and training states on disk: safetensors and JSON only, written atomically, nothing pickled."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialise
from transformers import AutoTokenizer

from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.released import load_released
from uddm_lib.results import atomic_write

__all__ = ["load", "load_last", "load_released", "load_state", "load_tokenizer", "remove_states", "save", "save_state",
           "save_step", "states"]


def save(folder, model, tokenizer=None, dtype=None):
    """Write a model, as ``config.json`` and ``model.safetensors``, with its tokenizer.

    The folder appears complete or not at all; one that exists is replaced.

    Args:
        folder: where to.
        model: a :class:`~uddm_lib.model.UDDM`.
        tokenizer: the tokenizer that made its token ids, if any.
        dtype: floating-point type on disk (``torch.float16`` halves the size); the model's own by default.

    Returns:
        The folder's path.

    Raises:
        OSError: if the disk is full or read-only; what stood there before is left as it was.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        state = {name: value.to(dtype or value.dtype).contiguous().cpu() for name, value in model.state_dict().items()}
        model.config.save_pretrained(new)
        try:
            save_file(state, new / "model.safetensors", {"format": "pt"})
        except SafetensorError as error:  # what a full disk raises there
            raise OSError(f"{folder} can't be written: {error}") from None
        if tokenizer is not None:
            tokenizer.save_pretrained(new)
        new.chmod(0o755)
        (new / "model.safetensors").chmod(0o644)  # safetensors leaves it readable to its owner alone
        old = None
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            os.replace(folder, old)
        os.replace(new, folder)
        if old is not None:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def load(folder, device="cpu"):
    """Read a model that :func:`save` wrote, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: if the folder or one of its two files is missing.
        ValueError: if a file is truncated or not a UDDM's; the message names it.
    """
    folder = Path(folder)
    config_file, weights = _existing(folder, "config.json"), _existing(folder, "model.safetensors")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{config_file} is not a model's configuration: {error}") from None
    if kind != UDDMConfig.model_type:
        raise ValueError(f"{config_file} describes a model of type {kind!r}, not {UDDMConfig.model_type!r}")
    with torch.random.fork_rng([]):  # the weights it starts with are drawn, and replaced at once
        model = UDDM(UDDMConfig.from_pretrained(folder))
    try:
        state = {name: value.float() for name, value in load_file(weights).items()}
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} can't be read as the model that {config_file.name} describes: {error}") from None
    return model.to(device).eval()


def load_tokenizer(folder):
    """Read the tokenizer beside a saved model.

    Raises:
        FileNotFoundError: if there is none.
    """
    _existing(Path(folder), "tokenizer.json")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def save_state(path, tensors, metadata):
    """Write a training state: a dict of tensors and a JSON-able dict, in one safetensors file, atomically.

    The file carries a checksum of all of it.

    Raises:
        OSError: if the disk is full or read-only; an older file is left as it was.
    """
    tensors = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    metadata = json.dumps(metadata)
    atomic_write(path, serialise(tensors, {"state": metadata, "sha256": _digest(tensors, metadata)}))


def load_state(path):
    """Read what :func:`save_state` wrote.

    Returns:
        The dict of tensors and the dict of metadata.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is truncated, changed or another kind of file; the message names it.
    """
    path = Path(path)
    _existing(path.parent, path.name)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            # Copies, since the tensors lie in the mapped file, which later checkpoints remove.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        if _digest(tensors, about["state"]) != about["sha256"]:
            raise ValueError("its checksum is another")
        return tensors, json.loads(about["state"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a training state, or damaged: {error!r}; delete it to start again") from None


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
        raise OSError(error.errno, f"{error.strerror} (older states are whole: the same call goes on from the last "
                      "once this is mended)", error.filename) from None
    before = [path for path in states(folder) if path < new][-1:]
    for path in set(states(folder)) - {new, *before}:  # of later steps are those that were found damaged
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
    for pattern in (".state-*.tmp", ".model-*") if unfinished else ("state-*.safetensors", ".state-*.tmp", ".model-*"):
        for path in Path(folder).glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _digest(tensors, metadata):
    digest = hashlib.sha256(metadata.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _existing(folder, name):
    if not (folder / name).is_file():
        raise FileNotFoundError(f"{folder / name} is missing: no trained model or state was saved there")
    return folder / name
