"""Models on disk: safetensors and JSON only, written atomically, nothing pickled."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from uddm_lib.model import UDDM, UDDMConfig

__all__ = ["existing", "load", "load_tokenizer", "save"]


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
        state = {
            name: value.to(dtype or value.dtype).contiguous().cpu()
            for name, value in model.state_dict().items()
        }
        model.config.save_pretrained(new)
        try:
            save_file(state, new / "model.safetensors", {"format": "pt"})
        except SafetensorError as error:  # what a full disk raises there
            raise OSError(f"{folder} can't be written: {error}") from None
        if tokenizer is not None:
            tokenizer.save_pretrained(new)
        new.chmod(0o755)
        (new / "model.safetensors").chmod(
            0o644
        )  # safetensors leaves it readable to its owner alone
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
    config_file, weights = existing(folder, "config.json"), existing(folder, "model.safetensors")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{config_file} is not a model's configuration: {error}") from None
    if kind != UDDMConfig.model_type:
        raise ValueError(
            f"{config_file} describes a model of type {kind!r}, not {UDDMConfig.model_type!r}"
        )
    with torch.random.fork_rng([]):  # the weights it starts with are drawn, and replaced at once
        model = UDDM(UDDMConfig.from_pretrained(folder))
    try:
        state = {name: value.float() for name, value in load_file(weights).items()}
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"{weights} can't be read as the model that {config_file.name} describes: {error}"
        ) from None
    return model.to(device).eval()


def load_tokenizer(folder):
    """Read the tokenizer beside a saved model.

    Raises:
        FileNotFoundError: if there is none.
    """
    existing(Path(folder), "tokenizer.json")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def existing(folder, name):
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"{folder / name} is missing: no trained model or state was saved there"
        )
    return folder / name
