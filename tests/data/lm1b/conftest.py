"""A small copy of LM1B, its tokenizer and its blocks."""

import re

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from helpers.lm1b_copies import COUNTS, LENGTH, SHARDS, TEXTS, write
from uddm_lib.data import load_tokenizer
from uddm_lib.data.lm1b import sentences
from uddm_lib.data.lm1b.mapped_blocks import lm1b_blocks


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """All of LM1B has the size of these folders."""
    monkeypatch.setattr(sentences, "SENTENCES", COUNTS)
    monkeypatch.setattr(sentences, "SHARDS", SHARDS)
    monkeypatch.delenv("UDDM_LM1B", raising=False)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    """Whole words and single marks, as in BERT's, and a token that a text may be mistaken for."""
    words = re.findall(r"\w+|[^\w\s]", " ".join(TEXTS["train"] + TEXTS["test"]))
    vocabulary = dict.fromkeys(["[UNK]", "[CLS]", "[SEP]", "SEP", "[", "]", *words])
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder):
    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("original") / "1-billion-word-language-modeling-benchmark-r13output"
    )


@pytest.fixture(scope="session")
def blocks(original, tokenizer, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentences, "SENTENCES", COUNTS)
        patch.setattr(sentences, "SHARDS", SHARDS)
        return lm1b_blocks(
            original, tokenizer, LENGTH, tmp_path_factory.mktemp("cache"), processes=1
        )
