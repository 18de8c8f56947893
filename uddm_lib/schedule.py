"""Noise schedules: how much of a clean sequence is left at diffusion time t.

A second function gives the same for the argmax of a Gaussian diffusion. Noise levels are small
tensors, so they stay in float64 until they meet the large ones. Close to t = 0 the quantity that
matters is 1 - alpha_t, and float32 has lost it (2.5e-3 off at t = 1e-5).
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Level", "LogLinearSchedule", "duality_alpha"]

Level: TypeAlias = float | Float[Tensor, "..."]
"""A time or a noise level: a number, or a tensor of them."""

Levels: TypeAlias = Level | Sequence[float]


class LogLinearSchedule:
    """The log-linear schedule alpha_t = 1 - (1 - eps) t (paper section 2; eps as released).

    All methods take times in (0, 1]: a number, a list or a tensor of any shape. They return float64
    tensors of the same shape, on the same device.

    Args:
        eps: what is left of the signal at t = 1, in [0, 1).

    Raises:
        ValueError: if ``eps`` or a time is outside its range.
    """

    def __init__(self, eps: float = 1e-3) -> None:
        if not 0 <= eps < 1:
            raise ValueError(f"eps={eps} is outside [0, 1)")
        self.eps = eps

    def alpha(self, t: Levels) -> Float[Tensor, "..."]:
        """Share of tokens that are kept, alpha_t."""
        return 1 - self.one_minus_alpha(t)

    def one_minus_alpha(self, t: Levels) -> Float[Tensor, "..."]:
        """1 - alpha_t, computed from t and never from a rounded alpha."""
        return (1 - self.eps) * _times(t)

    def dalpha(self, t: Levels) -> Float[Tensor, "..."]:
        """The derivative d alpha_t / dt."""
        return torch.full_like(_times(t), -(1 - self.eps))

    def sigma(self, t: Levels) -> Float[Tensor, "..."]:
        """Noise level that the network gets, sigma_t = -log alpha_t."""
        return -torch.log1p(-self.one_minus_alpha(t))


def duality_alpha(gamma: Levels, vocab_size: int) -> Float[Tensor, "..."]:
    """Uniform-state alpha of the argmax of a Gaussian diffusion: the duality operator, eq. (17).

    Let w = a x + s eps with a^2 = sigmoid(-gamma), s^2 = sigmoid(gamma) and x one-hot. Then
    argmax(w) is distributed as z_t is at alpha = (V P - 1) / (V - 1). Here
    P = integral phi(y) Phi(y + a / s)^(V - 1) dy is the chance that the argmax is x. The trapezoid
    rule converges geometrically: alpha is exact to 1e-12 for V up to 1e9.

    Args:
        gamma: minus the log signal-to-noise ratio of the Gaussian diffusion, a number or a tensor.
        vocab_size: V, at least 2.

    Returns:
        alpha in (0, 1), float64, the shape of ``gamma``; it decreases in gamma. It is
        differentiable with respect to gamma: the derivative that the loss needs comes from
        autograd, at the same precision.

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
    density = step / math.sqrt(2 * math.pi) * torch.exp(-y.square() / 2)
    log_below = torch.special.log_ndtr(torch.exp(-gamma / 2)[..., None] + y)
    chance = (density * torch.exp((vocab_size - 1) * log_below)).sum(-1)
    return (vocab_size * chance - 1) / (vocab_size - 1)


def _times(t: Levels) -> Float[Tensor, "..."]:
    t = torch.as_tensor(t, dtype=torch.float64)
    inside = (t > 0) & (t <= 1)
    if not inside.all():
        raise ValueError(f"t={t[~inside].flatten()[0].item():g} is outside (0, 1]")
    return t
