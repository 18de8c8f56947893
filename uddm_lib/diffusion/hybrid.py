"""The hybrid noise of GIDD: tokens turn into a mask or into any other token.

Generalized interpolating discrete diffusion (von Rütte et al. 2025, arXiv 2503.04482): a clean
token x becomes q_t(z | x) = alpha_t [z = x] + (beta_t pi_t)(z), where pi_t mixes the mask and the
uniform law over all other tokens.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.diffusion.step import inverse_cdf, uniform_draws
from uddm_lib.schedule import Level, LogLinearSchedule

__all__ = ["T_EPS", "HybridNoise", "HybridSteps"]

T_EPS = 1e-4  # of the published models


class HybridNoise:
    """Hybrid noise: alpha_t = (1 - t) / C_t, beta_t pi_t = (t [mask] + c_t uniform) / C_t.

    Here C_t = 1 + c_t and c_t = 2 p / (1 - p) sqrt(t (1 - t)). Times are in (0, 1), numbers or
    tensors of shape (), (B,) or (B, 1); everything is in float64. Models
    are told t itself.

    Args:
        p_uniform: p, the share of uniform noise at t = 1/2, in [0, 1). As in the published code it
            is at least exp(-20).
        vocab_size: V, with the mask.
        mask_id: the mask, which the uniform part leaves out.
        t_eps: models are trained from t_eps to 1 - t_eps, in (0, 1/2).

    Raises:
        ValueError: if an argument or a time is outside its range.
    """

    def __init__(
        self, p_uniform: float, vocab_size: int, mask_id: int, t_eps: float = T_EPS
    ) -> None:
        if not 0 <= p_uniform < 1:
            raise ValueError(f"p_uniform={p_uniform!r} is outside [0, 1)")
        if not 0 < t_eps < 0.5:
            raise ValueError(f"t_eps={t_eps!r} is outside (0, 1/2)")
        self.vocab_size = _checks.integer("vocab_size", vocab_size, 3)
        self.mask_id = _checks.integer("mask_id", mask_id, 0, vocab_size - 1)
        self.t_eps = t_eps
        share = max(p_uniform, math.exp(-20))
        self._ratio = 2 * share / (1 - share)

    def alpha(self, t: Level) -> Float[Tensor, "..."]:
        """Share of tokens that are kept, alpha_t; at t = 0 it is 1, at t = 1 it is 0."""
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

    def level(self, t: Level) -> Float[Tensor, "..."]:
        """What a model is told of the noise: t."""
        return self._times(t)[0]

    def like_uniform(self, t: float) -> float:
        """The time at which as many tokens are kept as under uniform noise at t, from t_eps on."""
        alpha, low, high = LogLinearSchedule().alpha(t), 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.alpha(middle) > alpha else (low, middle)
        return max(high, self.t_eps)

    def start(
        self,
        n: int,
        length: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Int[Tensor, "{n} {length}"]:
        """What is left of any sequences at t = 1: masks."""
        return torch.full((n, length), self.mask_id, device=device)

    def steps(self, times: Float[Tensor, " T"]) -> tuple[Float[Tensor, " T"], "HybridSteps"]:
        """The times that models are trained at, and the reverse steps from each to the next.

        The last step ends at t = 0.
        """
        times = times.clamp(self.t_eps, 1 - self.t_eps).unique_consecutive()
        return times, HybridSteps(self, torch.cat([times[1:], times.new_zeros(1)]), times)

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
        noise = torch.randint(
            self.vocab_size - 1, x.shape, generator=generator, device=x.device, dtype=x.dtype
        )
        noise = noise + (noise >= self.mask_id)
        replaced = torch.where(draw < masked, self.mask_id, noise)
        return torch.where(draw < alpha, x, replaced)

    def posterior(
        self, p: Float[Tensor, "B L V"], z_t: Int[Tensor, "B L"], s: Level, t: Level
    ) -> Float[Tensor, "B L V"]:
        """Probabilities of z_s given z_t, with the prediction ``p`` in place of x; s < t.

        It is q(z_t | z_s) q_s(z_s) / q_t(z_t), where q_s = alpha_s p + beta_s pi_s. At s = 0 it is
        what all noisy tokens tell of the clean one, where ``p`` is what the others tell.

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

    def nelbo(
        self,
        log_p: Float[Tensor, "B L V"],
        z_t: Int[Tensor, "B L"],
        x: Int[Tensor, "B L"],
        t: Level,
    ) -> Float[Tensor, "B L"]:
        """Integrand of the negative evidence lower bound per token, in nats.

        With q = q_t(. | x), and q' the same with the prediction in place of x, it is
        r (KL(q || q') + q(z_t) / q'(z_t) - 1 - log(q(z_t) / q'(z_t))). Here r is the rate of
        changes to z_t, over q(z_t) (GIDD, arXiv 2503.04482, without its constants). Its average
        over t in (0, 1), x and z_t, summed over positions, bounds -log p(x).

        Args:
            log_p: log-probabilities of clean tokens, float64; -inf at the mask.
            z_t: noisy tokens.
            x: clean tokens.
            t: the time.
        """
        t, c = (part.to(x.device).reshape(-1, 1) for part in self._open(t))
        alpha, each = (1 - t) / (1 + c), c / (1 + c) / (self.vocab_size - 1)
        rate = torch.where(z_t == self.mask_id, 1.0, 0.5) / (t * (1 - t))
        return bound_of(log_p, z_t, x, alpha, each, rate)

    def token_log_odds(self, z_t: Int[Tensor, "B L"], t: Level) -> Float[Tensor, "B L"]:
        """log(1 + alpha_t / (beta_t pi_t)(z_t)): how far z_t speaks for x = z_t; 0 at masks."""
        ratio = self.alpha(self._open(t)[0])[..., None] / self.noise(t)
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
        t, c = self._open(t)
        excess = torch.log1p(c / t) / 2  # (1 - alpha_t) / alpha_t = (t + c_t) / (1 - t)
        excess = excess.to(z_t.device).reshape(-1, 1).expand(z_t.shape)
        return excess.masked_fill(z_t == self.mask_id, 0)

    def _times(self, t: Level) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Times, and c_t."""
        t = torch.as_tensor(t, dtype=torch.float64)
        inside = (t >= 0) & (t <= 1)
        if not inside.all():
            raise ValueError(f"t={t[~inside].flatten()[0].item():g} is outside [0, 1]")
        return t, self._ratio * torch.sqrt(t * (1 - t))

    def _open(self, t: Level) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """The same, without the ends."""
        t, c = self._times(t)
        if ((t == 0) | (t == 1)).any():
            raise ValueError(f"t={t.min():g} to {t.max():g} is not inside (0, 1)")
        return t, c


class HybridSteps(NamedTuple):
    """Reverse steps under hybrid noise, or one of them: from t to s."""

    noise: HybridNoise
    s: Float[Tensor, "..."]
    t: Float[Tensor, "..."]

    def on(self, device: torch.device) -> "HybridSteps":
        """The steps on a device."""
        return HybridSteps(self.noise, self.s.to(device), self.t.to(device))

    def at(self, i: int) -> "HybridSteps":
        """The i-th of several steps."""
        return HybridSteps(self.noise, self.s[i], self.t[i])

    def can_change(self, greedy: bool) -> tuple[bool, ...]:
        """Whether each step can change a token."""
        return (True,) * len(self.t)

    def take(
        self,
        log_p: Float[Tensor, "B L V"],
        z_t: Int[Tensor, "B L"],
        generator: torch.Generator | None = None,
        greedy: bool = False,
    ) -> Int[Tensor, "B L"]:
        """z_s: drawn from the posterior, or its mode."""
        probs = self.noise.posterior(log_p.exp(), z_t, self.s, self.t)
        if greedy:
            return probs.argmax(-1)
        u = uniform_draws(z_t, generator)
        return inverse_cdf(probs.flatten(0, 1), u.flatten()).view(z_t.shape)


def bound_of(
    log_p: Float[Tensor, "B L V"],
    z_t: Int[Tensor, "B L"],
    x: Int[Tensor, "B L"],
    alpha: Float[Tensor, "..."],
    each: Float[Tensor, "..."],
    rate: Float[Tensor, "B #L"],
) -> Float[Tensor, "B L"]:
    """The integrand of :meth:`HybridNoise.nelbo`, for any noise that has all clean tokens alike.

    Args:
        log_p: log-probabilities of clean tokens, -inf at those that there are not.
        z_t, x: noisy and clean tokens.
        alpha: share of tokens that are kept.
        each: probability of the noise for a clean token.
        rate: of changes to z_t, over the probability of the noise for z_t.
    """
    ratio = alpha / each
    log_z, log_x = (
        torch.log1p(ratio * log_p.gather(-1, own[..., None])[..., 0].exp()) for own in (z_t, x)
    )
    most, total = torch.log1p(ratio), torch.log1p(ratio[..., None] * log_p.exp()).sum(-1)
    divergence = (alpha + each) * most - alpha * log_x - each * total
    same = z_t == x
    log_ratio = torch.where(same, most, 0.0) - log_z  # of q(z_t) to q'(z_t)
    weight = rate / torch.where(same, 1 + ratio, 1.0)
    return weight * (divergence + torch.expm1(log_ratio) - log_ratio)
