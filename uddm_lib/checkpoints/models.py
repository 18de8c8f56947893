"""Models on disk: safetensors and JSON only, written atomically, nothing pickled."""

import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from uddm_lib.checkpoints._files import existing, read_weights, some, write_tensors
from uddm_lib.checkpoints.diffusion_gemma import DiffusionGemma, load_diffusion_gemma
from uddm_lib.checkpoints.families import load_duo, load_gidd, load_udlm
from uddm_lib.checkpoints.released import load_released
from uddm_lib.model import UDDM, UDDMConfig

__all__ = ["load", "load_tokenizer", "load_uddm", "recover", "save"]

# The page of the model where the folder is uploaded to the Hugging Face hub.
_CARD = """\
---
library_name: uddm_lib
tags:
- uddm
- discrete-diffusion
---

# UDDM

A uniform-state discrete diffusion model: {count:,} parameters, V = {vocab_size:,} tokens,
L = {length}.
It maps noisy tokens and their noise level, sigma = -log alpha_t, to logits of the clean tokens.
The package `uddm_lib` reads it, of the companion of the paper
[arXiv 2604.26841](https://arxiv.org/abs/2604.26841):

```python
import uddm_lib
from transformers import AutoModel

model = AutoModel.from_pretrained("...")  # this folder
logits = model(input_ids, sigma).logits
```
"""


def save(
    folder: str | Path,
    model: UDDM,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a model with its tokenizer, as transformers and the Hugging Face hub expect it.

    The files are ``config.json``, ``model.safetensors``, a model card (``README.md``), and those of
    the tokenizer.

    The folder appears complete or not at all; an existing one is replaced. If the process is
    killed in between, :func:`load` still finds the earlier model or the new one.

    Args:
        folder: where to write.
        model: the model.
        tokenizer: the tokenizer that made its token ids, if any.
        dtype: floating-point type on disk (``torch.float16`` halves the size); the model's own
            by default.

    Returns:
        The folder's path.

    Raises:
        OSError: if the disk is full or read-only; an existing folder stays as it was.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover(folder)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.config.save_pretrained(new)
        state = {
            name: value.to(dtype or value.dtype).contiguous().cpu()
            for name, value in model.state_dict().items()
        }
        write_tensors(new / "model.safetensors", state, {"format": "pt"})
        count = sum(weight.numel() for weight in model.parameters())
        card = _CARD.format(count=count, vocab_size=model.vocab_size, length=model.length)
        (new / "README.md").write_text(card, encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save_pretrained(new)
        new.chmod(0o755)
        if folder.exists():
            os.replace(folder, _set_aside(folder))
        os.replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        recover(folder)
    return folder


def recover(folder: Path) -> None:
    """Bring back the earlier model that a killed :func:`save` set aside, or remove it.

    It comes back if there is no model in ``folder``.
    """
    earlier = _set_aside(folder)
    if not earlier.is_dir():
        return
    if folder.exists():
        shutil.rmtree(earlier)
    else:
        os.replace(earlier, folder)


def load(path: str | Path, device: torch.device | str = "cpu") -> UDDM | DiffusionGemma:
    """Read a model that :func:`save` wrote, or a public checkpoint of a uniform-state model.

    Public ones are the authors' ``.ckpt`` files (see :func:`~uddm_lib.checkpoints.load_released`)
    and the folders of UDLM, Duo, GIDD and DiffusionGemma. Nothing but JSON and safetensors is read
    from a folder, no code in it runs, and the network is not used.

    Args:
        path: a folder with ``config.json`` and ``model.safetensors``, or a ``.ckpt`` file.
        device: where the model goes.

    Returns:
        A denoiser in evaluation mode, in float32 (DiffusionGemma in its own type). Its ``facts``
        say what it predicts, under which noise, and what it takes for a noise level.

    Raises:
        FileNotFoundError: if the path or one of its files is missing.
        ValueError: if a file is damaged, of an unknown family, or contradicts another; the message
            names it.
    """
    return _load(Path(path), device, _FAMILIES)


def load_uddm(path: str | Path, device: torch.device | str = "cpu") -> UDDM:
    """:func:`load` for what must be a network of this package.

    Raises:
        FileNotFoundError, ValueError: as :func:`load`; also if the network is another.
    """
    own = {kind: reader for kind, reader in _FAMILIES.items() if kind != "diffusion_gemma"}
    return cast(UDDM, _load(Path(path), device, own))


def _load(
    path: Path, device: torch.device | str, families: Mapping[str, Callable[..., Any]]
) -> UDDM | DiffusionGemma:
    """What :func:`load` does, for some families."""
    folder = _whole(path)
    if folder.is_file():
        if folder.suffix in (".safetensors", ".json"):
            raise ValueError(f"{folder} is a part of a checkpoint; give its folder")
        return load_released(folder, device=device)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist")
    config_file = existing(folder, "config.json")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{config_file} is not a model's configuration: {error}") from None
    known = isinstance(kind, str) and kind in families
    if not known or (kind == "dit" and "p_uniform" not in config):
        raise ValueError(
            f"{config_file} describes a model of type {some([repr(kind)])}; allowed are "
            f"{', '.join(families)} (dit with p_uniform, as GIDD has it)"
        )
    try:
        model = families[kind](folder, config)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    model.to(device)
    return cast("UDDM | DiffusionGemma", model)


def _load_own(folder: Path, config: Mapping[str, Any]) -> UDDM:
    """A model that :func:`save` wrote."""
    # Its own options alone: transformers has others, some of which name code to be fetched.
    options = {name: config[name] for name in _OPTIONS if name in config}
    try:
        with torch.device("meta"):  # shapes only: no weights are drawn
            model = UDDM(UDDMConfig(**options))
        model.load_state_dict(read_weights(folder), assign=True)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"model.safetensors can't be read as the model that config.json describes: {error}"
        ) from None
    return model.eval()


_OPTIONS = inspect.signature(UDDMConfig.__init__).parameters.keys() - {"self", "kwargs"}
_FAMILIES: dict[str, Callable[[Path, dict[str, Any]], UDDM | DiffusionGemma]] = {
    "uddm": _load_own,
    "udlm": load_udlm,
    "duo": load_duo,
    "DUO": load_duo,
    "dit": load_gidd,
    "diffusion_gemma": load_diffusion_gemma,
}


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer beside a saved model.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = _whole(Path(folder))
    existing(folder, "tokenizer.json")
    # Not AutoTokenizer, which asks at the terminal whether to run what the folder names.
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def _set_aside(folder: Path) -> Path:
    """Where the earlier model is while the new one takes its place."""
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}-old")


def _whole(folder: Path) -> Path:
    """The folder, or the earlier model if a killed :func:`save` left only that."""
    earlier = _set_aside(folder)
    return earlier if earlier.is_dir() and not folder.exists() else folder
