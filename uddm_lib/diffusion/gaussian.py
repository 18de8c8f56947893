"""Gaussian latents whose argmax is a uniform-state noisy token (paper appendix B)."""

import torch

from uddm_lib.diffusion._levels import check_tokens


def gaussian_latent(x, gamma, vocab_size, generator=None, tau=1e-3, keep=16):
    """Draw the Gaussian latent whose argmax is a uniform-state z_t, as softmax(w / tau) (paper appendix B).

    w = a x + s eps over the vocabulary, with a^2 = sigmoid(-gamma), s^2 = sigmoid(gamma). At a small tau only
    entries near the maximum weigh anything, so only w at x and the largest ``keep`` of the others are drawn, by the
    law of order statistics: no (B, L, V) is made. At V = 30,522 and the defaults what is left out weighs less
    than 1e-9.

    Args:
        x: clean tokens, integers of shape (B, L) in [0, V).
        gamma: minus the log signal-to-noise ratio, shape (), (B,), (B, 1) or (B, L).
        vocab_size: V.
        generator: source of randomness, on the device of ``x``.
        tau: temperature of the softmax, positive.
        keep: entries besides x, K - 1; all V - 1 others if there are fewer.

    Returns:
        z_t (B, L), whose law is that of :func:`corrupt` at alpha_t = ``schedule.duality_alpha(gamma, V)``; tokens
        (B, L, K), x first; and their weights, float64 (B, L, K), which sum to one.

    Raises:
        ValueError: if ``tau`` is not positive, ``keep`` below 1, or a token outside the vocabulary.
    """
    if tau <= 0 or keep < 1:
        raise ValueError(f"tau={tau!r}, keep={keep!r}: tau must be positive, keep at least 1")
    check_tokens(x, vocab_size)
    gamma = torch.as_tensor(gamma, dtype=torch.float64, device=x.device)
    gamma = (gamma[:, None] if gamma.ndim == 1 else gamma).expand(x.shape)
    signal, noise = torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
    others, keep = vocab_size - 1, min(keep, vocab_size - 1)
    draw = {"generator": generator, "device": x.device}
    own = signal + noise * torch.randn(x.shape, dtype=torch.float64, **draw)
    # The largest of m uniforms is U^(1/m), the next that times U'^(1/(m-1)), ...; their tails give the normals.
    gaps = torch.empty(*x.shape, keep, dtype=torch.float64, device=x.device).exponential_(
        generator=generator
    )
    log_uniform = -(gaps / torch.arange(others, others - keep, -1, device=x.device)).cumsum(-1)
    largest = -torch.special.ndtri(-torch.expm1(log_uniform))
    w = torch.cat([own[..., None], noise[..., None] * largest], -1)
    # Which tokens have them: a set of distinct ones (Floyd's algorithm) in random order, x skipped.
    chosen = torch.empty(*x.shape, 0, dtype=torch.int64, device=x.device)
    for last in range(others - keep, others):
        token = torch.randint(last + 1, (*x.shape, 1), **draw)
        taken = (chosen == token).any(-1, keepdim=True)
        chosen = torch.cat([chosen, torch.where(taken, last, token)], -1)
    chosen = chosen.gather(-1, torch.rand(chosen.shape, **draw).argsort(-1))
    tokens = torch.cat([x[..., None], chosen + (chosen >= x[..., None])], -1)
    z_t = tokens.gather(-1, w.argmax(-1, keepdim=True))[..., 0]
    return z_t, tokens, torch.softmax(w / tau, -1)
