"""What the exact denoisers generate; their entropy, NELBO and recovery."""

import torch

from helpers.compare import chi_square
from helpers.problems import chain_law, seeded
from uddm_lib.data import chain_entropy, load_corpus, markov_chain
from uddm_lib.oracles import MarkovGeneralizer, Memorizer
from uddm_lib.probes import conditional_entropy, token_recovery, validation_nelbo
from uddm_lib.sampling import generate


def test_oracle_markov_nelbo_is_the_sources_entropy_rate(worst):
    corpus = load_corpus("markov")
    x = corpus.train[:4_096]
    values = validation_nelbo(MarkovGeneralizer(*markov_chain()), x, draws=4, t_min=1e-6)
    standard_error = values.std().item() / len(x) ** 0.5
    assert standard_error < 0.01 * corpus.entropy
    worst(
        "Markov generalizer, NELBO, in standard errors",
        "entropy rate of the source, V = 32, L = 16",
        abs(values.mean().item() - corpus.entropy) / standard_error,
        4,
    )


def test_oracle_markov_entropy_is_the_sources(worst):
    """At t -> 0 it is H(x^l | the rest) = H(x^l | x^(l-1), x^(l+1)): three neighboring states."""
    vocab_size, length = 4, 5
    initial, transition = markov_chain(vocab_size, 3)
    oracle = MarkovGeneralizer(initial, transition, torch.float64)
    sequences, law = chain_law(initial, transition, length)
    actual = (law[:, None] * conditional_entropy(oracle, sequences, t=1e-12)).sum(0)
    full = chain_entropy(initial, transition, length)
    # H(x^l | rest) = H(x) - H(rest): the entropy of the chain with position l summed out.
    for position in range(length):
        rest = law.view([vocab_size] * length).sum(position)
        worst(
            "Markov generalizer, conditional entropy (nats)",
            "entropy of the source, enumerated",
            abs(actual[position].item() - (full - torch.special.entr(rest).sum().item())),
            1e-9,
        )


def test_oracle_memorizers_entropy_vanishes_and_its_memory_is_perfect():
    corpus = load_corpus("markov")
    stored, unseen = corpus.train[:64], corpus.test[:64]
    memory = Memorizer(stored, corpus.vocab_size)
    assert conditional_entropy(memory, stored).sum(1).max() < 1e-3
    table = token_recovery(memory, stored, [0.1, 0.25], steps=50)
    assert table["recovered"].mean() > 0.99
    assert token_recovery(memory, unseen, [0.25], steps=50)["recovered"].mean() < 0.2


def test_oracle_memorizer_generates_what_it_stores():
    stored = torch.unique(torch.randint(5, (20, 6), generator=seeded()), dim=0)
    drawn = generate(Memorizer(stored, 5), 400, 6, steps=200, generator=seeded(1))
    copies = (drawn[:, None] == stored).all(-1)
    assert copies.any(1).double().mean() > 0.97
    counts = copies.sum(0).double()
    assert counts.min() > 0  # each is an attractor of its own


def test_oracle_markov_generates_the_chain(worst):
    """The whole reverse process, from noise, draws the source: 2e4 of 64 possible sequences."""
    initial, transition = markov_chain(4, 3)
    sequences, law = chain_law(initial, transition, 3)
    drawn = generate(
        MarkovGeneralizer(initial, transition),
        20_000,
        3,
        steps=200,
        generator=seeded(),
        batch_size=20_000,
        final_greedy=False,
    )
    counts = (drawn[:, None] == sequences).all(-1).sum(0)
    # A step moves positions independently, so a few impossible sequences slip through.
    worst(
        "generated sequences, chi-square in standard deviations",
        "law of the chain, 2e4 draws",
        chi_square(counts, law, impossible=20),
        3.7,
    )


def test_oracle_greedy_noise_removal_is_not_the_posteriors_mode():
    """The leave-one-out prediction does not see the token itself, so its argmax may replace it."""
    initial, transition = markov_chain(8, 2)
    oracle = MarkovGeneralizer(initial, transition)
    possible = [
        (transition[drawn[:, :-1], drawn[:, 1:]] > 0).double().mean().item()
        for drawn in (
            generate(oracle, 400, 6, steps=200, generator=seeded(1), final_greedy=greedy)
            for greedy in (False, True)
        )
    ]
    assert possible[0] > 0.998 and possible[1] < 0.985
