"""The reverse step and the probes from hidden states: never (B, L, V) logits, a few at a time.

Arguments that all functions share: ``hidden``, the hidden states; ``weight`` and ``bias`` of the
output layer, the bias possibly None.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from uddm_lib.diffusion import _chunks
from uddm_lib.diffusion._levels import ReverseWeights, token_weights
from uddm_lib.schedule import Level

_BLOCK = 256  # tokens that the inverse of a distribution function skips at once


def undecided(u: Float[Tensor, "B L"], weights: ReverseWeights) -> Bool[Tensor, "B L"]:
    """Which tokens of a reverse step depend on the prediction, given their uniform draws.

    A token stays at least with the weight ``keep``, whatever is predicted. When its draw falls
    there, the prediction is not needed.

    Args:
        u: uniform draws in [0, 1), float64, the ones handed to :func:`step_from_hidden`.
        weights: of the step; they broadcast to (B, L).
    """
    return ~_stays(u, weights.keep, weights.draw + weights.uniform)


def fused_reverse_step(
    hidden: Float[Tensor, "B L D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    z_t: Int[Tensor, "B L"],
    alpha_s: Level,
    alpha_t: Level,
    generator: torch.Generator | None = None,
    greedy: bool = False,
) -> Int[Tensor, "B L"]:
    """One reverse step from hidden states, by the law of :func:`uddm_lib.diffusion.reverse_step`.

    Args:
        hidden: hidden states at (z_t, sigma_t).
        weight, bias: of the output layer; the bias may be None.
        z_t: noisy tokens.
        alpha_s, alpha_t: noise levels of the step's end and start, alpha_s >= alpha_t > 0.
        generator: source of randomness, on the device of ``z_t``.
        greedy: take the posterior's mode in place of a draw.

    Returns:
        Tokens z_s.

    Raises:
        ValueError: if the noise levels are out of range or in the wrong order.
    """
    weights = token_weights(z_t, alpha_s, alpha_t)
    u = None if greedy else uniform_draws(z_t, generator)
    return step_from_hidden(hidden, weight, bias, z_t, weights, u)


def uniform_draws(
    z_t: Int[Tensor, "B L"], generator: torch.Generator | None
) -> Float[Tensor, "B L"]:
    """Uniform draws in [0, 1), float64, that decide a reverse step."""
    return torch.rand(z_t.shape, generator=generator, device=z_t.device, dtype=torch.float64)


@torch.no_grad()
def step_from_hidden(
    hidden: Float[Tensor, "B L D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    z_t: Int[Tensor, "B L"],
    weights: ReverseWeights,
    u: Float[Tensor, "B L"] | None,
) -> Int[Tensor, "B L"]:
    """:func:`fused_reverse_step` by weights that broadcast to (B, L); nothing is checked.

    One uniform draw a token, ``u``, chooses among staying, p and uniform, and then, rescaled, the
    token. Without draws the step takes the posterior's mode. Logits are computed only for tokens
    that are not bound to stay, a distribution function only for those that draw from p.
    """
    weights = ReverseWeights(*(part.expand(z_t.shape) for part in weights))
    choose: Callable[..., Tensor] = _greedy if u is None else _stochastic
    # A greedy step leaves the others where they are: p_top - p[z_t] is at most one.
    open_tokens = weights.draw > weights.keep if u is None else undecided(u, weights)
    rows = open_tokens.nonzero(as_tuple=True)
    per_token = [part[rows] for part in (z_t, *weights, u) if part is not None]
    chosen = _chunks.over_logits(choose, hidden[rows], weight, bias, *per_token)
    z_s = z_t.clone()
    if chosen:
        z_s[rows] = torch.cat(chosen)
    return z_s


@torch.no_grad()
def fused_mode(
    hidden: Float[Tensor, "B L D"], weight: Float[Tensor, "V D"], bias: Float[Tensor, " V"] | None
) -> Int[Tensor, "B L"]:
    """The most probable tokens, from a few logits at a time."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    modes = _chunks.over_logits(lambda logits: logits.argmax(-1), flat, weight, bias)
    return torch.cat(modes).view(hidden.shape[:-1])


@torch.no_grad()
def fused_entropy(
    hidden: Float[Tensor, "B L D"], weight: Float[Tensor, "V D"], bias: Float[Tensor, " V"] | None
) -> Float[Tensor, "B L"]:
    """Conditional entropy of the predictions (paper eq. (13)) from a few logits at a time.

    Returns:
        Nats, float64 for float64 inputs, else float32.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    entropies = _chunks.over_logits(lambda logits: _entropy(logits)[0], flat, weight, bias)
    return torch.cat(entropies).view(hidden.shape[:-1])


@torch.no_grad()
def fused_sharpness(
    hidden: Float[Tensor, "B L D"], weight: Float[Tensor, "V D"], bias: Float[Tensor, " V"] | None
) -> Float[Tensor, "3 B L"]:
    """Entropy (nats), sum_v p(1 - p), and the largest minus the second largest probability."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    values = torch.cat(_chunks.over_logits(_sharpness, flat, weight, bias), -1)
    return values.view(3, *hidden.shape[:-1])


def _stays(
    u: Float[Tensor, "*T"], stay: Float[Tensor, "*#T"], leave: Float[Tensor, "*#T"]
) -> Bool[Tensor, "*T"]:
    # In this form rounding keeps the order: a token that stays at the least weight of staying
    # stays at every other.
    return u * leave < (1 - u) * stay


def _sharpness(logits: Float[Tensor, "n V"]) -> Float[Tensor, "3 n"]:
    """Entropy, sum p(1 - p) and the gap; the logits are overwritten."""
    first, second = logits.topk(2).values.unbind(-1)
    entropy, e, total = _entropy(logits)
    variance = 1 - torch.linalg.vecdot(e, e) / total.square()
    return torch.stack([entropy, variance, -torch.expm1(second - first) / total])


def _entropy(
    logits: Float[Tensor, "n V"],
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n V"], Float[Tensor, " n"]]:
    """Entropy; exp(logits - largest); and its sums. The logits are overwritten."""
    below = logits.sub_(logits.amax(-1, keepdim=True))
    e = below.exp()
    total = e.sum(-1)
    return total.log() - torch.linalg.vecdot(e, below) / total, e, total


def _greedy(
    logits: Float[Tensor, "n V"],
    z_t: Int[Tensor, " n"],
    keep: Float[Tensor, " n"],
    draw: Float[Tensor, " n"],
    uniform: Float[Tensor, " n"],
    alpha_t: Float[Tensor, " n"],
) -> Int[Tensor, " n"]:
    """The mode of the posterior: z_t or the mode of p."""
    e, _, total = _chunks.exponentials(logits)
    p_z = e.gather(-1, z_t[:, None])[:, 0].double() / total[:, 0]
    p_top = 1 / total[:, 0].double()
    stay = keep + logits.shape[-1] * alpha_t * p_z
    return torch.where(draw * (p_top - p_z) > stay, e.argmax(-1), z_t)


def _stochastic(
    logits: Float[Tensor, "n V"],
    z_t: Int[Tensor, " n"],
    keep: Float[Tensor, " n"],
    draw: Float[Tensor, " n"],
    uniform: Float[Tensor, " n"],
    alpha_t: Float[Tensor, " n"],
    u: Float[Tensor, " n"],
) -> Int[Tensor, " n"]:
    """A draw from the posterior by the uniform draws ``u``."""
    vocab_size = logits.shape[-1]
    e, _, total = _chunks.exponentials(logits)
    stay = keep + vocab_size * alpha_t * e.gather(-1, z_t[:, None])[:, 0].double() / total[:, 0]
    moves = ~_stays(u, stay, draw + uniform)
    excess = u * (stay + draw + uniform) - stay
    from_p = moves & (excess < draw)
    noise = ((excess - draw) / uniform * vocab_size).nan_to_num(0).long().clamp(0, vocab_size - 1)
    z_s = torch.where(moves, noise, z_t)
    rows = from_p.nonzero()[:, 0]
    z_s[rows] = inverse_cdf(e[rows], (excess / draw)[rows])
    return z_s


def inverse_cdf(weights: Float[Tensor, "k V"], share: Float[Tensor, " k"]) -> Int[Tensor, " k"]:
    """Tokens at which the distribution functions of ``weights`` reach the shares in [0, 1).

    Two levels, first over blocks of tokens: only (k, V / 256) and (k, 256) sums are in float64.
    """
    padded = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % _BLOCK))
    blocks = padded.unflatten(-1, (-1, _BLOCK))
    block, share = _find(blocks.sum(-1), share)
    inner, _ = _find(blocks[torch.arange(len(blocks), device=block.device), block], share)
    return block * _BLOCK + inner


def _find(
    mass: Float[Tensor, "k m"], share: Float[Tensor, " k"]
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The entry at which the cumulated ``mass`` first exceeds a share of its sum.

    The second result says how far into that entry, in [0, 1].
    """
    reached = mass.double().cumsum(-1)
    # Short of the sum, so that an entry of zero mass is never taken.
    target = share.clamp(0, 1 - 2**-52)[:, None] * reached[:, -1:]
    index = torch.searchsorted(reached, target, right=True)
    size = mass.gather(-1, index).double()
    return index[:, 0], (1 - (reached.gather(-1, index) - target) / size)[:, 0]
