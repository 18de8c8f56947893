"""What the files of Duo, UDLM, GIDD and the authors share: our network, under other names."""

from collections.abc import Mapping
from typing import Any

import torch

from uddm_lib.checkpoints._files import some
from uddm_lib.model import UDDM, UDDMConfig

__all__ = [
    "Shapes",
    "check_shapes",
    "config_of",
    "empty_network",
    "heads_of_frequencies",
    "matrix",
    "one_number_of_heads",
    "released_name",
]

Shapes = Mapping[str, tuple[int, ...]]

# Parts of names, ours first: within blocks, and around them.
_WITHIN = {
    ".qkv.": ".attn_qkv.",
    ".out.": ".attn_out.",
    ".modulation.": ".adaLN_modulation.",
}
_AROUND = {
    "vocab_embed.weight": "vocab_embed.embedding",
    "norm.weight": "output_layer.norm_final.weight",
    "modulation.": "output_layer.adaLN_modulation.",
    "head.": "output_layer.linear.",
}


def released_name(name: str) -> str:
    """The name of one of our weights in the other files, without a prefix."""
    for ours, released in (_WITHIN if name.startswith("blocks.") else _AROUND).items():
        name = name.replace(ours, released)
    return name


def config_of(shapes: Shapes, n_heads: int, length: int, **options: Any) -> UDDMConfig:
    """The network's configuration: widths from the shapes of its weights.

    Args:
        shapes: of all weights, by their names in the file.
        n_heads, length: which no shape tells.
        options: further arguments of the configuration.

    Raises:
        ValueError: if a weight that tells a width is missing or no matrix.
    """
    vocab_size, width = matrix(shapes, "vocab_embed.embedding")
    cond_dim, features = matrix(shapes, "sigma_map.mlp.0.weight")
    inner, _ = matrix(shapes, "blocks.0.mlp.0.weight")
    n_blocks = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    for block in range(n_blocks):  # else a small file could ask for many large layers
        matrix(shapes, f"blocks.{block}.mlp.0.weight")
    return UDDMConfig(
        vocab_size=vocab_size,
        length=length,
        hidden_size=width,
        cond_dim=cond_dim,
        n_heads=n_heads,
        n_blocks=n_blocks,
        mlp_ratio=inner // width if width else 0,
        frequency_embedding_size=features,
        **options,
    )


def empty_network(config: UDDMConfig, shapes: Shapes) -> tuple[UDDM, dict[str, str]]:
    """The network without numbers, and our name of every weight by its name in the file.

    Raises:
        ValueError: naming weights that are missing or unknown.
    """
    with torch.device("meta"):  # shapes only: no weights are drawn or held
        model = UDDM(config)
    names = {released_name(name): name for name in model.state_dict()}
    if missing := [name for name in names if name not in shapes]:
        raise ValueError(f"missing weights: {some(missing)}")
    if unknown := [name for name in shapes if name not in names]:
        raise ValueError(f"unknown weights: {some(unknown)}")
    return model, names


def check_shapes(model: UDDM, names: Mapping[str, str], shapes: Shapes, mark: str = "") -> None:
    """Raise a ValueError that names a weight, with ``mark``, whose shape is not the network's."""
    for name, ours in names.items():
        expected = tuple(model.get_parameter(ours).shape)
        if shapes[name] != expected:
            raise ValueError(f"{name}{mark} has the shape {shapes[name]}, expected {expected}")


def one_number_of_heads(sources: Mapping[str, int | None]) -> int:
    """The number of attention heads, on which all sources that tell it must agree.

    Raises:
        ValueError: if none tells it, or two differ.
    """
    heads = {source: value for source, value in sources.items() if value is not None}
    if not heads:
        raise ValueError("the file does not tell the number of attention heads; give n_heads")
    if len(set(heads.values())) > 1:
        raise ValueError(
            ", but ".join(f"n_heads={value} by {source}" for source, value in heads.items())
        )
    return next(iter(heads.values()))


def heads_of_frequencies(name: str, shape: tuple[int, ...], width: int) -> int:
    """The number of heads by the rotary frequencies, one for every pair of features in a head.

    Raises:
        ValueError: if their shape fits no number of heads.
    """
    if len(shape) != 1 or not shape[0] or width % (2 * shape[0]):
        raise ValueError(f"{name} has the shape {shape}, which fits no n_heads at width {width}")
    return width // (2 * shape[0])


def matrix(shapes: Shapes, name: str) -> tuple[int, int]:
    """The shape of a matrix that the model's widths are read from.

    Raises:
        ValueError: if it is missing or no matrix.
    """
    if name not in shapes:
        raise ValueError(f"missing weights: {name}")
    shape = shapes[name]
    if len(shape) != 2:
        raise ValueError(f"{name} has the shape {shape}, expected a matrix")
    return shape[0], shape[1]
