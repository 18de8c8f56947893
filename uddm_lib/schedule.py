"""Noise schedules: how much of a clean sequence is left at diffusion time t, or in a Gaussian diffusion's argmax.

Noise levels are small tensors, so they stay in float64 until they meet the large ones: close to t = 0
the quantity that matters is 1 - alpha_t, and float32 has lost it (2.5e-3 off at t = 1e-5).
"""

import math

import torch

__all__ = ["LogLinearSchedule", "duality_alpha"]


class LogLinearSchedule:
    """The log-linear schedule alpha_t = 1 - (1 - eps) t (paper section 2; eps as in the released code).

    All methods take times in (0, 1] (a float, list or tensor of any shape) and return float64 tensors
    of the same shape, on the same device.

    Args:
        eps: what is left of the signal at t = 1, in [0, 1).

    Raises:
        ValueError: if ``eps`` or a time is outside its range.
    """

    def __init__(self, eps: float = 1e-3):
        if not 0 <= eps < 1:
            raise ValueError(f"eps={eps} is outside [0, 1)")
        self.eps = eps

    def alpha(self, t):
        """Share of tokens that are kept: alpha_t, float64, the shape of ``t``."""
        return 1 - self.one_minus_alpha(t)

    def one_minus_alpha(self, t):
        """1 - alpha_t, computed from t and never from a rounded alpha; float64, the shape of ``t``."""
        return (1 - self.eps) * _times(t)

    def dalpha(self, t):
        """d alpha_t / dt, float64, the shape of ``t``."""
        return torch.full_like(_times(t), -(1 - self.eps))

    def sigma(self, t):
        """Noise level handed to the network, sigma_t = -log alpha_t, float64, the shape of ``t``."""
        return -torch.log1p(-self.one_minus_alpha(t))


def duality_alpha(gamma, vocab_size):
    """Uniform-state alpha of the argmax of a Gaussian diffusion: the duality operator, paper eq. (17).

    With w = a x + s eps, a^2 = sigmoid(-gamma), s^2 = sigmoid(gamma) and x one-hot, argmax(w) is distributed as
    z_t is at alpha = (V P - 1) / (V - 1), where P = integral phi(y) Phi(y + a / s)^(V - 1) dy is the chance that
    the argmax is x. The trapezoid rule converges geometrically here: alpha is exact to 1e-12 for V up to 1e9.

    Args:
        gamma: minus the log signal-to-noise ratio of the Gaussian diffusion, a number or any tensor.
        vocab_size: V, at least 2.

    Returns:
        alpha in (0, 1), float64, the shape of ``gamma``, and differentiable with respect to it: the derivative
        that the loss needs comes from autograd, at the same precision. It decreases in gamma.

    Raises:
        ValueError: if ``vocab_size`` is below 2 or a gamma is not finite.
    """
    if vocab_size < 2:
        raise ValueError(f"vocab_size={vocab_size!r} is below 2")
    gamma = torch.as_tensor(gamma, dtype=torch.float64)
    if not gamma.isfinite().all():
        raise ValueError(f"gamma={gamma[~gamma.isfinite()].flatten()[0].item():g} is not finite")
    step = 0.05
    y = step * torch.arange(-200, 201, dtype=torch.float64, device=gamma.device)
    weights = step / math.sqrt(2 * math.pi) * torch.exp(-y.square() / 2)
    others_below = torch.special.log_ndtr(torch.exp(-gamma / 2)[..., None] + y)
    chance = (weights * torch.exp((vocab_size - 1) * others_below)).sum(-1)
    return (vocab_size * chance - 1) / (vocab_size - 1)


def _times(t):
    t = torch.as_tensor(t, dtype=torch.float64)
    inside = (t > 0) & (t <= 1)
    if not inside.all():
        raise ValueError(f"t={t[~inside].flatten()[0].item():g} is outside (0, 1]")
    return t
