"""Uniform-state discrete diffusion (paper section 2): pure functions of tokens, predictions and noise levels.

Shapes: B sequences of L tokens from a vocabulary of V. Noise levels (``alpha_t``, ``alpha_s``, ``dalpha_t``)
are numbers or tensors of shape (), (B,), (B, 1) or (B, L); they are kept in float64 until they meet a large
tensor. Randomness comes from the ``generator`` alone. These are the readable forms.
"""

import torch

from uddm_lib.diffusion._levels import check_tokens, level, mixture, open_level


def corrupt(x, alpha_t, vocab_size, generator=None):
    """Draw z_t from the forward process q(z_t | x) = Cat(alpha_t x + (1 - alpha_t) / V), paper eq. (1).

    A token that is not kept is redrawn uniformly from all V tokens, so it can come back as itself.

    Args:
        x: clean tokens, integers of shape (B, L) in [0, V).
        alpha_t: share of tokens kept, in [0, 1].
        vocab_size: V.
        generator: source of randomness, on the device of ``x``.

    Returns:
        Noisy tokens z_t of shape (B, L).

    Raises:
        ValueError: if a token or a noise level is outside its range.
    """
    check_tokens(x, vocab_size)
    alpha_t = level(alpha_t, x, "alpha_t")
    draw = torch.rand(x.shape, generator=generator, device=x.device, dtype=torch.float64)
    noise = torch.randint(vocab_size, x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.where(draw < 1 - alpha_t, noise, x)


def corrupt_share(x, share, vocab_size, generator=None):
    """Replace a share of each sequence's tokens, at random positions, by other tokens drawn uniformly.

    Unlike :func:`corrupt`, exactly round(share L) tokens a sequence differ from x.

    Returns:
        Corrupted tokens of shape (B, L).

    Raises:
        ValueError: if ``share`` is outside [0, 1].
    """
    check_share(share)
    rank = torch.rand(x.shape, generator=generator, device=x.device).argsort(1).argsort(1)
    shift = torch.randint(1, vocab_size, x.shape, generator=generator, device=x.device)
    return torch.where(rank < round(share * x.shape[1]), (x + shift) % vocab_size, x)


def posterior(p, z_t, alpha_s, alpha_t):
    """Reverse posterior q(z_s | z_t, x) with the prediction ``p`` in place of x, paper eq. (2): the readable form.

    Args:
        p: probabilities of the clean tokens, shape (B, L, V) (a one-hot x gives the true posterior).
        z_t: noisy tokens of shape (B, L).
        alpha_s, alpha_t: noise levels of the step's end and start, alpha_s >= alpha_t > 0.

    Returns:
        Probabilities of z_s, shape (B, L, V).

    Raises:
        ValueError: if the noise levels are out of range or in the wrong order.
    """
    keep, draw, uniform = mixture(z_t, alpha_s, alpha_t)
    alpha_t = level(alpha_t, z_t, "alpha_t")
    vocab_size = p.shape[-1]
    p_z = p.gather(-1, z_t[..., None])[..., 0]
    stay = vocab_size * alpha_t * p_z + keep
    total = stay + draw + uniform
    probs = (draw / total)[..., None] * p + (uniform / (vocab_size * total))[..., None]
    probs = probs.to(p.dtype)
    return probs.scatter_add(-1, z_t[..., None], (stay / total)[..., None].to(p.dtype))


def nelbo(logits, z_t, x, alpha_t, dalpha_t):
    """Integrand of the negative evidence lower bound per token, paper eq. (3): the readable form.

    With xbar = V alpha_t x + (1 - alpha_t) and xbar_theta likewise, the sum over the vocabulary needs only
    sum_j log xbar_theta_j and xbar_theta at z_t and at x. Logarithms are taken of the ratios
    xbar_theta / (1 - alpha_t), which keeps the digits that a small alpha_t would lose; the loss is their
    average over t, z_t and x, summed over positions.

    Args:
        logits: predictions, shape (B, L, V); computed in float64, whatever their dtype.
        z_t: noisy tokens, shape (B, L).
        x: clean tokens, shape (B, L).
        alpha_t: noise level in (0, 1).
        dalpha_t: its derivative d alpha_t / dt, negative.

    Returns:
        Nats per token, shape (B, L), float64 for float64 logits, else float32.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1): at its ends the integrand has no finite value.
    """
    alpha, dalpha = open_level(alpha_t, dalpha_t, x)
    rest = 1 - alpha
    vocab_size = logits.shape[-1]
    log_p = logits.double().log_softmax(-1)
    ratio = vocab_size * alpha / rest
    sum_u = torch.log1p(ratio[..., None] * log_p.exp()).sum(-1)
    log_p_z = log_p.gather(-1, z_t[..., None])[..., 0]
    log_p_x = log_p.gather(-1, x[..., None])[..., 0]
    u_z, u_x = torch.log1p(ratio * log_p_z.exp()), torch.log1p(ratio * log_p_x.exp())
    same = z_t == x

    # Both fractions over the vocabulary, V/xbar_z - V/xbar_theta_z, share a numerator that vanishes as p -> x.
    top = torch.log1p(ratio)
    xbar_z = rest * torch.where(same, 1 + ratio, torch.ones_like(ratio))
    numerator = vocab_size * alpha * torch.where(same, torch.expm1(log_p_z), log_p_z.exp())
    fractions = vocab_size * numerator / (xbar_z * rest * torch.exp(u_z))
    cross = vocab_size * u_z - vocab_size * alpha * u_x - rest * sum_u
    own = torch.where(same, -(vocab_size - 1) * rest * top, (vocab_size * alpha + rest) * top)
    value = dalpha / (vocab_size * alpha) * (fractions - (cross + own) / xbar_z)
    return value.to(torch.promote_types(logits.dtype, torch.float32))


def reverse_step(logits, z_t, alpha_s, alpha_t, generator=None, greedy=False):
    """One step of the reverse process from t to s < t, paper eq. (2), without a table of posteriors.

    The plug-in posterior is a mixture of three: stay at z_t, draw from p = softmax(logits), draw uniformly.
    A component is chosen, then the token drawn; the law is that of :func:`posterior`. The greedy step takes
    the posterior's mode, which is either z_t or the mode of p.

    Args:
        logits: predictions at (z_t, sigma_t), shape (B, L, V).
        z_t: noisy tokens, shape (B, L).
        alpha_s, alpha_t: noise levels of the step's end and start, alpha_s >= alpha_t > 0.
        generator: source of randomness, on the device of ``z_t``.
        greedy: take the most probable token in place of a draw.

    Returns:
        Tokens z_s of shape (B, L).
    """
    keep, draw, uniform = mixture(z_t, alpha_s, alpha_t)
    alpha_t = level(alpha_t, z_t, "alpha_t")
    vocab_size = logits.shape[-1]
    logits = logits if logits.dtype == torch.float64 else logits.float()
    p = logits.softmax(-1)
    p_z = p.gather(-1, z_t[..., None])[..., 0].double()
    stay = vocab_size * alpha_t * p_z + keep
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


def check_share(share):
    if not 0 <= share <= 1:
        raise ValueError(f"share={share!r} is outside [0, 1]")
