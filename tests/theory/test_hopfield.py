"""The binary memory: its dynamics, its sampling law, recovery, and what it refuses."""

import pytest
import torch

from helpers.memories import random_couplings, seeded
from uddm_lib.theory import hopfield
from uddm_lib.theory.patterns import random_patterns, spin_glass, spin_glass_examples
from uddm_lib.theory.pseudo_likelihood import train


def test_dynamics_ends_in_fixed_points_and_cycles():
    patterns = random_patterns(5, 120, seeded())
    start = hopfield.corrupt(patterns, 0.2, seeded(1))
    assert ((start != patterns).sum(1) == 24).all()
    for parallel in (True, False):
        assert torch.equal(
            hopfield.retrieve(hopfield.hebb(patterns), start, parallel=parallel), patterns
        )
    pair = torch.tensor([[0.0, 1], [1, 0]], dtype=torch.float64)
    state = torch.tensor([[1.0, -1]], dtype=torch.float64)
    assert torch.equal(hopfield.retrieve(pair, state), state), "a 2-cycle ends where it began"
    assert hopfield.stable(pair, hopfield.retrieve(pair, state, parallel=False)).all()
    # Ties keep the state.
    assert hopfield.stable(torch.zeros_like(pair), state).all()
    # The result for a state does not depend on the others in the batch.
    chaotic, many = random_couplings(30), random_patterns(20, 30, seeded(2))
    together = hopfield.retrieve(chaotic, many)
    assert torch.equal(together, torch.cat([hopfield.retrieve(chaotic, one[None]) for one in many]))


@pytest.mark.parametrize("beta", [0.4, 1.0])
def test_sequential_sampling_has_the_boltzmann_law(beta):
    teacher, draws = spin_glass(4, seeded(5)), 40_000
    states = torch.cartesian_prod(*[torch.tensor([-1.0, 1], dtype=torch.float64)] * 4)
    law = (beta / 2 * torch.einsum("pi,ij,pj->p", states, teacher, states)).softmax(0)
    examples = spin_glass_examples(draws, teacher, beta, sweeps=20, generator=seeded())
    codes = ((examples > 0) * torch.tensor([8, 4, 2, 1])).sum(1)
    counts = torch.bincount(codes, minlength=16)
    chi = ((counts - draws * law) ** 2 / (draws * law)).sum().item()
    assert chi < 37.7, "chi-square with 15 degrees of freedom, exceeded once in 1000"


def test_parallel_sampling_has_the_conditional_law():
    couplings, start = random_couplings(6), random_patterns(1, 6, seeded())
    many = start.expand(20_000, -1)
    drawn = hopfield.sample(couplings, many, 0.5, parallel=True, generator=seeded(1))
    p_up = hopfield.conditional(couplings, start, 0.5)[0]
    error = (p_up * (1 - p_up) / 20_000).sqrt()
    assert (((drawn > 0).double().mean(0) - p_up).abs() < 4 * error).all()
    again = hopfield.sample(couplings, many, 0.5, parallel=True, generator=seeded(1))
    assert torch.equal(drawn, again)
    cold = hopfield.sample(couplings, start, 1e6, parallel=True, generator=seeded(1))
    assert torch.equal(cold, (start @ couplings.T).sign()), (
        "the limit of large beta is the deterministic update"
    )


def test_recovery_counts_flipped_bits_that_come_back():
    patterns = random_patterns(6, 120, seeded())
    still = hopfield.recovery(
        torch.zeros(120, 120, dtype=torch.float64), patterns, 0.25, generator=seeded(1)
    )
    assert (still["corrupted"] == 30).all()
    assert (still[["start", "overlap"]] == 0.5).all(axis=None)
    assert (still[["recovered", "unstable", "exact"]] == 0).all(axis=None)
    back = hopfield.recovery(train(patterns), patterns, 0.25, generator=seeded(1))
    assert (back[["recovered", "overlap", "exact"]] == 1).all(axis=None)
    assert back["start"].equals(still["start"])
    assert hopfield.recovery(hopfield.hebb(patterns), patterns, 0)["recovered"].isna().all()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x, j: hopfield.hebb(x + 1), r"patterns must be a floating-point tensor \(P, N\)"),
        (lambda x, j: hopfield.hebb(x.long()), "given is torch.int64"),
        (lambda x, j: hopfield.margins(j + 1, x), "J_ii must be 0"),
        (
            lambda x, j: hopfield.margins(j.float(), x),
            "couplings is torch.float32 but the",
        ),
        (lambda x, j: hopfield.margins(j[1:], x), r"couplings has shape \(5, 6\)"),
        (lambda x, j: hopfield.retrieve(j, x, steps=3), "steps=3 is not allowed; it must be even"),
        (lambda x, j: hopfield.retrieve(j, x, steps=0), "steps=0 is not a positive integer"),
        (lambda x, j: hopfield.sample(j, x, sweeps=0), "sweeps=0 is not a positive integer"),
        (
            lambda x, j: hopfield.conditional(j, x, beta=0),
            "beta=0 is not allowed",
        ),
        (lambda x, j: hopfield.corrupt(x, 1.5), r"share=1.5 is outside \[0, 1\]"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(random_patterns(4, 6, seeded()), random_couplings(6))
