"""The registry of corpora, and subsets."""

import pytest
import torch

from uddm_lib.data import load_corpus, subset


@pytest.fixture(scope="module")
def markov():
    return load_corpus("markov")


@pytest.mark.parametrize("name", ["shakespeare", "markov:2", "kjv:", "", None, "Markov"])
def test_unknown_names_list_the_known(name, unchecked):
    with pytest.raises(ValueError, match="markov, kjv, bible, text:<path>, lm1b"):
        load_corpus(name)


def test_subsets_are_nested_and_depend_on_the_seed_only(markov):
    large = subset(markov, 500)
    for n in (1, 16, 499):
        assert torch.equal(subset(markov, n), large[:n])
    assert torch.equal(subset(markov.train, 500), large)
    assert not torch.equal(subset(markov, 500, seed=2), large)
    everything = subset(markov, len(markov.train))
    assert torch.equal(everything.unique(dim=0), markov.train.unique(dim=0))


def test_a_subset_is_a_copy():
    blocks = torch.arange(12).view(4, 3)
    subset(blocks, 4).zero_()
    assert torch.equal(blocks, torch.arange(12).view(4, 3))


def test_all_blocks_are_a_subset_too():
    blocks = torch.arange(12).view(4, 3)
    assert torch.equal(subset(blocks, "all"), subset(blocks, 4))


@pytest.mark.parametrize("n", [0, -1, 5, 2.5, True, "3", None, float("nan")])
def test_subset_refuses_other_sizes(n, unchecked):
    with pytest.raises(ValueError, match="n=.* is not an integer from 1 to 4"):
        subset(torch.zeros(4, 3, dtype=torch.int64), n)


def test_near_duplicates_are_test_blocks_with_a_long_run_in_train(tmp_path):
    """Held-out lines that differ from a line of train by their last word alone."""
    lines = [f"The {i * i} hens of day {i} laid {i * 7} eggs in {i * 13} nests" for i in range(600)]
    shares = []
    for text in (lines, [f"{line} {word}" for line in lines for word in ("first", "last")]):
        (tmp_path / "text.txt").write_text("\n".join(text))
        corpus = load_corpus(f"text:{tmp_path / 'text.txt'}", length=32, cache=False)
        shares.append(corpus.near_duplicates(20))
        assert corpus.near_duplicates() >= shares[-1] >= corpus.near_duplicates(30) == 0
        assert corpus.near_duplicates(20, sample=1) in (0, 1)
    assert shares[0] < 0.1 and shares[1] > 0.5


@pytest.mark.parametrize("run", [0, 17, True, "8"])
def test_near_duplicates_refuse_other_runs(markov, run, unchecked):
    with pytest.raises(ValueError, match="run=.* is not an integer from 1 to 16"):
        markov.near_duplicates(run)
