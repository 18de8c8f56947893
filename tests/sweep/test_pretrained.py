"""The models that ship: made from a finished run."""

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from uddm_lib import checkpoints
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.results import open_run, provenance, read_run, write_table
from uddm_lib.sweep.pretrained import make_pretrained

PARAMETERS = {
    "blocks": 16,
    "vocab_size": 5,
    "length": 8,
    "size": "nano",
    "n_blocks": 1,
    "hidden_size": 8,
    "n_heads": 1,
    "steps": 3600,
    "batch_size": 64,
    "learning_rate": 0.004,
    "lr_schedule": "linear",
    "optimizer": "muon",
    "t_sampling": "importance",
    "t_min": 0.05,
    "ema_decay": 0.995,
    "seed": 1,
}


@pytest.fixture
def run(tmp_path):
    """A finished run."""
    folder = open_run(tmp_path / "run", PARAMETERS)
    config = UDDMConfig(vocab_size=5, length=8, hidden_size=8, cond_dim=8, n_blocks=1, n_heads=1)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(5)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    checkpoints.save(folder / "model", UDDM(config), tokenizer)
    table = pd.DataFrame({"nelbo": [2.158]})
    write_table(table, folder / "validation.csv", provenance(PARAMETERS))
    return folder


def test_a_model_that_ships_is_its_run_in_half_precision(run, tmp_path):
    folder = tmp_path / "pretrained" / "kjv-nano-n000016-s1"
    make_pretrained(run, folder, "has memorized its training blocks")
    assert read_run(folder) == PARAMETERS
    card = (folder / "README.md").read_text()
    assert card.startswith("# kjv-nano-n000016-s1\n") and "2.16 nats per token" in card
    assert "It has memorized its training blocks." in card and "3,600 steps" in card
    whole, half = (checkpoints.load(place / "model") for place in (run, folder))
    for weight, stored in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(weight.half().float(), stored)
    assert checkpoints.load_tokenizer(folder / "model").convert_ids_to_tokens([3]) == ["w3"]


def test_an_unfinished_run_is_refused(run, tmp_path):
    (run / "validation.csv").unlink()
    with pytest.raises(FileNotFoundError, match="validation.csv"):
        make_pretrained(run, tmp_path / "pretrained", "is not finished")
