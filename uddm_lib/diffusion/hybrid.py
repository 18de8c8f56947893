"""The hybrid noise of GIDD: tokens turn into a mask or into any other token.

Generalized interpolating discrete diffusion (von Rütte et al. 2025, arXiv 2503.04482): a clean
token x becomes q_t(z | x) = alpha_t [z = x] + (beta_t pi_t)(z), where pi_t mixes the mask and the
uniform law over all other tokens.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.schedule import Level

__all__ = ["HybridNoise"]


class HybridNoise:
    """Hybrid noise: alpha_t = (1 - t) / C_t, beta_t pi_t = (t [mask] + c_t uniform) / C_t.

    Here C_t = 1 + c_t and c_t = 2 p / (1 - p) sqrt(t (1 - t)). Times are in (0, 1), numbers or
    tensors of shape () or (B,); everything is in float64.

    Args:
        p_uniform: p, the share of uniform noise at t = 1/2, in [0, 1). As in the published code it
            is at least exp(-20).
        vocab_size: V, with the mask.
        mask_id: the mask, which the uniform part leaves out.

    Raises:
        ValueError: if an argument or a time is outside its range.
    """

    def __init__(self, p_uniform: float, vocab_size: int, mask_id: int) -> None:
        if not 0 <= p_uniform < 1:
            raise ValueError(f"p_uniform={p_uniform!r} is outside [0, 1)")
        self.vocab_size = _checks.integer("vocab_size", vocab_size, 3)
        self.mask_id = _checks.integer("mask_id", mask_id, 0, vocab_size - 1)
        share = max(p_uniform, math.exp(-20))
        self._ratio = 2 * share / (1 - share)

    def alpha(self, t: Level) -> Float[Tensor, "..."]:
        """Share of tokens that are kept, alpha_t."""
        t, c = self._times(t)
        return (1 - t) / (1 + c)

    def noise(self, t: Level) -> Float[Tensor, "... V"]:
        """beta_t pi_t over the vocabulary; it sums to 1 - alpha_t."""
        t, c = self._times(t)
        law = (c / (1 + c) / (self.vocab_size - 1))[..., None].repeat_interleave(
            self.vocab_size, -1
        )
        law[..., self.mask_id] = t / (1 + c)
        return law

    def corrupt(
        self, x: Int[Tensor, "B L"], t: Level, generator: torch.Generator | None = None
    ) -> Int[Tensor, "B L"]:
        """Draw z_t from q_t(z_t | x).

        Raises:
            ValueError: if a token is the mask or outside of the vocabulary.
        """
        _checks.tokens("x", x, self.vocab_size)
        if (x == self.mask_id).any():
            raise ValueError(f"x holds the mask, {self.mask_id}; clean tokens have none")
        alpha, law = self.alpha(t), self.noise(t)
        masked = alpha + law[..., self.mask_id]
        alpha, masked = (part.to(x.device).reshape(-1, 1) for part in (alpha, masked))
        draw = torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.float64)
        noise = torch.randint(self.vocab_size - 1, x.shape, generator=generator, device=x.device)
        noise = noise + (noise >= self.mask_id)
        replaced = torch.where(draw < masked, self.mask_id, noise)
        return torch.where(draw < alpha, x, replaced)

    def posterior(
        self, p: Float[Tensor, "B L V"], z_t: Int[Tensor, "B L"], s: Level, t: Level
    ) -> Float[Tensor, "B L V"]:
        """Probabilities of z_s given z_t, with the prediction ``p`` in place of x; s < t.

        It is q(z_t | z_s) q_s(z_s) / q_t(z_t), where q_s = alpha_s p + beta_s pi_s.

        Raises:
            ValueError: unless s < t.
        """
        (s, _), (t, _) = self._times(s), self._times(t)
        if not (s < t).all():
            raise ValueError(f"s={s.max():g} is not below t={t.min():g}")
        alpha_s, alpha_t = (self.alpha(time).to(p.device).reshape(-1, 1, 1) for time in (s, t))
        law_s, law_t = (
            self.noise(time).to(p.device).reshape(-1, 1, self.vocab_size) for time in (s, t)
        )
        kept = alpha_t / alpha_s
        own = z_t[..., None]
        # Of all z_s, the one that shows z_t has one way more to come to z_t.
        changed = (law_t - kept * law_s).expand(*z_t.shape, -1).gather(-1, own)
        at_s = alpha_s * p.double() + law_s
        joint = changed * at_s
        joint.scatter_add_(-1, own, kept * at_s.gather(-1, own))
        return (joint / joint.sum(-1, keepdim=True)).to(p.dtype)

    def token_log_odds(self, z_t: Int[Tensor, "B L"], t: Level) -> Float[Tensor, "B L"]:
        """log(1 + alpha_t / (beta_t pi_t)(z_t)): how far z_t speaks for x = z_t; 0 at masks."""
        ratio = self.alpha(t)[..., None] / self.noise(t)
        ratio[..., self.mask_id] = 0  # no clean token is the mask
        ratio = ratio.to(z_t.device).reshape(-1, self.vocab_size).expand(len(z_t), -1)
        return torch.log1p(ratio.gather(1, z_t))

    def dynamic_excess(self, z_t: Int[Tensor, "B L"], t: Level) -> Float[Tensor, "B L"]:
        """log r(t), what GIDD's "dynamic" weights add to the log-odds of z_t; 0 at masks.

        The weights are not those of the NELBO. At a token that is no mask their optimum is the
        leave-one-out conditional with the odds of that token times
        r(t) = sqrt((1 - alpha_t) / alpha_t) sqrt((1 - t) / t) (version 1.0.0 of the published
        code, which presumably trained the public models).
        """
        t, c = self._times(t)
        excess = torch.log1p(c / t) / 2  # (1 - alpha_t) / alpha_t = (t + c_t) / (1 - t)
        excess = excess.to(z_t.device).reshape(-1, 1).expand(z_t.shape)
        return excess.masked_fill(z_t == self.mask_id, 0)

    def _times(self, t: Level) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Times, and c_t."""
        t = torch.as_tensor(t, dtype=torch.float64)
        inside = (t > 0) & (t < 1)
        if not inside.all():
            raise ValueError(f"t={t[~inside].flatten()[0].item():g} is outside (0, 1)")
        return t, self._ratio * torch.sqrt(t * (1 - t))
