"""The published formulation, written out plainly: (B, L, V) tensors throughout. What ours is measured against."""

import torch


def nelbo(logits, z_t, x, alpha_t, dalpha_t):
    """Paper eq. (3) as it stands, float32: per token (B, L), from tensors over the vocabulary."""
    p = logits.float().log_softmax(-1).exp()
    vocab_size = p.shape[-1]
    alpha_t, dalpha_t = alpha_t.float()[:, None, None], dalpha_t.float()[:, None]
    one_hot = torch.nn.functional.one_hot(x, vocab_size).to(p.dtype)
    xbar = vocab_size * alpha_t * one_hot + 1 - alpha_t
    xbar_theta = vocab_size * alpha_t * p + 1 - alpha_t
    xbar_z = xbar.gather(-1, z_t[..., None])
    theta_z = xbar_theta.gather(-1, z_t[..., None])
    terms = xbar / xbar_z * (theta_z.log() - xbar_theta.log() + xbar.log() - xbar_z.log())
    return dalpha_t / (vocab_size * alpha_t[..., 0]) * (
        vocab_size / xbar_z[..., 0] - vocab_size / theta_z[..., 0] - terms.sum(-1))


def reverse_step(logits, z_t, alpha_s, alpha_t, generator):
    """A draw from paper eq. (2) with the prediction in place of x: a float64 posterior (B, L, V), Gumbel noise."""
    p = logits.double().softmax(-1)
    vocab_size = p.shape[-1]
    ratio = alpha_t / alpha_s
    one_hot = torch.nn.functional.one_hot(z_t, vocab_size).to(p.dtype)
    p_z = p.gather(-1, z_t[..., None])
    posterior = (vocab_size * alpha_t * p * one_hot + (ratio - alpha_t) * one_hot + (alpha_s - alpha_t) * p
                 + (1 - ratio) * (1 - alpha_s) / vocab_size) / (vocab_size * alpha_t * p_z + 1 - alpha_t)
    noise = torch.rand(posterior.shape, generator=generator, dtype=torch.float64)
    return (posterior / (1e-10 - (noise + 1e-10).log())).argmax(-1)
