"""The Markov chain and the corpus of its sequences."""

import math

import pytest
import torch
from transformers import AutoTokenizer

from helpers.corpora import has_no_repeats, same_corpus
from uddm_lib.data import chain_entropy, check_blocks, digest, load_corpus, markov_chain


@pytest.fixture(scope="module")
def markov():
    return load_corpus("markov")


def test_markov_corpus(markov):
    train, test = markov.train, markov.test
    assert train.shape == (16_384, 16) and test.shape == (2_048, 16)
    assert train.dtype == test.dtype == torch.int64
    assert markov.vocab_size == 32 and markov.length == 16 and markov.name == "markov"
    assert (
        markov.scored.dtype == torch.bool and markov.scored.all() and markov.scored.shape == (16,)
    )
    assert has_no_repeats(markov) and set(markov.duplicates) == {"train", "test"}
    for part in (train, test):
        check_blocks(part, 32)
    assert same_corpus(markov, load_corpus("markov"))
    assert not torch.equal(train[:9], load_corpus("markov", seed=2).train[:9])


@pytest.mark.parametrize(
    "options, train, test",
    [
        (
            {},
            "3e073c8f175a5be3fe21629434279137b6d231d49284fb197afa22e5636ceddf",
            "c443e3a5c493a971238405ae30d47a8f9aaaf8b15b86c5b4278d8ff9d51320f5",
        ),
        (
            {"length": 8, "vocab_size": 8, "seed": 2},
            "752c27a8b1acc9d4446a69f9b560a38e860b43aee4b562d570667bc1880a5a98",
            "0d1bc62ead60679d8e8c02424c9e9eacb053334e85ee043a94f917066b0571b9",
        ),
    ],
)
def test_markov_blocks_are_those_of_the_published_results(options, train, test):
    corpus = load_corpus("markov", **options)
    assert (digest(corpus.train), digest(corpus.test)) == (train, test)


def test_markov_tokenizer(markov, tmp_path):
    text = markov.tokenizer.decode(markov.train[3])
    assert len(text) == 16 and text.isalpha()
    assert markov.tokenizer.decode(list(range(32))) == "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"
    assert markov.tokenizer.encode(text) == markov.train[3].tolist()
    markov.tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).decode(markov.train[3]) == text


def test_markov_takes_other_sizes():
    corpus = load_corpus("markov", length=9, vocab_size=150, seed=5)
    assert corpus.length == 9 and corpus.vocab_size == 150 and corpus.train.max() < 150
    assert (
        corpus.tokenizer.encode(corpus.tokenizer.decode(corpus.train[0]))
        == corpus.train[0].tolist()
    )


@pytest.mark.parametrize(
    "vocab_size, successors, seed", [(32, 4, 1), (4, 4, 2), (50, 1, 3), (10, 3, 4)]
)
def test_chain(vocab_size, successors, seed):
    initial, transition = markov_chain(vocab_size, successors, seed)
    assert initial.dtype == transition.dtype == torch.float64
    assert ((transition > 0).sum(1) == successors).all()
    torch.testing.assert_close(transition.sum(1), torch.ones(vocab_size, dtype=torch.float64))
    torch.testing.assert_close(initial @ transition, initial, atol=1e-12, rtol=0)
    assert initial.min() > 0 and math.isclose(initial.sum(), 1.0)
    reached = torch.matrix_power(torch.eye(vocab_size) + (transition > 0), vocab_size)
    assert (reached > 0).all()  # irreducible


@pytest.mark.parametrize("arguments", [(1, 1), (4, 5), (8, 0), (8.0, 4), (8, 4, -1)])
def test_chain_refuses_bad_numbers(arguments, unchecked):
    with pytest.raises(ValueError, match="is not a(n| positive) integer"):
        markov_chain(*arguments)


def test_chain_entropy_equals_enumeration():
    _, transition = markov_chain(5, 3, seed=7)
    initial = torch.tensor([0.5, 0.25, 0.25, 0.0, 0.0], dtype=torch.float64)
    joint = initial
    for _ in range(3):
        joint = joint[..., None] * transition[(None,) * (joint.ndim - 1)]
    assert math.isclose(
        chain_entropy(initial, transition, 4), torch.special.entr(joint).sum(), rel_tol=1e-12
    )
    assert math.isclose(chain_entropy(initial, transition, 1), 1.5 * math.log(2), rel_tol=1e-12)


def test_markov_sequences_follow_the_chain(markov):
    initial, transition = markov_chain()
    rows = torch.cat([markov.train, markov.test])
    pairs = torch.bincount((32 * rows[:, :-1] + rows[:, 1:]).flatten(), minlength=32 * 32).view(
        32, 32
    )
    assert (pairs[transition == 0] == 0).all()
    # Counts are binomial given the state. One of 128 is off by 4.5 standard errors once in 1,000
    # seeds.
    total = pairs.sum(1, keepdim=True)
    error = (pairs / total - transition).abs()
    assert (error <= 4.5 * (transition * (1 - transition) / total).sqrt() + 1 / total).all()
    start = torch.bincount(rows[:, 0], minlength=32) / len(rows)
    assert (start - initial).abs().max() < 4.5 * (0.25 / len(rows)) ** 0.5
    # The mean negative log-likelihood estimates the entropy.
    surprise = -initial[rows[:, 0]].log() - transition[rows[:, :-1], rows[:, 1:]].log().sum(1)
    assert abs(surprise.mean() / 16 - markov.entropy) < 4.5 * surprise.std() / 16 / len(rows) ** 0.5
    assert math.isclose(markov.entropy, chain_entropy(initial, transition, 16) / 16, rel_tol=1e-12)
    assert 1.0 < markov.entropy < math.log(4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"vocab_size": 3}, "vocab_size=3 is not an integer from 4"),
        ({"vocab_size": 257}, "vocab_size=257 is not an integer from 4 to 256"),
        ({"vocab_size": 8.5}, "vocab_size"),
        ({"length": 1}, "length=1 is not an integer of at least 2"),
        ({"length": "16"}, "length"),
        ({"length": 2, "vocab_size": 4}, "greater length"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_markov_refuses_bad_numbers(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        load_corpus("markov", **options)
