"""Nearest passages of a training text, against a comparison with each of them."""

import gc
import weakref

import pytest
import torch

from helpers.paths import ROOT
from uddm_lib import experiments, metrics
from uddm_lib.audit.nearest import nearest_passages
from uddm_lib.data import load_corpus, load_tokenizer

TEXTS = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void;",
    "and darkness was upon the face of the deep.",
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(ROOT / "runs" / "pretrained" / "kjv-nano-n000016-s1" / "model")


def ids(tokenizer, text):
    return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("chunk", [7, 40, 2**16])
def test_passages_are_the_nearest_of_all(tokenizer, chunk):
    end = torch.tensor([tokenizer.eos_token_id])
    stream = torch.cat([part for text in TEXTS for part in (ids(tokenizer, text), end)])
    generator = torch.Generator().manual_seed(1)
    sequences = torch.randint(80, (20, 12), generator=generator)
    for i in range(10):  # half of them with some tokens of a passage
        kept = torch.rand(12, generator=generator) < 0.5
        sequences[i] = torch.where(kept, stream[5 * i : 5 * i + 12], sequences[i])
    table = nearest_passages(list(sequences), iter(TEXTS), tokenizer, chunk)
    padded = torch.cat([torch.full((11,), -1), stream, torch.full((11,), -1)])
    expected = metrics.novelty(sequences, padded.unfold(0, 12, 1))["overlap"]
    assert table["overlap"].tolist() == pytest.approx(expected.tolist())
    for i in range(10):
        assert table["overlap"][i] < 0.5 or table["nearest"][i] == tokenizer.decode(
            stream[5 * i : 5 * i + 12]
        )


def test_a_training_text_that_is_cut_elsewhere(tokenizer):
    part = ids(tokenizer, TEXTS[1])[3:-2]
    longer = torch.cat([ids(tokenizer, "zeal "), ids(tokenizer, TEXTS[2])])
    table = nearest_passages([part, longer], TEXTS, tokenizer, chunk=16)
    assert table["overlap"][0] == 1 and table["nearest"][0] == table["text"][0]
    assert 0.5 < table["overlap"][1] < 1 and TEXTS[2] in table["nearest"][1]


def test_few_texts_are_in_memory_at_once(tokenizer):
    class Text(str):
        """A string that can be watched."""

    alive, most = weakref.WeakSet(), []

    def texts():
        for i in range(50):
            text = Text(TEXTS[i % 3])
            alive.add(text)
            yield text
            del text
            gc.collect()
            most.append(len(alive))

    nearest_passages([ids(tokenizer, "God")], texts(), tokenizer, 64)
    assert len(most) == 50 and max(most) <= 1


def test_errors(tokenizer):
    with pytest.raises(ValueError, match="training holds no text"):
        nearest_passages([ids(tokenizer, "God")], [], tokenizer)
    with pytest.raises(ValueError, match="chunk"):
        nearest_passages([ids(tokenizer, "God")], TEXTS, tokenizer, 0)


def test_what_a_memorizer_has_memorized(tokenizer):
    run = experiments.load_run(ROOT / "runs" / "pretrained" / "kjv-nano-n000016-s1", "cpu")
    texts = [tokenizer.decode(block[1:-1]) for block in run.train]
    stored = nearest_passages(list(run.train[:, 1:-1]), texts, tokenizer)
    unseen = nearest_passages(list(run.test[:40, 1:-1]), texts, tokenizer)
    assert (stored["overlap"] == 1).sum() > 12 and unseen["overlap"].max() < 0.4


@pytest.mark.slow
def test_unseen_texts_have_some_overlap(tokenizer):
    """What docs/audit.md says of it."""
    corpus = load_corpus("kjv", 64, 80)
    texts = (tokenizer.decode(block, skip_special_tokens=True) for block in corpus.train)
    sequences = [block[1:-1] for block in corpus.test[:20]]
    overlap = nearest_passages(sequences, texts, tokenizer)["overlap"]
    low, middle, high = overlap.quantile([0, 0.5, 1])
    document = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert (
        f"an overlap of {100 * low:.0f} to {high:.0%}, median {middle:.0%}".replace("%", " %")
        in document
    )
