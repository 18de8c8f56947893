"""Checked noise levels and tokens, which the functions of :mod:`uddm_lib.diffusion` share."""

import torch


def level(value, tokens, name):
    """A noise level in float64 that broadcasts against tokens of shape (B, L).

    Raises:
        ValueError: if it is outside [0, 1].
    """
    value = torch.as_tensor(value, dtype=torch.float64, device=tokens.device)
    if not ((value >= 0) & (value <= 1)).all():
        raise ValueError(f"{name} holds {value.min():g} to {value.max():g}; allowed is 0 to 1")
    if value.ndim == 1:
        value = value[:, None]
    return value.expand(tokens.shape)


def open_level(alpha_t, dalpha_t, tokens):
    """alpha_t inside (0, 1), shape (B, L), and its derivative, which broadcasts against it; both float64.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1): at its ends the NELBO's integrand has no finite value.
    """
    alpha = level(alpha_t, tokens, "alpha_t")
    if not ((alpha > 0) & (alpha < 1)).all():
        raise ValueError(
            f"alpha_t holds {alpha.min():g} to {alpha.max():g}; allowed is 0 < alpha_t < 1"
        )
    dalpha = torch.as_tensor(dalpha_t, dtype=torch.float64, device=tokens.device)
    return alpha, dalpha[:, None] if dalpha.ndim == 1 else dalpha


def mixture(z_t, alpha_s, alpha_t):
    """Weights, besides V alpha_t p[z_t], of staying, of drawing from p and of drawing uniformly, each (B, L).

    Raises:
        ValueError: unless 0 < alpha_t <= alpha_s.
    """
    alpha_s, alpha_t = level(alpha_s, z_t, "alpha_s"), level(alpha_t, z_t, "alpha_t")
    if not ((alpha_t > 0) & (alpha_s >= alpha_t)).all():
        raise ValueError(
            "a reverse step needs 0 < alpha_t <= alpha_s; "
            f"given alpha_t={alpha_t.min():g}..{alpha_t.max():g}, "
            f"alpha_s={alpha_s.min():g}..{alpha_s.max():g}"
        )
    draw = alpha_s - alpha_t
    return alpha_t / alpha_s * (1 - alpha_s), draw, draw / alpha_s * (1 - alpha_s)


def check_tokens(x, vocab_size):
    """Raise ValueError if a token is outside [0, vocab_size)."""
    if x.numel() and not 0 <= x.min() <= x.max() < vocab_size:
        raise ValueError(
            f"x holds token ids from {x.min()} to {x.max()}; allowed are 0 to {vocab_size - 1}"
        )
