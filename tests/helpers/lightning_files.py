"""Small checkpoints in the format of the released ones, whole, foreign, hostile or damaged."""

import enum
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from contextlib import contextmanager

import torch

from uddm_lib.model import UDDM, UDDMConfig

CONFIG = {
    "vocab_size": 11,
    "length": 6,
    "hidden_size": 16,
    "cond_dim": 8,
    "n_blocks": 2,
    "n_heads": 4,
    "dropout": 0.2,
}


def model():
    """A model with weights that are nowhere zero."""
    torch.manual_seed(0)
    network = UDDM(UDDMConfig(**CONFIG)).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return network


def averaged(network):
    """The model whose weights :func:`contents` stores as moving averages."""
    other = UDDM(network.config).eval()
    other.load_state_dict({name: value / 2 for name, value in network.state_dict().items()})
    return other


def logits(network):
    return network.denoise(torch.tensor([[0, 3, 10, 1, 2, 7]]), 0.4).detach()


def released_name(name):
    """A weight's name in the released files, told apart from the package's own list of names."""
    if name.startswith("blocks."):
        _, block, layer, *rest = name.split(".")
        layer = {"qkv": "attn_qkv", "out": "attn_out", "modulation": "adaLN_modulation"}.get(
            layer, layer
        )
        return ".".join(["backbone.blocks", block, layer, *rest])
    layer, _, rest = name.partition(".")
    return "backbone." + {
        "vocab_embed": "vocab_embed.embedding",
        "norm": f"output_layer.norm_final.{rest}",
        "head": f"output_layer.linear.{rest}",
        "modulation": f"output_layer.adaLN_modulation.{rest}",
    }.get(layer, name)


def contents(network):
    """What a Lightning run with moving averages saves, without the classes of :func:`foreign`."""
    state, averages = OrderedDict(), []
    for name, value in network.state_dict().items():
        if (
            name == "blocks.0.norm1.weight"
        ):  # where the module order has it; it is no parameter, so not averaged
            size = network.config.hidden_size // network.config.n_heads
            state["backbone.rotary_emb.inv_freq"] = 10_000 ** (-torch.arange(0, size, 2) / size)
        state[released_name(name)] = value.detach().clone()
        averages.append(value.detach() / 2)
    moments = {
        i: {
            "step": torch.tensor(3.0),
            "exp_avg": torch.ones_like(value),
            "exp_avg_sq": torch.ones_like(value),
        }
        for i, value in enumerate(averages)
    }
    return {
        "epoch": 0,
        "global_step": 3,
        "state_dict": state,
        "callbacks": {},
        "optimizer_states": [
            {"state": moments, "param_groups": [{"lr": 3e-4, "betas": (0.9, 0.999)}]}
        ],
        "hyper_parameters": {"config": {"model": dict(CONFIG)}, "vocab_size": None},
        "ema": {"decay": 0.9999, "num_updates": 3, "shadow_params": averages},
    }


@contextmanager
def foreign():
    """A module of classes as other packages have them; outside the context no one can import it."""
    module = types.ModuleType("foreign_package")

    def add(name, *bases, **content):
        kind = type(name, bases, {"__module__": module.__name__, **content})
        setattr(module, name, kind)
        return kind

    add("DictConfig")
    add("AnyNode")
    add("AttributeDict", dict)
    add("Items", list)
    add("Names", set)
    add("Slotted", __slots__=("a", "b"))
    add("Default", defaultdict)
    module.Kind = enum.Enum("Kind", "FIRST SECOND", module=module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        del sys.modules[module.__name__]


def configured(package, content):
    """``content`` as omegaconf pickles it: an object for every dictionary and every value."""
    node = package.DictConfig() if isinstance(content, dict) else package.AnyNode()
    if isinstance(content, dict):
        node._content = {name: configured(package, value) for name, value in content.items()}
    else:
        node._val = content
    node._parent = node
    return node


def rewrite(path, edit, compression=zipfile.ZIP_STORED):
    """Write an archive again, each record as ``edit(name, data)`` gives it; None leaves it out."""
    with zipfile.ZipFile(path) as old:
        records = {name: edit(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in records.items():
            if data is not None:
                new.writestr(name, data)
    return path


def with_pickle(path, edit):
    """Write an archive again with its pickle as ``edit(data)`` gives it; the records stay."""
    return rewrite(path, lambda name, data: edit(data) if name.endswith("/data.pkl") else data)
