"""Hybrid noise against its definition, by counting and by enumeration."""

import numpy as np
import pytest
import torch

from helpers.problems import seeded
from uddm_lib.diffusion import HybridNoise, nelbo
from uddm_lib.diffusion.hybrid import bound_of

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


def test_at_the_end_the_posterior_is_what_all_noisy_tokens_tell(worst):
    p = torch.tensor([0.4, 0.3, 0, 0.2, 0.1], dtype=torch.float64)
    expected = (p[:, None] * law(NOISE, 0.3)).T
    found = NOISE.posterior(p.expand(1, 5, 5), torch.arange(5)[None], 0, 0.3)[0]
    expected /= expected.sum(1, keepdim=True)
    worst("last hybrid posterior", "Bayes' rule", (found - expected).abs().max(), 1e-12)


def test_the_bound_is_the_paper_s_where_the_noise_is_uniform(worst):
    """The same integrand in two forms: with every token's noise (1 - alpha) / V it is eq. (3)."""
    logits = torch.randn(3, 40, 7, dtype=torch.float64, generator=seeded(1))
    z_t, x = torch.randint(7, (2, 3, 40), generator=seeded(2))
    alpha = torch.tensor([[0.02], [0.6], [0.999]], dtype=torch.float64)
    rate = 0.8 / (alpha * (1 - alpha))
    found = bound_of(logits.log_softmax(-1), z_t, x, alpha, (1 - alpha) / 7, rate)
    expected = nelbo(logits, z_t, x, alpha, -0.8)
    worst("bound of any noise", "eq. (3)", ((found - expected) / expected).abs().max(), 1e-10)


def test_the_bound_is_the_limit_of_the_divergence_of_steps(worst):
    p = torch.tensor([0.4, 0.3, 0, 0.2, 0.1], dtype=torch.float64).expand(1, 20, 5)
    x = torch.tensor(CLEAN).repeat_interleave(5)[None]
    z_t = torch.arange(5).repeat(4)[None]
    known = torch.nn.functional.one_hot(x, 5).double()
    for t in (0.05, 0.5, 0.97):
        s = t - 1e-6
        true, guess = (NOISE.posterior(one, z_t, s, t) for one in (known, p))
        divergence = torch.special.xlogy(true, true / guess).nan_to_num(0).sum(-1) / (t - s)
        found = NOISE.nelbo(p.log(), z_t, x, t)
        worst("hybrid bound", f"steps at t = {t}", (found - divergence).abs().max(), 1e-3)
        assert found.max() > 0.1 and found.min() > -1e-12


def test_the_bound_of_an_exact_model_is_the_entropy_of_its_source(worst):
    """By enumeration over pairs of tokens, integrated over t."""
    joint = torch.rand(4, 4, dtype=torch.float64, generator=seeded(4)) ** 3
    joint /= joint.sum()
    pairs, noisy = (torch.cartesian_prod(*[torch.tensor(every)] * 2) for every in (CLEAN, range(5)))
    points, quadrature = np.polynomial.legendre.leggauss(80)
    total = 0.0
    for u, weight in zip((points + 1) / 2, quadrature / 2):
        t = u**4 * (35 - 84 * u + 70 * u**2 - 20 * u**3)  # for the roots of t and 1 - t
        q = law(NOISE, t)[CLEAN]
        seen = q[:, noisy]  # (x, pair, position)
        log_p = torch.full((len(noisy), 2, 5), -torch.inf, dtype=torch.float64)
        other = torch.stack([seen[..., 1].T @ joint.T, seen[..., 0].T @ joint], 1)
        log_p[..., CLEAN] = (other / other.sum(-1, keepdim=True)).log()
        for x, p_x in zip(pairs, joint.flatten()):
            kernel = law(NOISE, t)[x[0], noisy[:, 0]] * law(NOISE, t)[x[1], noisy[:, 1]]
            value = NOISE.nelbo(log_p, noisy, x.expand(len(noisy), 2), t).sum(1)
            total += weight * 140 * (u * (1 - u)) ** 3 * p_x * (kernel * value).sum()
    entropy = torch.special.entr(joint).sum()
    worst("hybrid NELBO (nats)", "entropy of the source", (total - entropy).abs(), 1e-6)


def test_the_time_of_as_much_noise():
    t = NOISE.like_uniform(0.1)
    assert NOISE.alpha(t).item() == pytest.approx(1 - 0.999 * 0.1, abs=1e-12) and t < 0.1
    assert HybridNoise(0.999, 5, 2).like_uniform(0.1) == 1e-4  # no model is trained earlier


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
        (lambda: HybridNoise(0.1, 5, 2, 0.5), r"t_eps=0.5 is outside \(0, 1/2\)"),
        (lambda: NOISE.alpha(1.1), r"t=1.1 is outside \[0, 1\]"),
        (lambda: NOISE.token_log_odds(torch.tensor([[0]]), 0.0), r"is not inside \(0, 1\)"),
        (lambda: NOISE.dynamic_excess(torch.tensor([[0]]), 1.0), r"is not inside \(0, 1\)"),
        (lambda: NOISE.corrupt(torch.tensor([[2]]), 0.1), "x holds the mask, 2"),
        (lambda: NOISE.corrupt(torch.tensor([[5]]), 0.1), "x holds token ids from 5 to 5"),
        (lambda: NOISE.posterior(torch.ones(1, 1, 5), torch.tensor([[0]]), 0.5, 0.5), "s=0.5"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
