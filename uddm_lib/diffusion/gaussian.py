"""Gaussian latents whose argmax is a uniform-state noisy token (paper appendix B)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.schedule import Level


def gaussian_latent(
    x: Int[Tensor, "B L"],
    gamma: Level,
    vocab_size: int,
    generator: torch.Generator | None = None,
    tau: float = 1e-3,
    keep: int = 16,
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L K"], Float[Tensor, "B L K"]]:
    """Draw the Gaussian latent whose argmax is a uniform-state z_t, as softmax(w / tau).

    Over the vocabulary w = a x + s eps, with a^2 = sigmoid(-gamma), s^2 = sigmoid(gamma) (paper
    appendix B). At a small tau only entries near the maximum weigh anything. So only w at x and the
    largest ``keep`` of the others are drawn, by the law of order statistics: no (B, L, V) is made.
    At V = 30,522 and the defaults what is left out weighs less than 1e-9.

    Args:
        x: clean tokens in [0, V).
        gamma: minus the log signal-to-noise ratio, shape (), (B,), (B, 1) or (B, L).
        vocab_size: V.
        generator: source of randomness, on the device of ``x``.
        tau: temperature of the softmax, positive.
        keep: entries besides x, K - 1; all V - 1 others if there are fewer.

    Returns:
        z_t, whose law is that of :func:`corrupt` at alpha_t = ``duality_alpha(gamma, V)``; tokens,
        x first; and their weights, float64, which sum to one.

    Raises:
        ValueError: if ``tau`` is not positive, ``keep`` not a positive integer, or a token outside
            the vocabulary.
    """
    if tau <= 0:
        raise ValueError(f"tau={tau!r} is not positive")
    keep = min(_checks.positive_integer("keep", keep), vocab_size - 1)
    _checks.tokens("x", x, vocab_size)
    gamma = torch.as_tensor(gamma, dtype=torch.float64, device=x.device)
    gamma = (gamma[:, None] if gamma.ndim == 1 else gamma).expand(x.shape)
    signal, noise = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64, device=x.device)
    w_x = signal + noise * eps
    w_others = noise[..., None] * _largest_normals(x, vocab_size - 1, keep, generator)
    w = torch.cat([w_x[..., None], w_others], -1)
    others = _distinct_tokens(x, vocab_size - 1, keep, generator)
    tokens = torch.cat([x[..., None], others + (others >= x[..., None])], -1)  # x is skipped
    z_t = tokens.gather(-1, w.argmax(-1, keepdim=True))[..., 0]
    return z_t, tokens, torch.softmax(w / tau, -1)


def _largest_normals(
    x: Int[Tensor, "B L"], count: int, keep: int, generator: torch.Generator | None
) -> Float[Tensor, "B L {keep}"]:
    """The ``keep`` largest of ``count`` standard normals, for every token, largest first."""
    # The largest of m uniforms is U^(1/m), the next that times U'^(1/(m-1)), and so on; their
    # tails give the normals.
    gaps = torch.empty(*x.shape, keep, dtype=torch.float64, device=x.device)
    gaps.exponential_(generator=generator)
    log_uniform = -(gaps / torch.arange(count, count - keep, -1, device=x.device)).cumsum(-1)
    return -torch.special.ndtri(-torch.expm1(log_uniform))


def _distinct_tokens(
    x: Int[Tensor, "B L"], count: int, keep: int, generator: torch.Generator | None
) -> Int[Tensor, "B L {keep}"]:
    """``keep`` distinct numbers below ``count``, in random order, for every token."""
    # Floyd's algorithm draws a set; its order is not random yet.
    chosen = torch.empty(*x.shape, 0, dtype=torch.int64, device=x.device)
    for last in range(count - keep, count):
        token = torch.randint(last + 1, (*x.shape, 1), generator=generator, device=x.device)
        taken = (chosen == token).any(-1, keepdim=True)
        chosen = torch.cat([chosen, torch.where(taken, last, token)], -1)
    order = torch.rand(chosen.shape, generator=generator, device=x.device).argsort(-1)
    return chosen.gather(-1, order)
