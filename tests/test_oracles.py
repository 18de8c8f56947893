"""The exact denoisers against sums over all sequences."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.compare import gap
from helpers.problems import chain_law, seeded
from uddm_lib.data import load_corpus, markov_chain
from uddm_lib.devices import flushed_denormals
from uddm_lib.diffusion import corrupt
from uddm_lib.oracles import (
    UNDERFLOW,
    MarkovGeneralizer,
    Memorizer,
    OrdinaryPosterior,
    inverse_temperature,
)
from uddm_lib.schedule import LogLinearSchedule

ALPHAS = [1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-5, 1 - 1e-8]


quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def sigma_of(alpha):
    return -math.log(alpha)


def brute_force(sequences, law, z_t, alpha, vocab_size):
    """Leave-one-out log-probabilities (B, L, V), summed over sequences in float64."""
    match = torch.tensor(
        [(1 - alpha) / vocab_size, alpha + (1 - alpha) / vocab_size], dtype=torch.float64
    ).log()
    likelihood = match[(z_t[:, None] == sequences).long()]  # (B, n, L)
    others = likelihood.sum(-1, keepdim=True) - likelihood
    weight = law.double().log()[None, :, None] + others
    columns = [
        torch.where(sequences == token, weight, -math.inf).logsumexp(1)
        for token in range(vocab_size)
    ]
    return torch.stack(columns, -1).log_softmax(-1)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("vocab_size, length, n", [(4, 3, 5), (50, 12, 300), (30_522, 16, 40)])
def test_oracle_memorizer_is_the_sum_over_stored_sequences(alpha, vocab_size, length, n, worst):
    stored = torch.randint(vocab_size, (n, length), generator=seeded())
    noise = torch.randint(vocab_size, (6, length), generator=seeded(1))
    near = torch.where(torch.rand(4, length, generator=seeded(2)) < 0.3, noise[:4], stored[:4])
    z_t = torch.cat([near, noise[4:]])
    expected = brute_force(stored, torch.full((n,), 1 / n), z_t, alpha, vocab_size)
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        actual = Memorizer(stored, vocab_size, dtype).denoise(
            z_t, torch.tensor(sigma_of(alpha), dtype=torch.float64)
        )
        assert actual.dtype == dtype and torch.equal(actual.isneginf(), expected.isneginf())
        worst(
            f"memorizer, probabilities ({str(dtype)[6:]})",
            "sum over stored sequences",
            gap(actual.exp(), expected.exp()),
            bound,
        )
        finite = expected.isfinite()
        worst(
            f"memorizer, log-probabilities ({str(dtype)[6:]}), relative",
            "sum over stored sequences",
            ((actual[finite] - expected[finite]).abs() / (1 + expected[finite].abs())).max(),
            bound,
        )


@quick
@given(
    data=st.data(),
    vocab_size=st.integers(2, 4),
    length=st.integers(1, 4),
    alpha=st.sampled_from(ALPHAS),
)
def test_oracle_memorizer_at_small_sizes(data, vocab_size, length, alpha, worst):
    token = st.integers(0, vocab_size - 1)
    rows = st.lists(st.lists(token, min_size=length, max_size=length), min_size=1, max_size=6)
    stored, z_t = torch.tensor(data.draw(rows)), torch.tensor(data.draw(rows))
    expected = brute_force(
        stored, torch.full((len(stored),), 1 / len(stored)), z_t, alpha, vocab_size
    )
    actual = Memorizer(stored, vocab_size, torch.float64).denoise(z_t, sigma_of(alpha))
    worst(
        "memorizer, probabilities (float64)",
        "sum over stored sequences",
        gap(actual.exp(), expected.exp()),
        1e-9,
    )


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(
    "vocab_size, length, successors", [(4, 4, 2), (3, 6, 3), (5, 5, 2), (2, 10, 1)]
)
def test_oracle_markov_is_the_sum_over_all_sequences(alpha, vocab_size, length, successors, worst):
    initial, transition = markov_chain(vocab_size, successors)
    sequences, law = chain_law(initial, transition, length)
    z_t = sequences[torch.randperm(len(sequences), generator=seeded())[:64]]
    expected = brute_force(sequences, law, z_t, alpha, vocab_size)
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        actual = MarkovGeneralizer(initial, transition, dtype).denoise(z_t, sigma_of(alpha))
        assert actual.dtype == dtype
        worst(
            f"Markov generalizer, probabilities ({str(dtype)[6:]})",
            "sum over all sequences",
            gap(actual.exp(), expected.exp()),
            bound,
        )
        finite = expected.isfinite() & actual.isfinite()
        assert torch.equal(finite, expected.isfinite())
        worst(
            f"Markov generalizer, log-probabilities ({str(dtype)[6:]}), relative",
            "sum over all sequences",
            ((actual[finite] - expected[finite]).abs() / (1 + expected[finite].abs())).max(),
            bound,
        )


def test_oracle_markov_survives_a_long_contradiction(worst):
    """A cycle, observed in one phase and then longer in another: weights fall below e^-1000."""
    length, vocab_size, alpha = 200, 3, 1 - 1e-8
    transition = torch.eye(vocab_size, dtype=torch.float64).roll(1, 1)
    phases = (torch.arange(length) + torch.arange(vocab_size)[:, None]) % vocab_size
    z_t = torch.cat([phases[0, :80], phases[1, 80:]])[None]
    assert 80 * inverse_temperature(sigma_of(alpha), vocab_size) > UNDERFLOW
    expected = brute_force(
        phases, torch.full((vocab_size,), 1 / vocab_size), z_t, alpha, vocab_size
    )
    actual = MarkovGeneralizer(torch.full((vocab_size,), 1 / 3), transition, torch.float64).denoise(
        z_t, sigma_of(alpha)
    )
    assert torch.equal(actual.argmax(-1)[0], phases[1])
    finite = expected.isfinite()
    worst(
        "Markov generalizer, log-probabilities (float64), relative",
        "sum over all sequences",
        ((actual[finite] - expected[finite]).abs() / (1 + expected[finite].abs())).max(),
        1e-9,
    )


def test_oracle_levels_may_differ_by_sequence():
    stored, z_t = (
        torch.randint(5, (20, 6), generator=seeded()),
        torch.randint(5, (3, 6), generator=seeded(1)),
    )
    initial, transition = markov_chain(5, 2)
    sigmas = torch.tensor([0.01, 0.5, 3.0])
    for oracle in (Memorizer(stored, 5), MarkovGeneralizer(initial, transition)):
        together = oracle.denoise(z_t.int(), sigmas[:, None])
        apart = torch.cat([oracle.denoise(z_t[[i]], sigmas[i]) for i in range(3)])
        torch.testing.assert_close(together, apart)


def test_oracle_inverse_temperature_is_the_log_odds_of_a_token():
    alpha, vocab_size = 0.3, 7
    odds = (alpha + (1 - alpha) / vocab_size) / ((1 - alpha) / vocab_size)
    assert inverse_temperature(sigma_of(alpha), vocab_size).item() == pytest.approx(
        math.log(odds), rel=1e-14
    )
    # At alpha = 1 - 1e-12, in float32 as for a network: beta = log(V 1e12) to single precision.
    sigma = torch.tensor(1e-12, dtype=torch.float32)
    assert inverse_temperature(sigma, 30_522).item() == pytest.approx(math.log(30_522e12), rel=1e-7)


MANY = """
import resource, sys, torch
from uddm_lib.oracles import Memorizer
stored = torch.randint(1_000, (int(sys.argv[1]), 128), generator=torch.Generator().manual_seed(0))
memory = Memorizer(stored, 1_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
log_p = memory.denoise(stored[:4], torch.tensor(0.3))
assert (log_p.argmax(-1) == stored[:4]).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_oracle_memorizer_holds_100_000_sequences_of_length_128():
    """Beyond the stored tokens it needs the overlaps and a float copy, not a table of (B, n, L)."""
    run = subprocess.run(
        [sys.executable, "-c", MANY, "100000"], capture_output=True, text=True, check=True
    )
    stored, table = 100_000 * 128, 4 * 100_000 * 128
    assert int(run.stdout) * 1024 < 4 * stored + 0.5 * 8 * table


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: Memorizer(torch.zeros(0, 4, dtype=torch.long), 5),
            r"sequences has shape \(0, 4\)",
        ),
        (lambda: Memorizer(torch.zeros(4, dtype=torch.long), 5), r"sequences has shape \(4,\)"),
        (
            lambda: Memorizer(torch.tensor([[0, 5]]), 5),
            "sequences holds token ids from 0 to 5; allowed are 0 to 4",
        ),
        (
            lambda: MarkovGeneralizer(torch.ones(3) / 3, torch.eye(2)),
            r"transition has shape \(2, 2\)",
        ),
        (lambda: MarkovGeneralizer(torch.ones(2), torch.eye(2)), "initial holds"),
        (
            lambda: MarkovGeneralizer(torch.ones(2) / 2, torch.tensor([[1.5, -0.5], [0, 1]])),
            "transition holds",
        ),
        (
            lambda: Memorizer(torch.tensor([[0, 1]]), 5).denoise(torch.tensor([[0, 1]]), 0.0),
            "sigma > 0",
        ),
        (
            lambda: Memorizer(torch.tensor([[0, 1]]), 5).denoise(torch.tensor([[0, 1, 2]]), 1.0),
            r"allowed is \(B, 2\)",
        ),
        (
            lambda: Memorizer(torch.tensor([[0, 1]]), 5).denoise(torch.tensor([[0, 7]]), 1.0),
            "z_t holds token ids",
        ),
        (
            lambda: MarkovGeneralizer(torch.ones(2) / 2, torch.eye(2)).denoise(
                torch.tensor([[2]]), 1.0
            ),
            "z_t holds token",
        ),
    ],
)
def test_oracle_bad_input_is_named(build, message, unchecked):
    with pytest.raises(ValueError, match=message):
        build()


def test_oracle_energy_is_the_log_likelihood_of_the_noisy_training_set(worst):
    """-E = log sum_i q(z | x_i) up to a constant that does not depend on z."""
    stored, alpha = torch.randint(5, (30, 6), generator=seeded()), 0.4
    z_t = torch.randint(5, (20, 6), generator=seeded(1))
    memory, sigma = Memorizer(stored, 5), sigma_of(alpha)
    match = torch.tensor([(1 - alpha) / 5, alpha + (1 - alpha) / 5], dtype=torch.float64).log()
    likelihood = match[(z_t[:, None] == stored).long()].sum(-1)
    energy = -likelihood.logsumexp(1) + 6 * match[0]
    worst(
        "memorizer, energy (nats)",
        "sum over stored sequences",
        gap(memory.energy(z_t, sigma), energy),
        1e-12,
    )
    worst(
        "memorizer, weights",
        "Bayes' rule",
        gap(memory.weights(z_t, sigma), likelihood.softmax(1)),
        1e-12,
    )


@pytest.mark.parametrize("t", [1e-5, 0.05, 0.9])
@pytest.mark.parametrize("kind", ["memorizer", "generalizer"])
def test_flushed_denormal_numbers_change_no_bit(kind, t):
    initial, transition = markov_chain(32)
    stored = load_corpus("markov").train[:512].long()
    limit = Memorizer(stored, 32) if kind == "memorizer" else MarkovGeneralizer(initial, transition)
    schedule, generator = LogLinearSchedule(), torch.Generator().manual_seed(1)
    z_t = corrupt(stored, schedule.alpha(t), 32, generator)
    plain = limit.denoise(z_t, schedule.sigma(t))
    with flushed_denormals():
        assert torch.equal(limit.denoise(z_t, schedule.sigma(t)), plain)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_ordinary_posterior_is_the_memorys_softmax_over_sequences(alpha, worst):
    generator = seeded(2)
    stored = torch.randint(5, (7, 6), generator=generator)
    z_t = torch.randint(5, (20, 6), generator=generator)
    memory = Memorizer(stored, 5, torch.float64)
    expected = torch.einsum(
        "bn,nlv->blv",
        memory.weights(z_t, sigma_of(alpha)),
        torch.nn.functional.one_hot(stored, 5).double(),
    )
    actual = OrdinaryPosterior(memory).denoise(z_t, sigma_of(alpha)).exp()
    worst("ordinary posterior", "sum over stored sequences", gap(actual, expected), 1e-9)
