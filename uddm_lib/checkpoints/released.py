"""The authors' released checkpoints: PyTorch Lightning files, read without executing anything."""

from collections.abc import Mapping
from pathlib import Path

import torch

from uddm_lib._checks import positive_integer
from uddm_lib.checkpoints._archive import Archive, StoredTensor, Stub, describe, mapping
from uddm_lib.checkpoints._files import some
from uddm_lib.checkpoints._network import (
    Shapes,
    check_shapes,
    config_of,
    empty_network,
    heads_of_frequencies,
    matrix,
    one_number_of_heads,
)
from uddm_lib.model import UDDM, UDDMConfig

__all__ = ["load_released"]

_PREFIX, _BUFFER = "backbone.", "rotary_emb.inv_freq"


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
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    config = _config(shapes, frequencies, hyper_parameters, n_heads, length)
    model, names = empty_network(config, shapes)
    mark = ""
    if weights == "ema":
        tensors, mark = _averages(checkpoint, tensors), " (ema)"
    check_shapes(model, names, {name: tensors[name].shape for name in names}, mark)
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
    shapes: Shapes,
    frequencies: StoredTensor | None,
    hyper_parameters: Mapping[str, object],
    n_heads: int | None,
    length: int | None,
) -> UDDMConfig:
    """The shape of the model: widths from the tensors, the rest from the stored configuration."""
    stored = mapping(_content(mapping(_content(hyper_parameters.get("config"))).get("model")))
    stored = {name: _content(node) for name, node in stored.items()}
    if length is None:
        length = _integer(stored, "length") or 128
    dropout = stored.get("dropout")
    if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        dropout = 0.1
    sources: dict[str, int | None]
    sources = {"the argument": n_heads, "the configuration": _integer(stored, "n_heads")}
    _, width = matrix(shapes, "vocab_embed.embedding")
    if frequencies is not None:
        sources[_BUFFER] = heads_of_frequencies(_BUFFER, frequencies.shape, width)
    heads = one_number_of_heads(sources)
    return config_of(shapes, heads, length, dropout=dropout, facts={"family": "released"})


def _content(node: object) -> object:
    """The content of an omegaconf container or value; any other node as it is."""
    content = mapping(node) if isinstance(node, Stub) else {}
    return content.get("_content", content.get("_val", node))


def _integer(stored: Mapping[str, object], name: str) -> int | None:
    """A stored integer; an interpolation of omegaconf is a text such as "${length}"."""
    value = stored.get(name)
    return value if type(value) is int else None
