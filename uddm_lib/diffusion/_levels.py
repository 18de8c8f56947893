"""Checked noise levels and the weights of a reverse step, which the diffusion functions share."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib.schedule import Level


def level(name: str, value: Level, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """A noise level in float64, expanded to the shape of the tokens.

    Raises:
        ValueError: if it is outside [0, 1].
    """
    value = torch.as_tensor(value, dtype=torch.float64, device=tokens.device)
    if not ((value >= 0) & (value <= 1)).all():
        raise ValueError(f"{name} holds {value.min():g} to {value.max():g}; allowed is 0 to 1")
    if value.ndim == 1:
        value = value[:, None]
    return value.expand(tokens.shape)


def open_level(
    alpha_t: Level, dalpha_t: Level, tokens: Int[Tensor, "B L"]
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "..."]]:
    """alpha_t inside (0, 1), and its derivative, which broadcasts against it; both float64.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1): at its ends the NELBO's integrand has no
            finite value.
    """
    alpha = level("alpha_t", alpha_t, tokens)
    if not ((alpha > 0) & (alpha < 1)).all():
        raise ValueError(
            f"alpha_t holds {alpha.min():g} to {alpha.max():g}; allowed is 0 < alpha_t < 1"
        )
    dalpha = torch.as_tensor(dalpha_t, dtype=torch.float64, device=tokens.device)
    return alpha, dalpha[:, None] if dalpha.ndim == 1 else dalpha


class ReverseWeights(NamedTuple):
    """Weights of the three ways in which a reverse step chooses a token (paper eq. (2)), float64.

    With weight ``keep + V alpha_t p[z_t]`` the token stays, with weight ``draw`` it is drawn from
    p, with weight ``uniform`` from all tokens alike. All four have one shape.
    """

    keep: Float[Tensor, "..."]
    draw: Float[Tensor, "..."]
    uniform: Float[Tensor, "..."]
    alpha_t: Float[Tensor, "..."]

    def on(self, device: torch.device) -> "ReverseWeights":
        """The weights on a device."""
        return ReverseWeights(*(weight.to(device) for weight in self))

    def at(self, i: int) -> "ReverseWeights":
        """The weights of the i-th of several steps."""
        return ReverseWeights(*(weight[i] for weight in self))

    def can_change(self, greedy: bool) -> tuple[bool, ...]:
        """Whether each of several steps can change a token."""
        # A greedy step needs more: p_top - p[z_t] is at most one.
        return tuple((self.draw > self.keep).tolist()) if greedy else (True,) * len(self.keep)


def reverse_weights(alpha_s: Float[Tensor, "*S"], alpha_t: Float[Tensor, "*S"]) -> ReverseWeights:
    """Weights of reverse steps from alpha_t to alpha_s, of any shape.

    Raises:
        ValueError: unless 0 < alpha_t <= alpha_s <= 1.
    """
    if not ((alpha_t > 0) & (alpha_s >= alpha_t) & (alpha_s <= 1)).all():
        raise ValueError(
            "a reverse step needs 0 < alpha_t <= alpha_s <= 1; "
            f"got alpha_t={alpha_t.min():g}..{alpha_t.max():g}, "
            f"alpha_s={alpha_s.min():g}..{alpha_s.max():g}"
        )
    draw = alpha_s - alpha_t
    return ReverseWeights(
        alpha_t / alpha_s * (1 - alpha_s), draw, draw / alpha_s * (1 - alpha_s), alpha_t
    )


def token_weights(z_t: Int[Tensor, "B L"], alpha_s: Level, alpha_t: Level) -> ReverseWeights:
    """:func:`reverse_weights` of every token, each (B, L).

    Raises:
        ValueError: if the noise levels are out of range or in the wrong order.
    """
    return reverse_weights(level("alpha_s", alpha_s, z_t), level("alpha_t", alpha_t, z_t))
