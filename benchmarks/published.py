"""The published formulation, plainly, by (B, L, V) tensors: what ours is measured against."""

import torch


def nelbo(logits, z_t, x, alpha_t, dalpha_t):
    """Paper eq. (3), float32, per token (B, L), in the form of the released code.

    Only xbar_theta is over V. In the sum over j, xbar_j = 1 - alpha_t but at x, so it needs the sum
    of log xbar_theta_j and single entries.
    """
    p = logits.float().log_softmax(-1).exp()
    vocab_size = p.shape[-1]
    alpha_t, dalpha_t = alpha_t.float()[:, None], dalpha_t.float()[:, None]
    rest, kept = 1 - alpha_t, vocab_size * alpha_t
    xbar_theta = kept[..., None] * p + rest[..., None]
    theta_z = xbar_theta.gather(-1, z_t[..., None])[..., 0]
    theta_x = xbar_theta.gather(-1, x[..., None])[..., 0]
    xbar_z = kept * (z_t == x) + rest
    own = (vocab_size - 1) * rest * rest.log() + (kept + rest) * (kept + rest).log()
    cross = (
        vocab_size * (theta_z.log() - xbar_z.log())
        - rest * xbar_theta.log().sum(-1)
        - kept * theta_x.log()
    )
    return dalpha_t / kept * (vocab_size / xbar_z - vocab_size / theta_z - (cross + own) / xbar_z)


def reverse_step(logits, z_t, alpha_s, alpha_t, generator):
    """A draw from paper eq. (2) by Gumbel noise on a float64 posterior (B, L, V)."""
    p = logits.double().softmax(-1)
    vocab_size = p.shape[-1]
    ratio = alpha_t / alpha_s
    one_hot = torch.nn.functional.one_hot(z_t, vocab_size).to(p.dtype)
    p_z = p.gather(-1, z_t[..., None])
    posterior = (
        vocab_size * alpha_t * p * one_hot
        + (ratio - alpha_t) * one_hot
        + (alpha_s - alpha_t) * p
        + (1 - ratio) * (1 - alpha_s) / vocab_size
    ) / (vocab_size * alpha_t * p_z + 1 - alpha_t)
    noise = torch.rand(
        posterior.shape, generator=generator, dtype=torch.float64, device=posterior.device
    )
    return (posterior / (1e-10 - (noise + 1e-10).log())).argmax(-1)
