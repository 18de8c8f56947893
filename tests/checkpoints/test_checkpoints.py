import errno
import json
import os
import re
import shutil

import pytest
import safetensors.torch
import torch
from huggingface_hub import ModelCard
from safetensors import SafetensorError
from tokenizers import Tokenizer, models
from transformers import AutoModel, PreTrainedTokenizerFast

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
    files = ["README.md", "config.json", "model.safetensors"]
    assert sorted(file.name for file in saved.iterdir()) == files
    assert all(
        p.stat().st_mode & 0o444 == 0o444 for p in saved.iterdir()
    )  # a group may read them too


def test_only_files_that_may_be_written_are_flushed(tmp_path, model, monkeypatch):
    """Windows refuses to flush others."""
    fcntl, flushed = pytest.importorskip("fcntl"), []

    def fsync(descriptor):
        flushed.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)

    monkeypatch.setattr(os, "fsync", fsync)
    checkpoints.save(tmp_path / "model", model)
    assert flushed and os.O_RDONLY not in flushed


def test_half_precision_is_read_back_in_float32(tmp_path, model):
    folder = checkpoints.save(tmp_path / "half", model, dtype=torch.float16)
    again = checkpoints.load(folder)
    assert next(again.parameters()).dtype == torch.float32
    torch.testing.assert_close(logits(again), logits(model), atol=1e-2, rtol=1e-2)
    assert logits(model).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, None])
@pytest.mark.parametrize("keys", [[], ["architectures", "dtype"]])
def test_transformers_reads_what_we_read(tmp_path, model, dtype, keys):
    """The same logits, also from files that lack the keys, as ours once did."""
    folder = checkpoints.save(tmp_path / "model", model, dtype=dtype)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["UDDM"] and config["dtype"] == "float32"
    config = {key: value for key, value in config.items() if key not in keys}
    (folder / "config.json").write_text(json.dumps(config))
    again = AutoModel.from_pretrained(folder)
    assert again.dtype == torch.float32
    assert torch.equal(logits(again), logits(checkpoints.load(folder)))


def test_a_model_brings_its_card(saved, model):
    card = ModelCard.load(saved / "README.md")
    assert card.data.library_name == "uddm_lib" and "uddm" in card.data.tags
    count = sum(weight.numel() for weight in model.parameters())
    assert f"{count:,} parameters, V = 5 tokens,\nL = 4." in card.text
    (code,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    names = {"input_ids": torch.tensor([[0, 1, 2, 3]]), "sigma": 0.4}
    exec(code.replace('"..."', repr(str(saved))), names)
    assert torch.equal(names["logits"], logits(model))


def test_a_second_save_replaces_the_first(saved, model):
    model.head.bias.data += 1
    checkpoints.save(saved, model)
    assert torch.equal(logits(checkpoints.load(saved)), logits(model))
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model"]


def test_a_failed_save_leaves_the_first(saved, model, monkeypatch):
    before = logits(model)

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(OSError, match="No space left .*model.safetensors") as error:
            checkpoints.save(saved, model)
    assert error.value.errno == errno.ENOSPC
    assert torch.equal(logits(checkpoints.load(saved)), before)
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model"]


class Killed(BaseException):
    """The process is gone: nothing that the library does afterwards happens."""


def kill_at(patch, moment):
    """Kill before the ``moment``-th change of the disk; the changes that a save makes are few."""
    changes = 0

    def dying(function):
        def call(*arguments, **keywords):
            nonlocal changes
            changes += 1
            if changes >= moment:
                raise Killed
            return function(*arguments, **keywords)

        return call

    for module, name in (
        (os, "replace"),
        (shutil, "rmtree"),
        (safetensors.torch, "save_file"),
    ):
        patch.setattr(module, name, dying(getattr(module, name)))


@pytest.mark.parametrize("moment", range(1, 6))
def test_a_save_killed_at_any_moment_leaves_a_model(tmp_path, model, monkeypatch, moment):
    folder, before = tmp_path / "run" / "model", logits(model)
    checkpoints.save(folder, model)
    model.head.bias.data += 1
    with monkeypatch.context() as patch:
        kill_at(patch, moment)
        with pytest.raises(Killed):
            checkpoints.save(folder, model)
    left = checkpoints.load(folder)
    assert torch.equal(logits(left), logits(model) if moment > 3 else before)
    checkpoints.remove_states(folder.parent, unfinished=True)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert torch.equal(logits(checkpoints.load(folder)), logits(left))
    checkpoints.save(folder, model)
    assert torch.equal(logits(checkpoints.load(folder)), logits(model))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_save_goes_on_after_one_that_was_killed(tmp_path, model, monkeypatch):
    folder = checkpoints.save(tmp_path / "model", model)
    with monkeypatch.context() as patch:
        kill_at(patch, 3)  # between the two renames
        with pytest.raises(Killed):
            checkpoints.save(folder, model)
    assert not folder.exists()
    model.head.bias.data += 1
    checkpoints.save(folder, model)
    assert torch.equal(logits(checkpoints.load(folder)), logits(model))


def test_tokenizer_is_kept_beside_the_model(tmp_path, model):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    )
    folder = checkpoints.save(tmp_path / "model", model, tokenizer)
    assert checkpoints.load_tokenizer(folder).convert_ids_to_tokens([1, 0]) == ["b", "a"]


def test_missing_files_are_named(tmp_path, saved):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
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
    with pytest.raises(ValueError, match="model.safetensors is damaged"):
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


def test_a_state_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    checkpoints.save_state(path, {"a": torch.arange(3)}, {"step": 7})
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(Killed):
            checkpoints.save_state(path, {"a": torch.arange(4)}, {"step": 8})
    assert checkpoints.load_state(path)[1] == {"step": 7}
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    assert path.stat().st_mode & 0o444 == 0o444


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
