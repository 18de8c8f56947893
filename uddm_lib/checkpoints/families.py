"""Public checkpoints of other families whose network is ours: UDLM, Duo and GIDD.

Only ``config.json``, ``model.safetensors`` and, for GIDD, the tokenizer's files are read. The
Python files that a configuration names are not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from uddm_lib.checkpoints._files import existing, some
from uddm_lib.checkpoints._network import (
    check_shapes,
    config_of,
    empty_network,
    heads_of_frequencies,
    matrix,
    one_number_of_heads,
)
from uddm_lib.facts import Facts
from uddm_lib.model import UDDM

__all__ = ["load_duo", "load_gidd", "load_udlm"]

_PREFIX = "backbone."
_FREQUENCIES, _TABLES = "rotary_emb.inv_freq", ("rotary_emb.cos_cached", "rotary_emb.sin_cached")
_CLASSES = "cond_map.embedding_table.weight"
_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def load_udlm(folder: Path, config: Mapping[str, Any]) -> UDDM:
    """A checkpoint of UDLM (Schiff et al., arXiv 2412.10193), such as kuleshov-group/udlm-lm1b.

    A model with classes is loaded without a class: the embedding of "no class" goes into the
    biases of the modulations, which are linear in it.
    """
    tensors = _tensors(folder, _PREFIX)
    timed = _boolean(config, "time_conditioning")
    classes = tensors.pop(_CLASSES, None)
    guided = config.get("cfg") is not None and _boolean(config, "cfg")
    if guided != (classes is not None):
        raise ValueError(
            f"config.json says cfg={guided}, but the weights have "
            f"{'no' if classes is None else 'a'} table of classes, {_CLASSES}"
        )
    untrained = ""
    if str(config.get("_name_or_path", "")).endswith("udlm-lm1b"):
        untrained = "positions after the first [SEP], which are padding"
    model = _network(tensors, config, timed, Facts("udlm", untrained=untrained))
    if classes is not None:
        _without_class(model, classes, _integer(config, "cfg_num_classes"))
    return model


def load_duo(folder: Path, config: Mapping[str, Any]) -> UDDM:
    """A checkpoint of Duo (Sahoo et al., arXiv 2506.10892), such as s-sahoo/duo."""
    if config.get("causal") is not None and _boolean(config, "causal"):
        raise ValueError("config.json says causal=true, which is another network")
    for name in (str(config.get("_name_or_path", "")), folder.resolve().name):
        if "distill" in name:
            raise ValueError(
                f"{name!a} is distilled: its predictions jump over many steps and are no "
                "posteriors, so nothing here can be asked of it"
            )
    return _network(_tensors(folder, _PREFIX), config, True, Facts("duo"), free=("cond_dim",))


def load_gidd(folder: Path, config: Mapping[str, Any]) -> UDDM:
    """A checkpoint of GIDD (von Rütte et al., arXiv 2503.04482), such as gidd-small-p_unif-0.2."""
    tensors = _tensors(folder, "")
    names = {
        "hidden_size": "hidden_dim",
        "timestep_cond_dim": "cond_dim",
        "num_hidden_layers": "n_blocks",
        "num_attention_heads": "n_heads",
        "max_seq_len": "model_length",
        "attention_dropout": "dropout",
    }
    config = {names.get(name, name): value for name, value in config.items()}
    p_uniform = config.get("p_uniform")
    if not isinstance(p_uniform, (int, float)) or not 0 <= p_uniform < 1:
        raise ValueError(f"config.json has p_uniform={p_uniform!r}; allowed are numbers in [0, 1)")
    for name in _TABLES:  # (1, L, 3, 1, features of a head)
        if (table := tensors.pop(name, None)) is not None and config.get("n_heads") is not None:
            _, width = matrix(_shapes(tensors), "vocab_embed.embedding")
            if table.shape[-1:] != (expected := width // _integer(config, "n_heads"),):
                raise ValueError(
                    f"{name} has the shape {tuple(table.shape)}, expected {expected} at the end"
                )
    facts = Facts(
        "gidd",
        output="approximate",
        level="t",
        p_uniform=float(p_uniform),
        mask_id=_mask(folder, matrix(_shapes(tensors), "vocab_embed.embedding")[0]),
        untrained="" if p_uniform else "tokens that are no masks",
    )
    return _network(tensors, config, True, facts)


def _network(
    tensors: dict[str, Tensor],
    config: Mapping[str, Any],
    timed: bool,
    facts: Facts,
    free: tuple[str, ...] = (),
) -> UDDM:
    """The model in float32, its shape by its weights, with which the configuration must agree.

    Args:
        tensors: by their names in the network.
        config: keys as UDLM and Duo have them.
        timed: whether the network is told the noise level.
        facts: of the model.
        free: keys that may differ from the weights.
    """
    frequencies = tensors.pop(_FREQUENCIES, None)
    shapes = _shapes(tensors)
    sources = {
        "config.json": None if config.get("n_heads") is None else _integer(config, "n_heads")
    }
    _, width = matrix(shapes, "vocab_embed.embedding")
    if frequencies is not None:
        sources[_FREQUENCIES] = heads_of_frequencies(_FREQUENCIES, tuple(frequencies.shape), width)
    dropout = config.get("dropout", 0.0)
    ours = config_of(
        shapes,
        one_number_of_heads(sources),
        _integer(config, "model_length"),
        dropout=dropout if isinstance(dropout, (int, float)) and 0 <= dropout < 1 else 0.0,
        time_conditioning=timed,
        facts=facts.stored(),
    )
    told = {"hidden_dim": "hidden_size"}
    for key in {"vocab_size", "hidden_dim", "cond_dim", "n_blocks"} - set(free):
        found = getattr(ours, told.get(key, key))
        if config.get(key) is not None and _integer(config, key) != found:
            raise ValueError(f"config.json says {key}={config[key]}, the weights say {found}")
    model, names = empty_network(ours, shapes)
    check_shapes(model, names, shapes)
    state = {name: tensors.pop(theirs).float() for theirs, name in names.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _without_class(model: UDDM, classes: Tensor, count: int) -> None:
    """Add the embedding of "no class", the table's last row, to what modulates every layer."""
    expected = (count + 1, model.config.cond_dim)
    if tuple(classes.shape) != expected:
        raise ValueError(
            f"{_CLASSES} has the shape {tuple(classes.shape)}; cfg_num_classes={count} asks for "
            f"{expected}"
        )
    row = F.silu(classes[-1].float())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("modulation.weight"):
                model.get_parameter(name.replace("weight", "bias")).add_(weight @ row)


def _mask(folder: Path, vocab_size: int) -> int:
    """The id of the mask, which only the tokenizer's files tell."""
    existing(folder, "tokenizer.json")
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of any type: tokenizers raises bare exceptions
        raise ValueError(f"its tokenizer can't be read: {some([str(error)])}") from None
    mask = tokenizer.mask_token_id
    if mask is None:
        raise ValueError("its tokenizer has no mask token, which the noise needs")
    if mask >= vocab_size:
        raise ValueError(f"its tokenizer's mask is {mask}, outside of the {vocab_size} tokens")
    return mask


def _tensors(folder: Path, prefix: str) -> dict[str, Tensor]:
    """The weights, by their names without the prefix.

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
            for name in names:
                tensors[name.removeprefix(prefix)] = file.get_tensor(name)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged: {some([str(error)])}") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            raise ValueError(f"{some([name])} holds {tensor.dtype}, not floating-point numbers")
    return tensors


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _integer(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise ValueError(f"config.json has {key}={value!r}; it must be a positive integer")
    return value


def _boolean(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if type(value) is not bool:
        raise ValueError(f"config.json has {key}={value!r}; it must be true or false")
    return value
