"""Uniform-state discrete diffusion (paper section 2) in readable forms.

All are pure functions of tokens, predictions and noise levels. Shapes: B sequences of L tokens from
a vocabulary of V. Noise levels (``alpha_t``, ``alpha_s``, ``dalpha_t``) are numbers or tensors of
shape (), (B,), (B, 1) or (B, L). They stay in float64 until they meet a large tensor. Randomness
comes from the ``generator`` alone.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.diffusion._levels import ReverseWeights, level, open_level, token_weights
from uddm_lib.schedule import Level


def corrupt(
    x: Int[Tensor, "B L"],
    alpha_t: Level,
    vocab_size: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "B L"]:
    """Draw z_t from the forward process q(z_t | x) = Cat(alpha_t x + (1 - alpha_t) / V), eq. (1).

    A token that is not kept is redrawn uniformly from all V tokens, so it can come back as itself.

    Args:
        x: clean tokens in [0, V).
        alpha_t: share of tokens kept, in [0, 1].
        vocab_size: V.
        generator: source of randomness, on the device of ``x``.

    Returns:
        Noisy tokens z_t.

    Raises:
        ValueError: if a token or a noise level is outside its range.
    """
    _checks.tokens("x", x, vocab_size)
    alpha_t = level("alpha_t", alpha_t, x)
    draw = torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.float64)
    noise = torch.randint(vocab_size, x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.where(draw < 1 - alpha_t, noise, x)


def corrupt_share(
    x: Int[Tensor, "B L"],
    share: float,
    vocab_size: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "B L"]:
    """Replace a share of each sequence's tokens, at random positions, by other tokens.

    Unlike :func:`corrupt`, exactly round(share L) tokens a sequence differ from x.

    Raises:
        ValueError: if ``share`` is outside [0, 1].
    """
    check_share(share)
    rank = torch.rand(x.shape, generator=generator, device=x.device).argsort(1).argsort(1)
    shift = torch.randint(1, vocab_size, x.shape, generator=generator, device=x.device)
    return torch.where(rank < round(share * x.shape[1]), (x + shift) % vocab_size, x)


def check_share(share: float) -> None:
    """Raise ValueError if a share is outside [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"share={share!r} is outside [0, 1]")


def posterior(
    p: Float[Tensor, "B L V"], z_t: Int[Tensor, "B L"], alpha_s: Level, alpha_t: Level
) -> Float[Tensor, "B L V"]:
    """Reverse posterior q(z_s | z_t, x) with the prediction ``p`` in place of x, paper eq. (2).

    Args:
        p: probabilities of the clean tokens (a one-hot x gives the true posterior).
        z_t: noisy tokens.
        alpha_s, alpha_t: noise levels of the step's end and start, alpha_s >= alpha_t > 0.

    Returns:
        Probabilities of z_s.

    Raises:
        ValueError: if the noise levels are out of range or in the wrong order.
    """
    keep, draw, uniform, alpha = token_weights(z_t, alpha_s, alpha_t)
    vocab_size = p.shape[-1]
    p_z = p.gather(-1, z_t[..., None])[..., 0]
    stay = vocab_size * alpha * p_z + keep
    total = stay + draw + uniform
    probs = (draw / total)[..., None] * p + (uniform / (vocab_size * total))[..., None]
    probs = probs.to(p.dtype)
    return probs.scatter_add(-1, z_t[..., None], (stay / total)[..., None].to(p.dtype))


def nelbo(
    logits: Float[Tensor, "B L V"],
    z_t: Int[Tensor, "B L"],
    x: Int[Tensor, "B L"],
    alpha_t: Level,
    dalpha_t: Level,
) -> Float[Tensor, "B L"]:
    """Integrand of the negative evidence lower bound per token, paper eq. (3), in nats.

    Let xbar = V alpha_t x + (1 - alpha_t), and xbar_theta likewise with the prediction. The sum
    over the vocabulary needs only sum_j log xbar_theta_j and xbar_theta at z_t and at x. Logarithms
    are taken of the ratios xbar_theta / (1 - alpha_t), which keeps the digits that a small alpha_t
    would lose. The loss is the average over t, z_t and x, summed over positions.

    Args:
        logits: predictions; computed in float64, whatever their dtype.
        z_t: noisy tokens.
        x: clean tokens.
        alpha_t: noise level in (0, 1).
        dalpha_t: its derivative d alpha_t / dt, negative.

    Returns:
        Nats per token, float64 for float64 logits, else float32.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1): at its ends the integrand has no finite
            value.
    """
    alpha, dalpha = open_level(alpha_t, dalpha_t, x)
    rest = 1 - alpha
    vocab_size = logits.shape[-1]
    log_p = logits.double().log_softmax(-1)
    ratio = vocab_size * alpha / rest
    sum_log = torch.log1p(ratio[..., None] * log_p.exp()).sum(-1)
    log_p_z = log_p.gather(-1, z_t[..., None])[..., 0]
    log_p_x = log_p.gather(-1, x[..., None])[..., 0]
    log_z, log_x = torch.log1p(ratio * log_p_z.exp()), torch.log1p(ratio * log_p_x.exp())
    same = z_t == x

    # V / xbar_z - V / xbar_theta_z: they share a numerator that vanishes as p -> x.
    xbar_z = rest * torch.where(same, 1 + ratio, torch.ones_like(ratio))
    numerator = vocab_size * alpha * torch.where(same, torch.expm1(log_p_z), log_p_z.exp())
    fractions = vocab_size * numerator / (xbar_z * rest * torch.exp(log_z))
    # The sum of xbar_j log(xbar_theta_z / xbar_theta_j), and that of xbar_j log(xbar_j / xbar_z).
    predicted = vocab_size * log_z - vocab_size * alpha * log_x - rest * sum_log
    log_true = torch.log1p(ratio)
    true = torch.where(
        same, -(vocab_size - 1) * rest * log_true, (vocab_size * alpha + rest) * log_true
    )
    value = dalpha / (vocab_size * alpha) * (fractions - (predicted + true) / xbar_z)
    return value.to(torch.promote_types(logits.dtype, torch.float32))


def reverse_step(
    logits: Float[Tensor, "B L V"],
    z_t: Int[Tensor, "B L"],
    alpha_s: Level,
    alpha_t: Level,
    generator: torch.Generator | None = None,
    greedy: bool = False,
) -> Int[Tensor, "B L"]:
    """One step of the reverse process from t to s < t, paper eq. (2), without a posterior table.

    The plug-in posterior is a mixture of three: stay at z_t, draw from p = softmax(logits), draw
    uniformly. A component is chosen, then the token drawn; the law is that of :func:`posterior`.
    The greedy step takes the posterior's mode, which is either z_t or the mode of p.

    Args:
        logits: predictions at (z_t, sigma_t).
        z_t: noisy tokens.
        alpha_s, alpha_t: noise levels of the step's end and start, alpha_s >= alpha_t > 0.
        generator: source of randomness, on the device of ``z_t``.
        greedy: take the most probable token in place of a draw.

    Returns:
        Tokens z_s.

    Raises:
        ValueError: if the noise levels are out of range or in the wrong order.
    """
    weights = token_weights(z_t, alpha_s, alpha_t)
    return step_from_logits(logits, z_t, weights, generator, greedy)


def step_from_logits(
    logits: Float[Tensor, "B L V"],
    z_t: Int[Tensor, "B L"],
    weights: ReverseWeights,
    generator: torch.Generator | None = None,
    greedy: bool = False,
) -> Int[Tensor, "B L"]:
    """:func:`reverse_step` by weights that broadcast to (B, L); nothing is checked."""
    keep, draw, uniform, alpha = weights
    vocab_size = logits.shape[-1]
    p = (logits if logits.dtype == torch.float64 else logits.float()).softmax(-1)
    p_z = p.gather(-1, z_t[..., None])[..., 0].double()
    stay = vocab_size * alpha * p_z + keep
    if greedy:
        p_top, top = p.max(-1)
        return torch.where(draw * (p_top.double() - p_z) > stay, top, z_t)
    u = torch.rand(z_t.shape, generator=generator, device=z_t.device, dtype=torch.float64)
    u = u * (stay + draw + uniform)
    from_p = (u >= stay) & (u < stay + draw)
    z_s = z_t.clone()
    if from_p.any():
        z_s[from_p] = torch.multinomial(p[from_p], 1, generator=generator)[:, 0]
    noise = torch.randint(
        vocab_size, z_t.shape, generator=generator, device=z_t.device, dtype=z_t.dtype
    )
    return torch.where(u >= stay + draw, noise, z_s)


def entropy(logits: Float[Tensor, "B L V"]) -> Float[Tensor, "B L"]:
    """Conditional entropy of the predictions in nats, -sum_v p_v log p_v (paper eq. (13))."""
    return torch.special.entr(logits.softmax(-1)).sum(-1)


def sharpness(logits: Float[Tensor, "B L V"]) -> Float[Tensor, "3 B L"]:
    """Entropy (nats), sum_v p (1 - p), and the largest minus the second largest probability."""
    p = logits.softmax(-1)
    first, second = p.topk(2).values.unbind(-1)
    return torch.stack([torch.special.entr(p).sum(-1), (p * (1 - p)).sum(-1), first - second])
