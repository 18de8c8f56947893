"""Proof by enumeration: at small V and L an expectation is a finite sum, and a law a table."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.compare import chi_square, gap
from uddm_lib.data import chain_entropy, markov_chain
from uddm_lib.diffusion import corrupt, nelbo, posterior, reverse_step
from uddm_lib.metrics import recovery_rates
from uddm_lib.oracles import MarkovGeneralizer, Memorizer
from uddm_lib.probes import conditional_entropy
from uddm_lib.schedule import LogLinearSchedule, duality_alpha

levels = st.floats(1e-6, 1.0)
vocabularies = st.integers(2, 4)
quick = settings(max_examples=50, deadline=None, derandomize=True, database=None)


def kernel(alpha, vocab_size):
    """q(z | x) of one token as a matrix (x, z), paper eq. (1)."""
    return alpha * torch.eye(vocab_size, dtype=torch.float64) + (1 - alpha) / vocab_size


def every_sequence(vocab_size, length):
    return torch.tensor(list(itertools.product(range(vocab_size), repeat=length)))


def sequence_kernel(alpha, sequences, vocab_size):
    """q(z | x) of whole sequences as a matrix (x, z): positions are independent."""
    return kernel(alpha, vocab_size)[sequences[:, None], sequences[None]].prod(-1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def source(vocab_size=3, length=3, seed=0):
    """All sequences and a law over them that does not factorize."""
    sequences = every_sequence(vocab_size, length)
    law = torch.rand(len(sequences), generator=seeded(seed), dtype=torch.float64) ** 3
    return sequences, law / law.sum()


# Forward process


@pytest.mark.parametrize("vocab_size, alpha", [(2, 0.3), (3, 1e-3), (4, 0.97)])
def test_enumeration_of_the_forward_marginal(vocab_size, alpha, worst):
    draws = 100_000
    z_t = corrupt(torch.arange(vocab_size).repeat(draws, 1), alpha, vocab_size, seeded())
    for x in range(vocab_size):
        counts = torch.bincount(z_t[:, x], minlength=vocab_size)
        worst(
            "forward marginal, chi-square in standard deviations",
            "kernel, 1e5 draws",
            chi_square(counts, kernel(alpha, vocab_size)[x]),
            3.7,
        )


@quick
@given(vocab_size=vocabularies, alpha_s=levels, ratio=levels)
def test_enumeration_semigroup(vocab_size, alpha_s, ratio, worst):
    steps = kernel(alpha_s, vocab_size) @ kernel(ratio, vocab_size)
    worst(
        "semigroup q(s) q(t|s) = q(t)",
        "matrix product",
        gap(steps, kernel(alpha_s * ratio, vocab_size)),
        1e-14,
    )


# Reverse process


@quick
@given(vocab_size=vocabularies, alpha_s=levels, ratio=levels)
def test_enumeration_of_bayes_rule(vocab_size, alpha_s, ratio, worst):
    alpha_t = alpha_s * ratio
    to_s, s_to_t = kernel(alpha_s, vocab_size), kernel(alpha_t / alpha_s, vocab_size)
    joint = to_s[:, None, :] * s_to_t.T[None]  # (x, z_t, z_s)
    expected = joint / joint.sum(-1, keepdim=True)
    x, z_t = every_sequence(vocab_size, 2).unbind(1)
    found = posterior(
        torch.eye(vocab_size, dtype=torch.float64)[x][:, None], z_t[:, None], alpha_s, alpha_t
    )
    worst("posterior", "Bayes' rule, all x and z_t", gap(found[:, 0], expected[x, z_t]), 1e-12)


@pytest.mark.parametrize(
    "alpha_s, alpha_t",
    [
        (0.7, 0.3),  # all three components at work
        (0.051, 0.001),  # mostly uniform draws
        (0.99, 0.98),  # mostly staying
        (1.0, 0.3),  # the last step: no uniform component
        (1.0, 0.99999),
    ],
)
def test_enumeration_of_the_reverse_step(alpha_s, alpha_t, worst):
    draws, logits = 200_000, torch.tensor([1.0, -1.0, 0.3, 0.0])
    for z_t in range(4):
        start = torch.full((draws, 1), z_t)
        drawn = reverse_step(logits.expand(draws, 1, 4), start, alpha_s, alpha_t, seeded(z_t))
        law = posterior(logits.double().softmax(-1).view(1, 1, 4), start[:1], alpha_s, alpha_t)[
            0, 0
        ]
        worst(
            "reverse step, chi-square in standard deviations",
            "posterior, 2e5 draws",
            chi_square(torch.bincount(drawn[:, 0], minlength=4), law),
            3.7,
        )


def test_enumeration_every_component_of_the_reverse_step_is_exercised():
    """The weights of the three components, read off laws that separate them."""
    draws, z_t = 200_000, torch.zeros(200_000, 1, dtype=torch.long)
    alpha_s, alpha_t = 0.6, 0.3
    certain = torch.tensor([-1e9, 0.0, -1e9, -1e9]).expand(draws, 1, 4)
    counts = (
        torch.bincount(reverse_step(certain, z_t, alpha_s, alpha_t, seeded())[:, 0], minlength=4)
        / draws
    )
    # Not normalized: stay alpha_t|s - alpha_t = 0.2, prediction 0.3, uniform 0.5 x 0.4 = 0.2.
    expected = torch.tensor([0.2 + 0.05, 0.3 + 0.05, 0.05, 0.05]) / 0.7
    assert gap(counts, expected) < 5e-3


@quick
@given(seed=st.integers(0, 1000), alpha_s=st.floats(1e-3, 1.0), ratio=st.floats(1e-3, 1.0))
def test_enumeration_of_the_greedy_step(seed, alpha_s, ratio, worst):
    alpha_t = alpha_s * ratio
    logits = 3 * torch.randn(40, 2, 4, generator=seeded(seed), dtype=torch.float64)
    z_t = torch.randint(4, (40, 2), generator=seeded(seed + 1))
    law = posterior(logits.softmax(-1), z_t, alpha_s, alpha_t)
    chosen = law.gather(-1, reverse_step(logits, z_t, alpha_s, alpha_t, greedy=True)[..., None])[
        ..., 0
    ]
    worst(
        "greedy step, posterior lost against its mode",
        "posterior",
        gap(chosen, law.amax(-1)),
        1e-15,
    )


def leave_one_out(sequences, law, alpha, vocab_size):
    """p(x^l | z without position l), for every z: (z, L, V), summed term by term."""
    table = torch.zeros(*sequences.shape, vocab_size, dtype=torch.float64)
    for position in range(sequences.shape[1]):
        others = [k for k in range(sequences.shape[1]) if k != position]
        seen = kernel(alpha, vocab_size)[
            sequences[:, None, others], sequences[None][:, :, others]
        ].prod(-1)  # (x, z)
        one_hot = torch.nn.functional.one_hot(sequences[:, position], vocab_size).double()
        table[:, position] = (law[:, None] * seen).T @ one_hot
    return table / table.sum(-1, keepdim=True)


def ordinary_posterior(sequences, law, alpha, vocab_size):
    """p(x^l | z), for every z: (z, L, V)."""
    joint = law[:, None] * sequence_kernel(alpha, sequences, vocab_size)
    one_hot = torch.nn.functional.one_hot(sequences, vocab_size).double()
    table = torch.einsum("xz,xlv->zlv", joint, one_hot)
    return table / table.sum(-1, keepdim=True)


@pytest.mark.parametrize("alpha_s, alpha_t", [(0.9, 0.4), (1.0, 0.2), (0.05, 0.001)])
def test_enumeration_the_leave_one_out_conditional_gives_the_exact_reverse_kernel(
    alpha_s, alpha_t, worst
):
    vocab_size = 3
    sequences, law = source(vocab_size)
    s_to_t = sequence_kernel(alpha_t / alpha_s, sequences, vocab_size)
    joint = (law @ sequence_kernel(alpha_s, sequences, vocab_size))[:, None] * s_to_t  # (z_s, z_t)
    one_hot = torch.nn.functional.one_hot(sequences, vocab_size).double()
    expected = torch.einsum("sz,slv->zlv", joint / joint.sum(0), one_hot)
    found = posterior(
        leave_one_out(sequences, law, alpha_t, vocab_size), sequences, alpha_s, alpha_t
    )
    worst(
        "plug-in posterior at the leave-one-out conditional",
        "q(z_s | z_t) of the data",
        gap(found, expected),
        1e-12,
    )
    other = posterior(
        ordinary_posterior(sequences, law, alpha_t, vocab_size), sequences, alpha_s, alpha_t
    )
    assert gap(other, expected) > 1e-3 or alpha_t < 0.01


# The objective


def total_nelbo(predict, sequences, law, vocab_size, nodes=120):
    """E over x, z_t and t of the NELBO summed over positions, in nats.

    The schedule runs over the whole of (0, 1). Near alpha = 1 the integrand has a logarithm:
    t = u^3 makes Gauss-Legendre quadrature converge there.
    """
    schedule = LogLinearSchedule(eps=0)
    u, weights = np.polynomial.legendre.leggauss(nodes)
    u, weights = (u + 1) / 2, weights / 2
    pairs = itertools.product(range(len(sequences)), repeat=2)
    x, z = torch.tensor(list(pairs)).unbind(1)
    total = 0.0
    for t, weight in zip(u**3, weights * 3 * u**2):
        alpha = schedule.alpha(t)
        value = nelbo(
            predict(alpha).log()[z], sequences[z], sequences[x], alpha, schedule.dalpha(t)
        ).sum(1)
        total += (
            weight
            * (law[x] * sequence_kernel(alpha, sequences, vocab_size)[x, z] * value).sum().item()
        )
    return total


@pytest.mark.parametrize("vocab_size, length", [(3, 3), (2, 4), (4, 2)])
def test_enumeration_of_the_nelbo(vocab_size, length, worst):
    sequences, law = source(vocab_size, length, seed=length)
    entropy = torch.special.entr(law).sum().item()
    exact = total_nelbo(
        lambda alpha: leave_one_out(sequences, law, alpha, vocab_size), sequences, law, vocab_size
    )
    worst(
        "NELBO at the leave-one-out conditional (nats)",
        "entropy of the data",
        abs(exact - entropy),
        1e-8,
    )
    ordinary = total_nelbo(
        lambda alpha: ordinary_posterior(sequences, law, alpha, vocab_size),
        sequences,
        law,
        vocab_size,
        nodes=40,
    )
    assert ordinary > entropy + 0.1
    for seed in range(3):
        shape = (len(sequences), length, vocab_size)
        guess = torch.randn(shape, generator=seeded(seed), dtype=torch.float64).softmax(-1)
        bound = total_nelbo(lambda alpha, p=guess: p, sequences, law, vocab_size, nodes=40)
        assert bound > entropy + 0.1


def test_enumeration_of_the_oracles_nelbo(worst):
    """The memorizer's is log n; the Markov generalizer's is the entropy of the chain."""
    sequences = every_sequence(3, 3)
    stored = sequences[torch.randperm(27, generator=seeded())[:7]]
    law = (sequences[:, None] == stored).all(-1).any(1).double() / 7
    memory = Memorizer(stored, 3, torch.float64)
    found = total_nelbo(
        lambda alpha: memory.denoise(sequences, -alpha.log()).exp(), sequences, law, 3
    )
    worst("NELBO of the memorizer (nats)", "log n", abs(found - math.log(7)), 1e-8)
    initial, transition = markov_chain(3, 2)
    law = initial[sequences[:, 0]] * transition[sequences[:, :-1], sequences[:, 1:]].prod(1)
    chain = MarkovGeneralizer(initial, transition, torch.float64)
    found = total_nelbo(
        lambda alpha: chain.denoise(sequences, -alpha.log()).exp(), sequences, law, 3
    )
    worst(
        "NELBO of the Markov generalizer (nats)",
        "entropy of the chain",
        abs(found - chain_entropy(initial, transition, 3)),
        1e-8,
    )


@quick
@given(seed=st.integers(0, 1000), alpha=st.floats(1e-3, 1 - 1e-6), size=st.floats(1e-3, 2.0))
def test_enumeration_the_nelbo_is_least_at_the_leave_one_out_conditional(seed, alpha, size):
    """At every single noise level, not only on average: the objective is a pseudo-likelihood."""
    sequences, law = source(seed=seed)
    x, z = torch.tensor(list(itertools.product(range(len(sequences)), repeat=2))).unbind(1)
    weight = law[x] * sequence_kernel(alpha, sequences, 3)[x, z]
    best = leave_one_out(sequences, law, alpha, 3).log()
    other = best + size * torch.randn(best.shape, generator=seeded(seed), dtype=torch.float64)
    at_best, at_other = (
        (weight * nelbo(log_p[z], sequences[z], sequences[x], alpha, -1.0).sum(1)).sum()
        for log_p in (best, other)
    )
    assert at_best < at_other


# Probes against a hand count


def test_enumeration_of_recovery_by_hand(worst):
    x = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3], [3, 3, 3, 3], [1, 1, 1, 1]])
    z = torch.tensor([[0, 2, 1, 3], [1, 1, 2, 3], [3, 3, 3, 3], [0, 0, 0, 0]])
    end = torch.tensor([[0, 1, 1, 0], [0, 1, 2, 3], [3, 3, 0, 3], [1, 1, 1, 2]])
    table = recovery_rates(x, z, end)
    expected = {
        "corrupted": [2, 1, 0, 4],
        "recovered": [1 / 2, 1, math.nan, 3 / 4],
        "unstable": [1 / 2, 0, 1 / 4, math.nan],
        "exact": [0, 1, 0, 0],
    }
    for name, values in expected.items():
        found, values = torch.tensor(table[name].tolist()).double(), torch.tensor(values).double()
        assert (found.isnan() == values.isnan()).all()
        worst(
            "recovery and unstable rates",
            "hand count",
            gap(found.nan_to_num(-1), values.nan_to_num(-1)),
            0,
        )


def test_enumeration_of_entropy_by_hand(worst):
    """Two stored sequences that differ in one place: there one bit is open, elsewhere nothing."""
    memory = Memorizer(torch.tensor([[0, 1, 2], [0, 3, 2]]), 4, torch.float64)
    found = conditional_entropy(memory, torch.tensor([[0, 1, 2]]), t=1e-9)
    worst(
        "conditional entropy (nats)",
        "hand count",
        gap(found, torch.tensor([[0, math.log(2), 0]])),
        1e-8,
    )


# The uniform-Gaussian duality


@pytest.mark.parametrize("vocab_size", [2, 4])
@pytest.mark.parametrize("gamma", [-3.0, 0.0, 2.0])
def test_enumeration_of_the_duality(vocab_size, gamma, worst):
    """argmax of noisy one-hot vectors has the forward marginal at alpha = duality_alpha(gamma)."""
    draws = 200_000
    a, s = (
        torch.sigmoid(torch.tensor(sign * gamma, dtype=torch.float64)).sqrt() for sign in (-1, 1)
    )
    w = s * torch.randn(draws, vocab_size, generator=seeded(), dtype=torch.float64)
    w[:, 1] += a
    worst(
        "duality, chi-square in standard deviations",
        "argmax of 2e5 Gaussian draws",
        chi_square(
            torch.bincount(w.argmax(-1), minlength=vocab_size),
            kernel(duality_alpha(gamma, vocab_size), vocab_size)[1],
        ),
        3.7,
    )


def test_enumeration_of_the_duality_in_closed_form(worst):
    """V = 2: the argmax is right when one Gaussian of variance 2 stays below a / s."""
    gamma = torch.linspace(-20, 20, 41, dtype=torch.float64, requires_grad=True)
    expected = torch.erf(torch.exp(-gamma / 2) / 2)
    found = duality_alpha(gamma, 2)
    worst(
        "duality alpha(gamma) at V = 2",
        "closed form",
        gap(found.detach(), expected.detach()),
        1e-14,
    )
    slopes = [torch.autograd.grad(alpha.sum(), gamma)[0] for alpha in (found, expected)]
    worst("duality, derivative at V = 2", "closed form", gap(*slopes), 1e-14)
    gammas = torch.linspace(-4, 1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda gamma: duality_alpha(gamma, 30_522), gammas)


@pytest.mark.parametrize(
    "gamma, vocab_size, message",
    [
        (0.0, 1, "vocab_size=1 is below 2"),
        (float("nan"), 4, "gamma=nan"),
        ([0.0, float("inf")], 4, "gamma=inf"),
    ],
)
def test_enumeration_of_the_duality_refuses(gamma, vocab_size, message):
    with pytest.raises(ValueError, match=message):
        duality_alpha(gamma, vocab_size)
