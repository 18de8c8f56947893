"""The pure functions of the method; their laws are proved in test_enumeration.py."""

import itertools

import pytest
import torch

from uddm_lib.diffusion import corrupt, nelbo, posterior, reverse_step


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha, kept", [(1.0, 1.0), (0.0, 0.2)])
def test_corrupt_at_the_ends(alpha, kept):
    x = torch.randint(5, (200, 100), generator=seeded())
    assert (corrupt(x, alpha, 5, seeded(1)) == x).double().mean().item() == pytest.approx(kept, abs=0.02)


def test_corrupt_takes_a_level_per_sequence():
    x = torch.zeros(2, 4000, dtype=torch.long)
    kept = (corrupt(x, torch.tensor([0.9, 0.1]), 1000, seeded()) == x).double().mean(1)
    torch.testing.assert_close(kept, torch.tensor([0.9, 0.1], dtype=torch.float64), atol=0.02, rtol=0)


def naive_nelbo(p, z, x, alpha, dalpha):
    """Paper eq. (3), written out term by term for one token."""
    vocab_size = len(p)
    xbar = vocab_size * alpha * torch.eye(vocab_size, dtype=torch.float64)[x] + 1 - alpha
    theta = vocab_size * alpha * p + 1 - alpha
    terms = xbar / xbar[z] * torch.log(theta[z] * xbar / (theta * xbar[z]))
    return dalpha / (vocab_size * alpha) * (vocab_size / xbar[z] - vocab_size / theta[z] - terms.sum())


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 0.999])
def test_nelbo_is_equation_3(alpha):
    logits = torch.randn(9, 1, 4, generator=seeded(), dtype=torch.float64)
    z, x = torch.randint(4, (2, 9, 1), generator=seeded(1))
    found = nelbo(logits, z, x, alpha, -0.999)[:, 0]
    expected = torch.stack([naive_nelbo(logits[i, 0].softmax(-1), z[i, 0], x[i, 0], alpha, -0.999) for i in range(9)])
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-12)
    assert (found >= 0).all()
    in_float32 = nelbo(logits.float(), z, x, alpha, -0.999)[:, 0]
    assert in_float32.dtype == torch.float32
    torch.testing.assert_close(in_float32.double(), expected, rtol=1e-4, atol=1e-6)


def test_nelbo_vanishes_at_the_truth():
    x = torch.tensor([[2, 0]])
    logits = 80.0 * torch.nn.functional.one_hot(x, 4)
    for z in itertools.product(range(4), repeat=2):
        assert nelbo(logits, torch.tensor([z]), x, 0.5, -0.999).abs().max() < 1e-6


def test_bad_levels_and_tokens_are_named():
    x = torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="alpha_t holds 1.5"):
        corrupt(x, 1.5, 4)
    with pytest.raises(ValueError, match="token ids from 0 to 7; allowed are 0 to 3"):
        corrupt(torch.tensor([[0, 7]]), 0.5, 4)
    with pytest.raises(ValueError, match="alpha_t <= alpha_s"):
        reverse_step(torch.zeros(1, 2, 4), x, 0.2, 0.5)
    with pytest.raises(ValueError, match="alpha_t <= alpha_s"):
        posterior(torch.full((1, 2, 4), 0.25), x, 0.2, 0.5)
    for alpha in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"alpha_t holds {alpha:g} to {alpha:g}; allowed is 0 < alpha_t < 1"):
            nelbo(torch.zeros(1, 2, 4), x, x, alpha, -0.999)
