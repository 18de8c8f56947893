import errno
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from helpers import lightning_files as files
from helpers.command_line import error_line
from helpers.paths import ROOT
from uddm_lib import checkpoints
from uddm_lib.__main__ import main
from uddm_lib.sweep import paths


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "released.ckpt"
    torch.save(files.contents(files.model()), path)
    return path


@pytest.fixture
def tokenizer(tmp_path):
    def save(size):
        words = Tokenizer(WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0"))
        words = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w2")
        words.save_pretrained(tmp_path / "words")
        return tmp_path / "words"

    return save


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_convert_released_file(tmp_path, source, capsys, weights):
    folder = tmp_path / "new" / "model"
    assert main(["convert", str(source), f"{folder}/", "--weights", weights]) == 0
    assert torch.equal(
        files.logits(checkpoints.load(folder)),
        files.logits(checkpoints.load_released(source, weights)),
    )
    written = ["README.md", "config.json", "model.safetensors"]
    assert sorted(file.name for file in folder.iterdir()) == written
    out, err = capsys.readouterr()
    size = sum(weight.numel() for weight in files.model().parameters())
    assert f"{size:,} parameters: V=11, L=6, 2 blocks, 4 heads, hidden size 16" in out and not err
    assert f"checkpoints.load('{folder}')" in out and f"{weights} weights" in out


def test_convert_without_a_configuration(tmp_path, source, capsys):
    contents = torch.load(source, weights_only=True)
    del contents["hyper_parameters"], contents["state_dict"]["backbone.rotary_emb.inv_freq"]
    torch.save(contents, source)
    assert "give n_heads" in error_line(capsys, "convert", source, tmp_path / "model")
    assert (
        main(["convert", str(source), str(tmp_path / "model"), "--heads", "2", "--length", "9"])
        == 0
    )
    config = checkpoints.load(tmp_path / "model").config
    assert (config.n_heads, config.length) == (2, 9)


def test_convert_into_an_empty_folder(tmp_path, source, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "released.ckpt", "empty"]) == 0
    assert checkpoints.load(tmp_path / "empty").config.vocab_size == 11


def test_convert_replaces_nothing(tmp_path, source, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("all of it")
    assert "mine exists and is not an empty folder" in error_line(capsys, "convert", source, folder)
    assert "thesis.txt exists" in error_line(capsys, "convert", source, folder / "thesis.txt")
    assert [file.read_text() for file in folder.iterdir()] == ["all of it"]


def test_convert_with_a_tokenizer(tmp_path, source, tokenizer, capsys):
    assert (
        main(["convert", str(source), str(tmp_path / "model"), "--tokenizer", str(tokenizer(11))])
        == 0
    )
    assert checkpoints.load_tokenizer(tmp_path / "model").convert_ids_to_tokens([3]) == ["w3"]
    assert "checkpoints.load_tokenizer(" in capsys.readouterr().out
    line = error_line(capsys, "convert", source, tmp_path / "other", "--tokenizer", tokenizer(12))
    assert "has 12 tokens, more than the model's 11" in line and not (tmp_path / "other").exists()


def test_errors_are_one_line(tmp_path, source, capsys, monkeypatch):
    new = tmp_path / "model"
    assert "nowhere.ckpt is missing" in error_line(
        capsys, "convert", tmp_path / "nowhere.ckpt", new
    )
    assert "n_heads=3" in error_line(capsys, "convert", source, new, "--heads", "3")
    assert "--help" in error_line(capsys, "convert", source)
    assert "invalid choice: 'best'" in error_line(
        capsys, "convert", source, new, "--weights", "best"
    )
    assert "invalid choice: 'translate'" in error_line(capsys, "translate")
    source.write_bytes(source.read_bytes()[:1000])
    assert "truncated" in error_line(capsys, "convert", source, new)
    assert not new.exists()


@pytest.mark.parametrize(
    "error", [SafetensorError("No space left"), OSError(errno.ENOSPC, "No space left")]
)
def test_a_full_disk_is_one_line(tmp_path, source, capsys, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("safetensors.torch.save_file", full)
    assert "No space left" in error_line(capsys, "convert", source, tmp_path / "model")
    assert list(tmp_path.iterdir()) == [source]


def test_help(capsys):
    assert main([]) == 0
    assert "convert" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["convert", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and "example:" in out and "Nothing in it is executed" in out


def test_help_does_not_wait_for_torch():
    code = (
        "import runpy, sys; sys.argv = ['x']\n"
        "try: runpy.run_module('uddm_lib', run_name='__main__')\n"
        "finally: print({'torch', 'transformers', 'numpy'} & sys.modules.keys())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "usage: python -m uddm_lib" in out and out.strip().endswith("set()")


@pytest.mark.parametrize(
    "command", ["audit", "convert", "page", "plan", "reproduce", "sweep", "train"]
)
def test_every_command_has_a_page_of_help(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert (
        stop.value.code == 0 and f"usage: python -m uddm_lib {command}" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "words",
    [["plan", "smoke"], ["reproduce", "smoke"], ["sweep", "smoke"], ["train", "smoke", "x"]],
)
def test_commands_that_need_a_checkout_say_so(capsys, monkeypatch, words):
    def nowhere():
        raise FileNotFoundError("no folder with uddm_lib/ and notebooks/")

    monkeypatch.setattr(paths, "repository_root", nowhere)
    assert "this command needs a checkout of the repository" in error_line(capsys, *words)


def test_options_of_no_command_are_refused(capsys):
    assert "unrecognized arguments: --until" in error_line(capsys, "plan", "smoke", "--until")


def test_train_names_the_runs_of_the_profile(capsys):
    line = error_line(capsys, "train", "smoke", "markov-pico-n000009-s1")
    assert (
        "run 'markov-pico-n000009-s1' is not in runs/smoke.yaml, which has markov-pico-n00" in line
    )


@pytest.mark.slow
def test_all_but_a_sweep_works_on_a_python_for_windows():
    """As far as that shows here: without the module and the signals that it lacks."""
    code = """
import signal, sys
from pathlib import Path
sys.modules["fcntl"] = None
del signal.SIGUSR1, signal.SIGUSR2
from uddm_lib import experiments
from uddm_lib.__main__ import main
from uddm_lib.sweep import runner
run = experiments.load_run("runs/pretrained/kjv-nano-n000016-s1")
assert main([]) == 0 and len(run.train) == 16
try:
    with runner._lock(Path("runs")):
        pass
except ValueError as error:
    print(error)
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert "usage: python -m uddm_lib" in out
    assert "a sweep needs the module fcntl, which Windows lacks: on Windows, use WSL" in out
