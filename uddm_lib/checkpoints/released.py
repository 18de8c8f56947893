"""The authors' released checkpoints: PyTorch Lightning files as models, nothing in them executed."""

from pathlib import Path

import torch

from uddm_lib.checkpoints._archive import Archive, Stub, describe, mapping, some
from uddm_lib.model import UDDM, UDDMConfig

__all__ = ["load_released", "released_name"]

_PREFIX, _BUFFER = "backbone.", "rotary_emb.inv_freq"
_WITHIN = {
    ".qkv.": ".attn_qkv.",
    ".out.": ".attn_out.",
    ".modulation.": ".adaLN_modulation.",
}  # blocks, ours first
_AROUND = {
    "vocab_embed.weight": "vocab_embed.embedding",
    "norm.weight": "output_layer.norm_final.weight",
    "modulation.": "output_layer.adaLN_modulation.",
    "head.": "output_layer.linear.",
}


def load_released(path, weights="ema", n_heads=None, length=None, device="cpu"):
    """Read a released Lightning checkpoint, such as ``small/lm1b-small-1.0.ckpt``, as a :class:`~uddm_lib.model.UDDM`.

    Nothing in the file is executed, and neither lightning nor omegaconf is needed. Only the weights asked for are
    read, so a file of 4.6 GB with optimizer states takes little more memory than the model itself.

    Args:
        path: the ``.ckpt`` file.
        weights: ``"ema"``, the moving averages that the reference evaluates, or ``"raw"``, the last step's.
        n_heads: attention heads; only needed if neither the file's rotary frequencies nor its configuration tell.
        length: L; by default the configuration's, or 128 where that can't be read.
        device: where the model goes, wherever it was trained.

    Returns:
        The model, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and what is wrong: not a checkpoint, truncated, damaged, without the weights
            asked for, tensors missing or of a wrong shape, or an ``n_heads`` that the file contradicts or lacks.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r} is unknown; allowed are 'ema' and 'raw'")
    if n_heads is not None and (type(n_heads) is not int or n_heads < 1):
        raise ValueError(f"n_heads={n_heads!r} is not a positive integer")
    path = Path(path)
    if not path.is_file():
        raise (
            ValueError(f"{path} is not a file")
            if path.exists()
            else FileNotFoundError(f"{path} is missing")
        )
    try:
        with open(path, "rb") as file:
            return _load(Archive(file), weights, n_heads, length, device)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _load(archive, weights, n_heads, length, device):
    checkpoint = mapping(archive.tree())
    tensors = {name: describe(name, node) for name, node in _backbone(checkpoint).items()}
    frequencies = tensors.pop(
        _BUFFER, None
    )  # a buffer: the model computes it, and the averages leave it out
    config = _config(
        tensors, frequencies, mapping(checkpoint.get("hyper_parameters")), n_heads, length
    )
    with torch.device("meta"):  # shapes only: no weights are drawn or held
        model = UDDM(config)
    names = {released_name(name): name for name in model.state_dict()}
    missing, unknown = (
        [name for name in names if name not in tensors],
        [name for name in tensors if name not in names],
    )
    if missing or unknown:
        raise ValueError(
            f"missing weights: {some(missing)}" if missing else f"unknown weights: {some(unknown)}"
        )
    if weights == "ema":
        tensors = _averages(checkpoint, tensors)
    for name, ours in names.items():
        found, expected = tensors[name].shape, tuple(model.get_parameter(ours).shape)
        if found != expected:
            raise ValueError(f"{tensors[name].name} has the shape {found}, expected {expected}")
    model.load_state_dict(
        {ours: archive.read(tensors[name], device) for name, ours in names.items()}, assign=True
    )
    return model.eval()


def _backbone(checkpoint):
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
            f"not a released model: its state_dict has no {_PREFIX}*, but {some(state) or 'nothing'}"
        )
    return backbone


def _averages(checkpoint, tensors):
    """The moving averages by name: the file has them as an unnamed list, in the order of the parameters."""
    averages = mapping(checkpoint.get("ema")).get("shadow_params")
    if not isinstance(averages, (list, tuple)):
        raise ValueError("no EMA weights (ema.shadow_params); weights='raw' is available")
    if len(averages) != len(tensors):
        raise ValueError(
            f"{len(averages)} EMA weights for {len(tensors)} parameters; weights='raw' is available"
        )
    return {name: describe(f"{name} (ema)", node) for name, node in zip(tensors, averages)}


def _config(tensors, frequencies, hyper_parameters, n_heads, length):
    """The shape of the model: widths from the tensors, what they can't tell from the stored configuration."""
    vocab_size, width = _matrix(tensors, "vocab_embed.embedding")
    cond_dim, features = _matrix(tensors, "sigma_map.mlp.0.weight")
    inner, _ = _matrix(tensors, "blocks.0.mlp.0.weight")
    stored = mapping(_content(mapping(_content(hyper_parameters.get("config"))).get("model")))
    stored = {name: _content(node) for name, node in stored.items()}
    heads = {"the argument": n_heads, "the configuration": _integer(stored, "n_heads")}
    if frequencies is not None:  # one for every pair of features in a head
        if len(frequencies.shape) != 1 or width % (2 * frequencies.shape[0]):
            raise ValueError(
                f"{_BUFFER} has the shape {frequencies.shape}, which fits no n_heads at width {width}"
            )
        heads[_BUFFER] = width // (2 * frequencies.shape[0])
    heads = {source: value for source, value in heads.items() if value is not None}
    if not heads:
        raise ValueError("the file does not tell the number of attention heads; give n_heads")
    if len(set(heads.values())) > 1:
        raise ValueError(
            ", but ".join(f"n_heads={value} by {source}" for source, value in heads.items())
        )
    if length is None:
        length = _integer(stored, "length") or 128
    dropout = stored.get("dropout")
    return UDDMConfig(
        vocab_size=vocab_size,
        length=length,
        hidden_size=width,
        cond_dim=cond_dim,
        n_heads=next(iter(heads.values())),
        n_blocks=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        mlp_ratio=inner // width,
        dropout=dropout if type(dropout) in (int, float) and 0 <= dropout < 1 else 0.1,
        frequency_embedding_size=features,
    )


def _matrix(tensors, name):
    """The shape of a matrix that the model's widths are read from."""
    if name not in tensors:
        raise ValueError(f"missing weights: {name}")
    if len(tensors[name].shape) != 2:
        raise ValueError(f"{name} has the shape {tensors[name].shape}, expected a matrix")
    return tensors[name].shape


def _content(node):
    """What an omegaconf container or value holds; any other thing as it is."""
    held = mapping(node) if isinstance(node, Stub) else {}
    return held.get("_content", held.get("_val", node))


def _integer(stored, name):
    value = stored.get(name)  # an interpolation of omegaconf's is a text such as "${length}"
    return value if type(value) is int else None


def released_name(name):
    """The name of one of our weights in the released files, without their ``backbone.``."""
    for ours, released in (_WITHIN if name.startswith("blocks.") else _AROUND).items():
        name = name.replace(ours, released)
    return name
