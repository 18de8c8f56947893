"""Tokenizers for tests: of real vocabularies, and of a few whole words."""

import importlib.util
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEXTS = [f"The {i}th sentence says hello world, and nothing else." for i in range(400)]


def packaged_files(package, *names):
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"package {package}, of the extra 'vocabularies', is not installed")
    return [Path(found.submodule_search_locations[0], name) for name in names]


def token_ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def save_tokenizer(folder, words, **specials):
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials).save_pretrained(folder)
    return folder
