import json

import pytest
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from uddm_lib import checkpoints
from uddm_lib.model import UDDM, UDDMConfig


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = UDDM(UDDMConfig.named("pico", vocab_size=5, length=4)).eval()
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.fixture
def saved(tmp_path, model):
    return checkpoints.save(tmp_path / "model", model)


def logits(model):
    return model.denoise(torch.tensor([[0, 1, 2, 3]]), 0.4)


def test_round_trip(saved, model):
    again = checkpoints.load(saved)
    assert torch.equal(logits(again), logits(model)) and not again.training
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model"]
    assert {p.suffix for p in saved.iterdir()} == {".json", ".safetensors"}
    assert all(
        p.stat().st_mode & 0o444 == 0o444 for p in saved.iterdir()
    )  # a group may read them too


def test_half_precision_is_read_back_in_float32(tmp_path, model):
    folder = checkpoints.save(tmp_path / "half", model, dtype=torch.float16)
    again = checkpoints.load(folder)
    assert next(again.parameters()).dtype == torch.float32
    torch.testing.assert_close(logits(again), logits(model), atol=1e-2, rtol=1e-2)
    assert logits(model).dtype == torch.float32


def test_a_second_save_replaces_the_first(saved, model):
    model.head.bias.data += 1
    checkpoints.save(saved, model)
    assert torch.equal(logits(checkpoints.load(saved)), logits(model))
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model"]


def test_a_failed_save_leaves_the_first(saved, model, monkeypatch):
    before = logits(model)

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="model can't be written: .*No space left"):
        checkpoints.save(saved, model)
    monkeypatch.undo()
    assert torch.equal(logits(checkpoints.load(saved)), before)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model"]


def test_tokenizer_is_kept_beside_the_model(tmp_path, model):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    )
    folder = checkpoints.save(tmp_path / "model", model, tokenizer)
    assert checkpoints.load_tokenizer(folder).convert_ids_to_tokens([1, 0]) == ["b", "a"]


def test_missing_files_are_named(tmp_path, saved):
    with pytest.raises(FileNotFoundError, match="nowhere.config.json is missing"):
        checkpoints.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="tokenizer.json"):
        checkpoints.load_tokenizer(saved)
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        checkpoints.load(saved)


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_truncated_weights_are_named(saved, keep):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ValueError, match="model.safetensors can't be read"):
        checkpoints.load(saved)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "config.json is not a model's configuration"),
        ("[]", "config.json is not a model's configuration"),
        (json.dumps({"model_type": "bert"}), "config.json describes a model of type 'bert'"),
    ],
)
def test_foreign_configurations_are_named(saved, text, message):
    (saved / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        checkpoints.load(saved)


def test_weights_of_another_shape_are_named(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"vocab_size": 9}))
    with pytest.raises(ValueError, match="model.safetensors can't be read as the model"):
        checkpoints.load(saved)


def test_state_round_trip_and_damage(tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoints.save_state(path, {"a.b": torch.arange(3)}, {"step": 7})
    tensors, metadata = checkpoints.load_state(path)
    assert torch.equal(tensors["a.b"], torch.arange(3)) and metadata == {"step": 7}
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="state.safetensors is not a training state, or damaged"):
        checkpoints.load_state(path)
    with pytest.raises(FileNotFoundError, match="other.safetensors is missing"):
        checkpoints.load_state(tmp_path / "other.safetensors")
