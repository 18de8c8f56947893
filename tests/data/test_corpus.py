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
