"""Hybrid noise against its definition, by counting and by enumeration."""

import pytest
import torch

from helpers.problems import seeded
from uddm_lib.diffusion import HybridNoise

NOISE = HybridNoise(0.3, 5, 2)  # the mask in the middle
CLEAN = [0, 1, 3, 4]


def law(noise, t):
    """q_t(z | x), a row for every x."""
    return noise.alpha(t) * torch.eye(5, dtype=torch.float64) + noise.noise(t)


def test_noise_is_a_law():
    times = torch.tensor([1e-4, 0.2, 0.5, 0.9999], dtype=torch.float64)
    assert torch.allclose(NOISE.alpha(times) + NOISE.noise(times).sum(-1), torch.ones_like(times))
    uniform = NOISE.noise(0.5)
    # At t = 1/2 the mask and the uniform part are as 1 - p to p.
    assert uniform[2] / uniform.sum() == pytest.approx(0.5 / (0.5 + 0.3 / 0.7))
    assert HybridNoise(0.0, 5, 2).noise(0.5)[0] < 1e-8


def test_draws_have_the_law_of_the_noise():
    count = 40_000
    x = torch.tensor(CLEAN).repeat(count, 1)
    z_t = NOISE.corrupt(x, 0.4, seeded(1))
    expected = law(NOISE, 0.4)
    for position, token in enumerate(CLEAN):
        seen = torch.bincount(z_t[:, position], minlength=5) / count
        error = (expected[token] * (1 - expected[token]) / count).sqrt()
        assert ((seen - expected[token]).abs() < 4 * error).all()


@pytest.mark.parametrize(("s", "t"), [(1e-3, 0.3), (0.4, 0.5), (0.7, 0.99)])
def test_the_posterior_is_that_of_bayes_rule(worst, s, t):
    """By all ways x -> z_s -> z_t, the step from s to t being what takes q_s to q_t."""
    p = torch.rand(5, dtype=torch.float64, generator=seeded(2))
    p[2] = 0
    p /= p.sum()
    kept = NOISE.alpha(t) / NOISE.alpha(s)
    step = kept * torch.eye(5, dtype=torch.float64) + NOISE.noise(t) - kept * NOISE.noise(s)
    assert torch.allclose(law(NOISE, s)[CLEAN] @ step, law(NOISE, t)[CLEAN])
    joint = (p @ law(NOISE, s))[:, None] * step
    expected = (joint / joint.sum(0)).T
    z_t = torch.arange(5)[None]
    found = NOISE.posterior(p.expand(1, 5, 5), z_t, s, t)[0]
    worst("hybrid posterior", "Bayes' rule", (found - expected).abs().max(), 1e-12)


def test_the_log_odds_of_a_token_are_those_of_its_law():
    expected = law(NOISE, 0.3)
    odds = NOISE.token_log_odds(torch.arange(5)[None], 0.3)[0]
    for token in CLEAN:
        other = CLEAN[CLEAN.index(token) - 1]
        assert odds[token] == pytest.approx(
            (expected[token, token] / expected[other, token]).log().item()
        )
    assert odds[2] == 0  # all clean tokens become a mask alike


def test_the_excess_of_dynamic_weights():
    """The ratios that were worked out for p = 0.2 and the vocabulary of the public models."""
    noise, z_t = HybridNoise(0.2, 50_258, 50_257), torch.tensor([[7, 50_257]])
    for t, ratio in {0.01: 2.4, 0.5: 1.2}.items():
        excess = noise.dynamic_excess(z_t, t).exp()
        assert excess[0, 0].item() == pytest.approx(ratio, abs=0.05) and excess[0, 1] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HybridNoise(1.0, 5, 2), r"p_uniform=1.0 is outside \[0, 1\)"),
        (lambda: HybridNoise(0.1, 5, 5), "mask_id=5"),
        (lambda: NOISE.alpha(1.0), r"t=1 is outside \(0, 1\)"),
        (lambda: NOISE.corrupt(torch.tensor([[2]]), 0.1), "x holds the mask, 2"),
        (lambda: NOISE.corrupt(torch.tensor([[5]]), 0.1), "x holds token ids from 5 to 5"),
        (lambda: NOISE.posterior(torch.ones(1, 1, 5), torch.tensor([[0]]), 0.5, 0.5), "s=0.5"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
