"""The authors' released checkpoints: PyTorch Lightning files, read without executing anything."""

from collections.abc import Mapping
from pathlib import Path

import torch

from uddm_lib._checks import positive_integer
from uddm_lib.checkpoints._archive import Archive, StoredTensor, Stub, describe, mapping, some
from uddm_lib.model import UDDM, UDDMConfig

__all__ = ["load_released", "released_name"]

_PREFIX, _BUFFER = "backbone.", "rotary_emb.inv_freq"
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


def load_released(
    path: str | Path,
    weights: str = "ema",
    n_heads: int | None = None,
    length: int | None = None,
    device: torch.device | str = "cpu",
) -> UDDM:
    """Read a released Lightning checkpoint, such as ``small/lm1b-small-1.0.ckpt``.

    Nothing in the file is executed, and neither lightning nor omegaconf is needed. Only the
    requested weights are read: a file of 4.6 GB with optimizer states takes little more memory
    than the model itself.

    Args:
        path: the ``.ckpt`` file.
        weights: ``"ema"``, the moving averages that the reference evaluates, or ``"raw"``, those
            of the last step.
        n_heads: attention heads; only needed if neither the file's rotary frequencies nor its
            configuration tell.
        length: L; by default the configuration's, or 128 where that can't be read.
        device: where the model goes, wherever it was trained.

    Returns:
        The model, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and what is wrong: not a checkpoint, truncated, damaged,
            without the requested weights, tensors missing or of a wrong shape, or an ``n_heads``
            that the file contradicts or lacks.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r} is unknown; allowed are 'ema' and 'raw'")
    if n_heads is not None:
        positive_integer("n_heads", n_heads)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    try:
        with open(path, "rb") as file:
            return _load(Archive(file), weights, n_heads, length, device)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _load(
    archive: Archive,
    weights: str,
    n_heads: int | None,
    length: int | None,
    device: torch.device | str,
) -> UDDM:
    checkpoint = mapping(archive.tree())
    tensors = {name: describe(name, node) for name, node in _backbone(checkpoint).items()}
    # A buffer: the model computes it, and the averages leave it out.
    frequencies = tensors.pop(_BUFFER, None)
    hyper_parameters = mapping(checkpoint.get("hyper_parameters"))
    config = _config(tensors, frequencies, hyper_parameters, n_heads, length)
    with torch.device("meta"):  # shapes only: no weights are drawn or held
        model = UDDM(config)
    names = {released_name(name): name for name in model.state_dict()}
    if missing := [name for name in names if name not in tensors]:
        raise ValueError(f"missing weights: {some(missing)}")
    if unknown := [name for name in tensors if name not in names]:
        raise ValueError(f"unknown weights: {some(unknown)}")
    if weights == "ema":
        tensors = _averages(checkpoint, tensors)
    for name, ours in names.items():
        shape, expected = tensors[name].shape, tuple(model.get_parameter(ours).shape)
        if shape != expected:
            raise ValueError(f"{tensors[name].name} has the shape {shape}, expected {expected}")
    model.load_state_dict(
        {ours: archive.read(tensors[name], device) for name, ours in names.items()}, assign=True
    )
    return model.eval()


def _backbone(checkpoint: Mapping[str, object]) -> dict[str, object]:
    """The network's entries of the state dict, in their order, by their names in the network."""
    if "state_dict" not in checkpoint:
        raise ValueError(
            f"not a Lightning checkpoint: no state_dict, but {some(checkpoint) or 'nothing'}"
        )
    state = mapping(checkpoint["state_dict"])
    backbone = {
        name.removeprefix(_PREFIX).replace("_orig_mod.", ""): node  # _orig_mod is torch.compile's
        for name, node in state.items()
        if name.startswith(_PREFIX)
    }
    if not backbone:
        raise ValueError(
            f"not a released model: its state_dict has no {_PREFIX}*, "
            f"but {some(state) or 'nothing'}"
        )
    return backbone


def _averages(
    checkpoint: Mapping[str, object], tensors: Mapping[str, StoredTensor]
) -> dict[str, StoredTensor]:
    """The moving averages by name; the file lists them in the order of the parameters."""
    averages = mapping(checkpoint.get("ema")).get("shadow_params")
    if not isinstance(averages, (list, tuple)):
        raise ValueError("no EMA weights (ema.shadow_params); weights='raw' is available")
    if len(averages) != len(tensors):
        raise ValueError(
            f"{len(averages)} EMA weights for {len(tensors)} parameters; weights='raw' is available"
        )
    return {name: describe(f"{name} (ema)", node) for name, node in zip(tensors, averages)}


def _config(
    tensors: Mapping[str, StoredTensor],
    frequencies: StoredTensor | None,
    hyper_parameters: Mapping[str, object],
    n_heads: int | None,
    length: int | None,
) -> UDDMConfig:
    """The shape of the model: widths from the tensors, the rest from the stored configuration."""
    vocab_size, width = _matrix(tensors, "vocab_embed.embedding")
    cond_dim, features = _matrix(tensors, "sigma_map.mlp.0.weight")
    inner, _ = _matrix(tensors, "blocks.0.mlp.0.weight")
    stored = mapping(_content(mapping(_content(hyper_parameters.get("config"))).get("model")))
    stored = {name: _content(node) for name, node in stored.items()}
    if length is None:
        length = _integer(stored, "length") or 128
    dropout = stored.get("dropout")
    if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        dropout = 0.1
    return UDDMConfig(
        vocab_size=vocab_size,
        length=length,
        hidden_size=width,
        cond_dim=cond_dim,
        n_heads=_heads(width, frequencies, _integer(stored, "n_heads"), n_heads),
        n_blocks=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        mlp_ratio=inner // width,
        dropout=dropout,
        frequency_embedding_size=features,
    )


def _heads(
    width: int, frequencies: StoredTensor | None, configured: int | None, given: int | None
) -> int:
    """The number of attention heads, on which all sources must agree."""
    sources = {"the argument": given, "the configuration": configured}
    if frequencies is not None:  # one for every pair of features in a head
        shape = frequencies.shape
        if len(shape) != 1 or width % (2 * shape[0]):
            raise ValueError(
                f"{_BUFFER} has the shape {shape}, which fits no n_heads at width {width}"
            )
        sources[_BUFFER] = width // (2 * shape[0])
    heads = {source: value for source, value in sources.items() if value is not None}
    if not heads:
        raise ValueError("the file does not tell the number of attention heads; give n_heads")
    if len(set(heads.values())) > 1:
        raise ValueError(
            ", but ".join(f"n_heads={value} by {source}" for source, value in heads.items())
        )
    return next(iter(heads.values()))


def _matrix(tensors: Mapping[str, StoredTensor], name: str) -> tuple[int, int]:
    """The shape of a matrix that the model's widths are read from."""
    if name not in tensors:
        raise ValueError(f"missing weights: {name}")
    shape = tensors[name].shape
    if len(shape) != 2:
        raise ValueError(f"{name} has the shape {shape}, expected a matrix")
    return shape[0], shape[1]


def _content(node: object) -> object:
    """The content of an omegaconf container or value; any other node as it is."""
    content = mapping(node) if isinstance(node, Stub) else {}
    return content.get("_content", content.get("_val", node))


def _integer(stored: Mapping[str, object], name: str) -> int | None:
    """A stored integer; an interpolation of omegaconf is a text such as "${length}"."""
    value = stored.get(name)
    return value if type(value) is int else None


def released_name(name: str) -> str:
    """The name of one of our weights in the released files, without their ``backbone.``."""
    for ours, released in (_WITHIN if name.startswith("blocks.") else _AROUND).items():
        name = name.replace(ours, released)
    return name
