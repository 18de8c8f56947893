import math

import pytest
import torch

from uddm_lib.schedule import LogLinearSchedule


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
