"""The method against what can be enumerated: every quantity is a finite sum at small V and L."""

import itertools

import pytest
import torch

from uddm_lib.diffusion import corrupt, nelbo, posterior, reverse_step
from uddm_lib.schedule import LogLinearSchedule

SCHEDULE = LogLinearSchedule()


def forward_matrix(alpha, vocab_size):
    """q(z | x) as a matrix, float64."""
    return alpha * torch.eye(vocab_size, dtype=torch.float64) + (1 - alpha) / vocab_size


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_corrupt_draws_the_forward_marginal():
    x = torch.arange(3).repeat(100_000, 1)
    z = corrupt(x, 0.4, 3, seeded())
    for token in range(3):
        counts = torch.bincount(z[:, token], minlength=3).double()
        expected = 100_000 * forward_matrix(0.4, 3)[token]
        assert ((counts - expected) ** 2 / expected).sum() < 13.8  # chi-square, 2 degrees of freedom, p = 1e-3


@pytest.mark.parametrize("alpha, kept", [(1.0, 1.0), (0.0, 0.2)])
def test_corrupt_at_the_ends(alpha, kept):
    x = torch.randint(5, (200, 100), generator=seeded())
    assert (corrupt(x, alpha, 5, seeded(1)) == x).double().mean().item() == pytest.approx(kept, abs=0.02)


def test_corrupt_takes_a_level_per_sequence():
    x = torch.zeros(2, 4000, dtype=torch.long)
    kept = (corrupt(x, torch.tensor([0.9, 0.1]), 1000, seeded()) == x).double().mean(1)
    torch.testing.assert_close(kept, torch.tensor([0.9, 0.1], dtype=torch.float64), atol=0.02, rtol=0)


def test_posterior_is_bayes_rule():
    vocab_size, alpha_s, alpha_t = 4, 0.7, 0.3
    to_s, s_to_t = forward_matrix(alpha_s, vocab_size), forward_matrix(alpha_t / alpha_s, vocab_size)
    for x, z_t in itertools.product(range(vocab_size), repeat=2):
        joint = to_s[x] * s_to_t[:, z_t]
        one_hot = torch.eye(vocab_size, dtype=torch.float64)[x].view(1, 1, -1)
        found = posterior(one_hot, torch.tensor([[z_t]]), alpha_s, alpha_t)[0, 0]
        torch.testing.assert_close(found, joint / joint.sum(), atol=1e-14, rtol=0)


@pytest.mark.parametrize("alpha_s, alpha_t", [(0.7, 0.3), (1.0, 0.3), (0.5, 0.5), (0.051, 0.001)])
def test_reverse_step_draws_the_posterior(alpha_s, alpha_t):
    logits = torch.tensor([[[1.0, -1.0, 0.3, 0.0]]])
    z_t = torch.tensor([[1]])
    draws = 200_000
    exact = posterior(logits.double().softmax(-1), z_t, alpha_s, alpha_t)[0, 0]
    drawn = reverse_step(logits.expand(draws, 1, 4), z_t.expand(draws, 1), alpha_s, alpha_t, seeded())
    counts = torch.bincount(drawn[:, 0], minlength=4).double()
    possible = exact > 0
    assert counts[~possible].sum() == 0
    assert ((counts - draws * exact) ** 2 / (draws * exact))[possible].sum() < 16.3  # 3 degrees of freedom, p = 1e-3


def test_greedy_step_is_the_posteriors_mode():
    logits = 3 * torch.randn(50, 6, 5, generator=seeded())
    z_t = torch.randint(5, (50, 6), generator=seeded(1))
    moved = 0
    for alpha_s, alpha_t in [(0.7, 0.3), (1.0, 0.9), (0.06, 0.001)]:
        mode = posterior(logits.double().softmax(-1), z_t, alpha_s, alpha_t).argmax(-1)
        found = reverse_step(logits, z_t, alpha_s, alpha_t, greedy=True)
        assert (found == mode).all()
        moved += (found != z_t).sum()
    assert moved > 0


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


def test_nelbo_integrates_to_the_datas_entropy_at_the_leave_one_out_conditional():
    """Protocol section 2.2, for one position: the leave-one-out conditional is then the data's own law."""
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    points, weights = torch.tensor(_gauss_legendre(64)).unbind(1)
    total = 0.0
    for t, weight in zip(points, weights):
        alpha = SCHEDULE.alpha(t)
        for x, z in itertools.product(range(3), repeat=2):
            probability = law[x] * forward_matrix(alpha, 3)[x, z]
            value = nelbo(law.log().view(1, 1, 3), torch.tensor([[z]]), torch.tensor([[x]]), alpha, SCHEDULE.dalpha(t))
            total += weight * probability * value.item()
    alpha_end = SCHEDULE.alpha(1.0)
    end = sum(law[x] * forward_matrix(alpha_end, 3)[x, z] * (forward_matrix(alpha_end, 3)[x, z]
              / (law @ forward_matrix(alpha_end, 3))[z]).log() for x, z in itertools.product(range(3), repeat=2))
    entropy = -(law * law.log()).sum()
    assert total + end.item() == pytest.approx(entropy.item(), abs=1e-5)


def _gauss_legendre(n):
    """Nodes and weights on (0, 1), denser near t = 0, where the integrand has a logarithm."""
    import numpy as np

    x, w = np.polynomial.legendre.leggauss(n)
    u, w = (x + 1) / 2, w / 2
    return np.stack([u**3, 3 * u**2 * w], 1)


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
