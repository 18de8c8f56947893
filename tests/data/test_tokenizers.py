"""The paper's tokenizers on their real vocabularies, from the extra ``vocabularies``; bad ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.tokenizer_files import TEXTS, save_tokenizer, token_ids
from uddm_lib import checkpoints
from uddm_lib.data import _paths, load_corpus, load_tokenizer


def test_bert_is_the_papers(bert):
    tokenizer = load_tokenizer(bert)
    assert len(tokenizer) == 30_522
    known = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, "the": 1996}
    assert tokenizer.convert_tokens_to_ids(list(known)) == list(known.values())
    assert (
        token_ids(tokenizer, "Hello world") == token_ids(tokenizer, "hello world") == [7592, 2088]
    )
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (101, 102)


def test_gpt2_is_the_papers(gpt2):
    tokenizer = load_tokenizer(gpt2)
    assert len(tokenizer) == 50_257
    assert token_ids(tokenizer, "hello world") == [31373, 995] and token_ids(tokenizer, " the") == [
        262
    ]
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") == 50_256
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == 50_256


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_tokenizer_is_the_same_beside_a_saved_model(name, request, tmp_path):
    tokenizer = load_tokenizer(request.getfixturevalue(name))
    tokenizer.save_pretrained(tmp_path)
    back = checkpoints.load_tokenizer(tmp_path)
    assert (len(back), back.bos_token_id, back.eos_token_id) == (
        len(tokenizer),
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    )
    assert token_ids(back, TEXTS[7]) == token_ids(tokenizer, TEXTS[7])


def test_a_relative_folder_is_found_from_the_working_directory(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    for name in ("./tiny", "tiny", Path("tiny"), f"../{tiny.parent.name}/tiny"):
        assert len(load_tokenizer(name)) == 411


def test_a_relative_folder_is_found_from_the_root_of_a_checkout(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(_paths, "repository_root", lambda: tiny.parent)
    monkeypatch.chdir("/")
    assert len(load_tokenizer("tiny")) == 411


def test_bad_tokenizers_are_named(tiny, text, tmp_path):
    with pytest.raises(ValueError, match="vocab_size=7: tokenizer .*tiny' has 411 tokens"):
        load_corpus(text, vocab_size=7, tokenizer=str(tiny), cache=False)
    assert (
        load_corpus(text, length=16, vocab_size=411, tokenizer=str(tiny), cache=False).vocab_size
        == 411
    )
    with pytest.raises(ValueError, match="corpus 'markov' are its states, it takes none"):
        load_corpus("markov", tokenizer=str(tiny))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds none that transformers reads"):
        load_tokenizer(tmp_path / "empty")
    with pytest.raises(ValueError, match="has neither a bos_token nor a cls_token"):
        load_tokenizer(save_tokenizer(tmp_path / "bare", ["a", "<unk>"], unk_token="<unk>"))


def test_without_network_and_cache_it_says_what_to_do(tmp_path):
    code = (
        "from uddm_lib.data import load_tokenizer\n"
        "try: load_tokenizer('bert-base-uncased')\n"
        "except OSError as error: print(error)"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.startswith(
        "tokenizer 'bert-base-uncased' is no folder, is not in the local cache"
    )
    assert "Give a folder that holds its files" in run.stdout and run.stdout.count("\n") == 1


@pytest.mark.parametrize("kind", ["BertTokenizer", "GPT2Tokenizer"])
def test_a_folder_that_lacks_its_vocabulary_is_refused(kind, tmp_path):
    """From such a folder transformers makes a tokenizer to which every word is [UNK]."""
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    with pytest.raises(ValueError, match="has special tokens only: its vocabulary is missing"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{nope", "{}", '{"added_tokens": []}'])
def test_damaged_files_name_the_folder(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path.name} holds none that transformers reads"):
        load_tokenizer(tmp_path)


def test_code_that_a_tokenizer_brings_along_is_neither_run_nor_asked_about(
    tmp_path, capfd, monkeypatch
):
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}
        )
    )
    (tmp_path / "own.py").write_text("raise SystemExit('was run')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ValueError, match="holds none that transformers reads"):
        load_tokenizer(tmp_path)
    assert "[y/N]" not in capfd.readouterr().out


def test_the_bare_tokenizer_file_of_bert_has_its_roles(bert, tmp_path):
    shutil.copy(bert / "tokenizer.json", tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (30_522, 101, 102)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_an_empty_name_is_refused(name, unchecked):
    with pytest.raises(
        ValueError, match="tokenizer must be a name such as 'gpt2', or a folder; got"
    ):
        load_tokenizer(name)
