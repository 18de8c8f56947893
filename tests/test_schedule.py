"""Noise levels to all digits, and the uniform-Gaussian duality."""

import math

import pytest
import torch

from helpers.compare import chi_square, gap
from helpers.problems import seeded
from uddm_lib.schedule import LogLinearSchedule, duality_alpha


def test_alpha_falls_from_one_to_eps():
    schedule = LogLinearSchedule(eps=1e-3)
    alpha = schedule.alpha(torch.linspace(1e-5, 1, 101))
    assert alpha.dtype == torch.float64
    assert (alpha.diff() < 0).all()
    assert alpha[-1].item() == pytest.approx(1e-3, rel=1e-12)


def test_one_minus_alpha_keeps_its_digits_near_zero():
    schedule = LogLinearSchedule()
    assert schedule.one_minus_alpha(1e-12).item() == pytest.approx(0.999e-12, rel=1e-14)
    assert (1 - schedule.alpha(1e-5)).item() == pytest.approx(0.999e-5, rel=1e-10)


def test_sigma_is_minus_log_alpha_and_dalpha_its_slope():
    schedule, t = (
        LogLinearSchedule(),
        torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True),
    )
    torch.testing.assert_close(schedule.sigma(t), -schedule.alpha(t).log())
    (slope,) = torch.autograd.grad(schedule.alpha(t).sum(), t)
    torch.testing.assert_close(schedule.dalpha(t), slope)
    assert schedule.sigma(1.0).item() == pytest.approx(-math.log(1e-3))


@pytest.mark.parametrize("t", [0.0, -0.1, 1.5, float("nan"), [0.5, 2.0]])
def test_times_outside_zero_one_are_refused(t):
    with pytest.raises(ValueError, match=r"t=.* is outside \(0, 1\]"):
        LogLinearSchedule().alpha(t)


@pytest.mark.parametrize("eps", [-1e-3, 1.0])
def test_eps_outside_its_range_is_refused(eps):
    with pytest.raises(ValueError, match="eps="):
        LogLinearSchedule(eps)


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
    alpha = duality_alpha(gamma, vocab_size)
    worst(
        "duality, chi-square in standard deviations",
        "argmax of 2e5 Gaussian draws",
        chi_square(
            torch.bincount(w.argmax(-1), minlength=vocab_size),
            alpha * torch.eye(vocab_size)[1] + (1 - alpha) / vocab_size,
        ),
        3.7,
    )


def test_enumeration_of_the_duality_in_closed_form(worst):
    """V = 2: the argmax is right when one Gaussian of variance 2 stays below a / s."""
    gamma = torch.linspace(-20, 20, 41, dtype=torch.float64, requires_grad=True)
    expected = torch.erf(torch.exp(-gamma / 2) / 2)
    actual = duality_alpha(gamma, 2)
    worst(
        "duality alpha(gamma) at V = 2",
        "closed form",
        gap(actual.detach(), expected.detach()),
        1e-14,
    )
    slopes = [torch.autograd.grad(alpha.sum(), gamma)[0] for alpha in (actual, expected)]
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
