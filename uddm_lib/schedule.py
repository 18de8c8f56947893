"""Noise schedules: how much of a clean sequence is left at diffusion time t.

Noise levels are small tensors, so they stay in float64 until they meet the large ones: close to t = 0
the quantity that matters is 1 - alpha_t, and float32 has lost it (2.5e-3 off at t = 1e-5).
"""

import torch

__all__ = ["LogLinearSchedule"]


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


def _times(t):
    t = torch.as_tensor(t, dtype=torch.float64)
    inside = (t > 0) & (t <= 1)
    if not inside.all():
        raise ValueError(f"t={t[~inside].flatten()[0].item():g} is outside (0, 1]")
    return t
