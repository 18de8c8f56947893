"""Public checkpoints of other families whose network is ours: UDLM, Duo and GIDD.

Only ``config.json``, ``model.safetensors`` and, for GIDD, the tokenizer's files are read. The
Python files that a configuration names are not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from uddm_lib.checkpoints._files import existing, read_weights, some
from uddm_lib.checkpoints._network import (
    check_shapes,
    config_of,
    empty_network,
    heads_of_frequencies,
    matrix,
    one_number_of_heads,
)
from uddm_lib.diffusion import T_EPS
from uddm_lib.facts import Facts
from uddm_lib.model import UDDM

__all__ = ["load_duo", "load_gidd", "load_udlm"]

_PREFIX = "backbone."
_FREQUENCIES, _TABLES = "rotary_emb.inv_freq", ("rotary_emb.cos_cached", "rotary_emb.sin_cached")
_CLASSES = "cond_map.embedding_table.weight"
# Keys of their configurations, by our names.
_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_dim",
    "cond_dim": "cond_dim",
    "n_blocks": "n_blocks",
    "n_heads": "n_heads",
    "length": "model_length",
    "dropout": "dropout",
}
_KEYS_OF_GIDD = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "cond_dim": "timestep_cond_dim",
    "n_blocks": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "length": "max_seq_len",
    "dropout": "attention_dropout",
}


def load_udlm(folder: Path, config: Mapping[str, Any]) -> UDDM:
    """A checkpoint of UDLM (Schiff et al., arXiv 2412.10193), such as kuleshov-group/udlm-lm1b.

    A model with classes is loaded without a class: the embedding of "no class" goes into the
    biases of the modulations, which are linear in it.
    """
    tensors = read_weights(folder, _PREFIX)
    timed = _boolean(config, "time_conditioning")
    classes = tensors.pop(_CLASSES, None)
    guided = config.get("cfg") is not None and _boolean(config, "cfg")
    if guided != (classes is not None):
        raise ValueError(
            f"config.json says cfg={guided}, but the weights have "
            f"{'no' if classes is None else 'a'} table of classes, {_CLASSES}"
        )
    untrained = ""
    if _is_named("udlm-lm1b", folder, config):
        untrained = "positions after the first [SEP], which are padding"
    facts = Facts("udlm", untrained=untrained)
    model = _network(tensors, config, _KEYS, facts, time_conditioning=timed)
    if classes is not None:
        _without_class(model, classes, _integer(config, "cfg_num_classes"))
    return model


def load_duo(folder: Path, config: Mapping[str, Any]) -> UDDM:
    """A checkpoint of Duo (Sahoo et al., arXiv 2506.10892), such as s-sahoo/duo."""
    if config.get("causal") is not None and _boolean(config, "causal"):
        raise ValueError("config.json says causal=true, which is another network")
    if _is_named("duo-distilled", folder, config):
        raise ValueError(
            "by its name it is duo-distilled: its predictions jump over many steps and are no "
            "posteriors, so nothing here can be asked of it"
        )
    keys = {name: key for name, key in _KEYS.items() if name != "cond_dim"}  # its default is 129
    return _network(read_weights(folder, _PREFIX), config, keys, Facts("duo"))


def load_gidd(folder: Path, config: Mapping[str, Any]) -> UDDM:
    """A checkpoint of GIDD (von Rütte et al., arXiv 2503.04482), such as gidd-small-p_unif-0.2."""
    tensors = read_weights(folder, "")
    vocab_size, width = matrix(_shapes(tensors), "vocab_embed.embedding")
    p_uniform: Any = config.get("p_uniform")
    if type(p_uniform) not in (int, float) or not 0 <= p_uniform < 1:
        raise ValueError(
            f"config.json has p_uniform={_short(p_uniform)}; allowed are numbers in [0, 1)"
        )
    t_eps: Any = config.get("t_eps", T_EPS)
    if type(t_eps) is not float or not 0 < t_eps < 0.5:
        raise ValueError(
            f"config.json has t_eps={_short(t_eps)}; allowed are numbers between 0 and 1/2"
        )
    heads = {}
    for name in _TABLES:  # (1, L, 3, 1, features of a head)
        if (table := tensors.pop(name, None)) is not None:
            features = table.shape[-1] if table.ndim == 5 else 0
            if not features or width % features or table.shape[1] != config.get("max_seq_len"):
                raise ValueError(
                    f"{name} has the shape {tuple(table.shape)}, which does not fit "
                    f"max_seq_len={_short(config.get('max_seq_len'))} and a width of {width}"
                )
            heads[name] = width // features
    facts = Facts(
        "gidd",
        output="approximate",
        level="t",
        p_uniform=float(p_uniform),
        mask_id=_mask(folder, vocab_size),
        least_t=t_eps,
        untrained="" if p_uniform else "tokens that are no masks",
    )
    return _network(tensors, config, _KEYS_OF_GIDD, facts, heads)


def _network(
    tensors: dict[str, Tensor],
    config: Mapping[str, Any],
    keys: Mapping[str, str],
    facts: Facts,
    heads: Mapping[str, int] | None = None,
    time_conditioning: bool = True,
) -> UDDM:
    """The model in float32, its shape by its weights, with which the configuration must agree.

    Args:
        tensors: by their names in the network.
        config: the family's configuration.
        keys: what it calls our options; one that is left out may differ from the weights.
        facts: of the model.
        heads: numbers of attention heads by what tells them.
        time_conditioning: whether the network is told the noise level.
    """
    frequencies = tensors.pop(_FREQUENCIES, None)
    shapes = _shapes(tensors)
    sources: dict[str, int | None] = dict(heads or {})
    if config.get(keys["n_heads"]) is not None:
        sources["config.json"] = _integer(config, keys["n_heads"])
    _, width = matrix(shapes, "vocab_embed.embedding")
    if frequencies is not None:
        sources[_FREQUENCIES] = heads_of_frequencies(_FREQUENCIES, tuple(frequencies.shape), width)
    if not sources:
        raise ValueError(f"config.json lacks {keys['n_heads']}, which no weight tells")
    dropout: Any = config.get(keys["dropout"], 0.0)
    ours = config_of(
        shapes,
        one_number_of_heads(sources),
        _integer(config, keys["length"]),
        dropout=dropout if type(dropout) in (int, float) and 0 <= dropout < 1 else 0.0,
        time_conditioning=time_conditioning,
        facts=facts.stored(),
    )
    for name in keys.keys() & {"vocab_size", "hidden_size", "cond_dim", "n_blocks"}:
        key, found = keys[name], getattr(ours, name)
        if config.get(key) is not None and _integer(config, key) != found:
            raise ValueError(f"config.json says {key}={config[key]}, the weights say {found}")
    model, names = empty_network(ours, shapes)
    check_shapes(model, names, shapes)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{some([name])} holds numbers that are not finite")
    model.load_state_dict({ours: tensors[name] for name, ours in names.items()}, assign=True)
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


def _is_named(name: str, folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the configuration or the path, as of the hub's cache, names a public model."""
    places = (str(config.get("_name_or_path", "")), str(folder), str(folder.resolve()))
    return any(name in place.casefold() for place in places)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _integer(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise ValueError(f"config.json has {key}={_short(value)}; it must be a positive integer")
    return value


def _boolean(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if type(value) is not bool:
        raise ValueError(f"config.json has {key}={_short(value)}; it must be true or false")
    return value


def _short(value: object) -> str:
    return some([repr(value)])
