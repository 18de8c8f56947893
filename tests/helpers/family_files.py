"""Small checkpoints in the file layouts of UDLM, Duo and GIDD, made of a network of ours."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from helpers.lightning_files import CONFIG, released_name
from uddm_lib.model import UDDM, UDDMConfig

TOKENS = torch.tensor([[0, 3, 10, 1, 2, 7], [4, 4, 9, 0, 8, 5]])
_THEIRS = {
    "vocab_size": CONFIG["vocab_size"],
    "model_length": CONFIG["length"],
    "hidden_dim": CONFIG["hidden_size"],
    "cond_dim": CONFIG["cond_dim"],
    "n_blocks": CONFIG["n_blocks"],
    "n_heads": CONFIG["n_heads"],
    "dropout": 0.1,
}
CONFIGS = {
    "udlm": {"model_type": "udlm", **_THEIRS, "time_conditioning": True, "cfg": False},
    "duo": {"model_type": "DUO", **_THEIRS, "causal": False, "var_min": False},
    "gidd": {
        "model_type": "dit",
        "vocab_size": CONFIG["vocab_size"],
        "max_seq_len": CONFIG["length"],
        "hidden_size": CONFIG["hidden_size"],
        "timestep_cond_dim": CONFIG["cond_dim"],
        "num_hidden_layers": CONFIG["n_blocks"],
        "num_attention_heads": CONFIG["n_heads"],
        "p_uniform": 0.2,
    },
}


def network(**changes):
    """A network with weights that are nowhere zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UDDM(UDDMConfig(**CONFIG | changes)).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return model


def weights(family, model):
    """The model's weights as the family's files name them, with the buffers that they hold."""
    prefix = "" if family == "gidd" else "backbone."
    state = {
        prefix + released_name(name).removeprefix("backbone."): value.detach().clone()
        for name, value in model.state_dict().items()
    }
    features = CONFIG["hidden_size"] // CONFIG["n_heads"]
    if family == "gidd":
        for name in ("cos", "sin"):
            table = torch.ones(1, CONFIG["length"], 3, 1, features)
            state[f"rotary_emb.{name}_cached"] = table
    else:
        state["backbone.rotary_emb.inv_freq"] = torch.ones(features // 2)
    return state


def write(folder, family, state, **changes):
    """A checkpoint's folder; ``changes`` replace values of its configuration, None removes one."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**CONFIGS[family], "auto_map": {"AutoModel": "modeling.Model"}, **changes}
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling.py").write_text("raise SystemExit('this code was run')")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    if family == "gidd":
        write_tokenizer(folder)
    return folder


def write_tokenizer(folder, mask="w10"):
    """A tokenizer of eleven words, one of which is the mask."""
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(11)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, mask_token=mask).save_pretrained(folder)
