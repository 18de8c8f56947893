"""The reverse step and the probes from hidden states: logits exist for a few tokens at a time, never (B, L, V).

Arguments that all functions share: ``hidden``, hidden states of shape (B, L, D); ``weight`` and ``bias`` of the output
layer, shapes (V, D) and (V,), the bias possibly None.
"""

import torch

from uddm_lib.diffusion import _chunks
from uddm_lib.diffusion._levels import level, mixture

__all__ = ["fused_entropy", "fused_reverse_step", "fused_sharpness", "most_probable", "undecided"]

_BLOCK = 256  # tokens that the inverse of a distribution function skips at once


def undecided(u, z_t, alpha_s, alpha_t):
    """Which tokens of a reverse step depend on the prediction, given the uniform draws that decide it.

    A token stays with a weight of at least alpha_t (1 - alpha_s) / alpha_s whatever is predicted: when its draw falls
    there, the prediction is not needed.

    Args:
        u: uniform draws in [0, 1), float64, shape (B, L), the ones handed to :func:`fused_reverse_step`.
        z_t: noisy tokens, shape (B, L).
        alpha_s, alpha_t: noise levels of the step's end and start.

    Returns:
        Booleans of shape (B, L).
    """
    keep, draw, uniform = mixture(z_t, alpha_s, alpha_t)
    return ~_stays(u, keep, draw + uniform)


@torch.no_grad()
def fused_reverse_step(
    hidden, weight, bias, z_t, alpha_s, alpha_t, generator=None, greedy=False, u=None
):
    """One reverse step from hidden states: the law of :func:`uddm_lib.diffusion.reverse_step`, no (B, L, V) tensor.

    One uniform draw a token chooses among staying, p and uniform, and then, rescaled, the token: logits are computed
    for tokens that are not bound to stay (:func:`undecided`), a distribution function for those that draw from p.

    Args:
        hidden: hidden states at (z_t, sigma_t), shape (B, L, D).
        weight, bias: of the output layer, shapes (V, D) and (V,); the bias may be None.
        z_t: noisy tokens, shape (B, L).
        alpha_s, alpha_t: noise levels of the step's end and start, alpha_s >= alpha_t > 0.
        generator: source of randomness, on the device of ``z_t``.
        greedy: take the posterior's mode in place of a draw.
        u: the uniform draws, float64 of shape (B, L), in place of ``generator``.

    Returns:
        Tokens z_s of shape (B, L).

    Raises:
        ValueError: if the noise levels are out of range or in the wrong order.
    """
    keep, draw, uniform = mixture(z_t, alpha_s, alpha_t)
    if greedy:
        asked = draw > keep  # the others stay: p_top - p[z_t] is at most one
    else:
        if u is None:
            u = torch.rand(z_t.shape, generator=generator, device=z_t.device, dtype=torch.float64)
        asked = ~_stays(u, keep, draw + uniform)
    per_p_z = len(weight) * level(
        alpha_t, z_t, "alpha_t"
    )  # weight of staying for each unit of p[z_t]
    z_s = z_t.clone()
    rows = asked.nonzero(as_tuple=True)
    parts = [tensor[rows] for tensor in (z_t, keep, draw, uniform, per_p_z)] + (
        [] if greedy else [u[rows]]
    )
    choose = _greedy if greedy else _stochastic
    if chosen := _chunks.over_logits(choose, hidden[rows], weight, bias, *parts):
        z_s[rows] = torch.cat(chosen)
    return z_s


@torch.no_grad()
def most_probable(hidden, weight, bias):
    """The most probable tokens, shape (B, L), of hidden states (B, L, D), from a few logits at a time."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    found = _chunks.over_logits(lambda logits: logits.argmax(-1), flat, weight, bias)
    return torch.cat(found).view(hidden.shape[:-1])


@torch.no_grad()
def fused_entropy(hidden, weight, bias):
    """Conditional entropy of the predictions (paper eq. (13)) from hidden states, without a (B, L, V) tensor.

    Args:
        hidden: hidden states, shape (B, L, D).
        weight, bias: of the output layer, shapes (V, D) and (V,); the bias may be None.

    Returns:
        Nats, shape (B, L), float64 for float64 inputs, else float32.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    found = _chunks.over_logits(lambda logits: _entropy(logits)[0], flat, weight, bias)
    return torch.cat(found).view(hidden.shape[:-1])


@torch.no_grad()
def fused_sharpness(hidden, weight, bias):
    """Entropy (nats), sum_v p(1 - p), and the largest minus the second largest probability (paper appendix C).

    Arguments as in :func:`fused_entropy`.

    Returns:
        Shape (3, B, L).
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    return torch.cat(_chunks.over_logits(_sharpness, flat, weight, bias), -1).view(
        3, *hidden.shape[:-1]
    )


def _stays(u, stay, leave):
    # In this form rounding keeps the order: a token that stays at the least weight of staying stays at every other.
    return u * leave < (1 - u) * stay


def _sharpness(logits):
    """Entropy, sum p(1 - p), and the gap (3, n) of logits (n, V), which are overwritten."""
    first, second = logits.topk(2).values.unbind(-1)
    entropy, e, total = _entropy(logits)
    variance = 1 - torch.linalg.vecdot(e, e) / total.square()
    return torch.stack([entropy, variance, -torch.expm1(second - first) / total])


def _entropy(logits):
    """Entropy (n,) of logits (n, V), which are overwritten; exp(logits - largest); and its sums (n,)."""
    below = logits.sub_(logits.amax(-1, keepdim=True))
    e = below.exp()
    total = e.sum(-1)
    return total.log() - torch.linalg.vecdot(e, below) / total, e, total


def _greedy(logits, z_t, keep, draw, uniform, per_p_z):
    """The mode of the posterior: z_t or that of p."""
    e, _, total = _chunks.exponentials(logits)
    p_z = e.gather(-1, z_t[:, None])[:, 0].double() / total[:, 0]
    p_top = 1 / total[:, 0].double()
    return torch.where(draw * (p_top - p_z) > keep + per_p_z * p_z, e.argmax(-1), z_t)


def _stochastic(logits, z_t, keep, draw, uniform, per_p_z, u):
    """A draw from the posterior by the uniform draws ``u``."""
    vocab_size = logits.shape[-1]
    e, _, total = _chunks.exponentials(logits)
    stay = keep + per_p_z * e.gather(-1, z_t[:, None])[:, 0].double() / total[:, 0]
    moves = ~_stays(u, stay, draw + uniform)
    excess = u * (stay + draw + uniform) - stay
    from_p = moves & (excess < draw)
    noise = ((excess - draw) / uniform * vocab_size).nan_to_num(0).long().clamp(0, vocab_size - 1)
    z_s = torch.where(moves, noise, z_t)
    rows = from_p.nonzero()[:, 0]
    z_s[rows] = _inverse_cdf(e[rows], (excess / draw)[rows])
    return z_s


def _inverse_cdf(weights, share):
    """Tokens (k,) at which the distribution functions of ``weights`` (k, V) reach the shares (k,) in [0, 1).

    Two levels, first over blocks of tokens: only (k, V / 256) and (k, 256) sums are in float64.
    """
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % _BLOCK)).unflatten(
        -1, (-1, _BLOCK)
    )
    block, share = _reach(blocks.sum(-1), share)
    inner, _ = _reach(blocks[torch.arange(len(blocks), device=block.device), block], share)
    return block * _BLOCK + inner


def _reach(mass, share):
    """Where the cumulated ``mass`` (k, m) first exceeds a share of its sum, and how far into that entry, in [0, 1]."""
    reached = mass.double().cumsum(-1)
    # Short of the sum, so that an entry of zero mass is never taken.
    target = share.clamp(0, 1 - 2**-52)[:, None] * reached[:, -1:]
    index = torch.searchsorted(reached, target, right=True)
    size = mass.gather(-1, index).double()
    return index[:, 0], (1 - (reached.gather(-1, index) - target) / size)[:, 0]
