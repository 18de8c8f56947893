"""The loss between its matrix products: values, and the gradient along the logits.

The formulas and their symbols stand in :mod:`uddm_lib.diffusion.loss`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from uddm_lib.diffusion import _chunks

_CACHED = 2**17  # logits at once where nothing is compiled: temporaries that stay in a CPU's cache

PerToken: TypeAlias = Float[Tensor, " n"]


class TokenLevels(NamedTuple):
    """What the loss needs of every token besides its logits; float64 where it is a number."""

    pair: Int[Tensor, "n 2"]  # z_t and x
    alpha: PerToken
    r: PerToken
    A: PerToken
    same: Bool[Tensor, " n"]  # z_t = x

    @classmethod
    def of(
        cls,
        z_t: Int[Tensor, "B L"],
        x: Int[Tensor, "B L"],
        alpha: Float[Tensor, "B L"],
        dalpha: Float[Tensor, "..."],
        vocab_size: int,
    ) -> "TokenLevels":
        """Of all tokens, in one row."""
        r = vocab_size * alpha / (1 - alpha)
        same = z_t == x
        A = dalpha / (vocab_size * alpha) / torch.where(same, 1 + r, 1.0)
        pair = torch.stack([z_t, x], -1).view(-1, 2)
        return cls(pair, alpha.reshape(-1), r.view(-1), A.view(-1), same.view(-1))

    def rows(self, rows: slice) -> "TokenLevels":
        """Of some tokens."""
        return TokenLevels(*(tensor[rows] for tensor in self))


Terms: TypeAlias = Callable[[Tensor, TokenLevels, Tensor | None], Tensor]


def terms(on_gpu: bool, compile: bool) -> Terms:
    """:func:`_terms` in the form that is fastest: compiled, as it is, or for a CPU's cache."""
    if compile:
        return _compiled_terms()
    return _terms if on_gpu else _in_cache


@functools.cache
def _compiled_terms() -> Terms:
    return torch.compile(_terms)


def _in_cache(
    logits: Float[Tensor, "n V"], levels: TokenLevels, scale: PerToken | None
) -> PerToken:
    """:func:`_terms`, some tokens at a time."""
    size = max(_CACHED // logits.shape[-1], 16)
    parts = [slice(start, start + size) for start in range(0, len(logits), size)]
    return torch.cat(
        [
            _terms(logits[part], levels.rows(part), None if scale is None else scale[part])
            for part in parts
        ]
    )


def _terms(logits: Float[Tensor, "n V"], levels: TokenLevels, scale: PerToken | None) -> PerToken:
    """Values, and in place of the logits the gradient of ``scale`` times value along them.

    ``scale`` is the tokens' weight in the loss, or None for values alone; the logits are
    overwritten all the same. What is per token is in float64.
    """
    work, r = logits.dtype, levels.r
    at_pair = logits.gather(-1, levels.pair)
    e, top, total = _chunks.exponentials(logits)
    total = total.double()
    log_p = (at_pair - top).double() - total.log()
    q_top = r[:, None] / total
    q = e.mul_(q_top.to(work))
    S = q.log1p().sum(-1).double()
    value = _value(S, log_p, levels, logits.shape[-1])
    if scale is not None:
        _to_gradient(q, q_top, log_p, levels, scale)
    return value.to(work)


def _value(
    S: PerToken, log_p: Float[Tensor, "n 2"], levels: TokenLevels, vocab_size: int
) -> PerToken:
    """The NELBO f from S and the predictions at z_t and x."""
    _, alpha, r, A, same = levels
    log_p_z, log_p_x = log_p.unbind(-1)
    q_z, q_x = r * log_p_z.exp(), r * log_p_x.exp()
    d_z = _d_z(log_p_z, r, same)
    # The same sums with the clean token in place of the prediction.
    true = torch.where(same, -(vocab_size - 1.0), r + 1) * torch.log1p(r)
    per_z = vocab_size / (1 - alpha)
    return A * (S - per_z * (d_z / (1 + q_z) + torch.log1p(q_z)) + r * torch.log1p(q_x) - true)


def _to_gradient(
    q: Float[Tensor, "n V"],
    q_top: Float[Tensor, "n 1"],
    log_p: Float[Tensor, "n 2"],
    levels: TokenLevels,
    scale: PerToken,
) -> None:
    """Overwrite q by the gradient of scale times f along the logits."""
    pair, alpha, r, A, same = levels
    work, vocab_size = q.dtype, q.shape[-1]
    log_p_z, log_p_x = log_p.unbind(-1)
    p_z, p_x = log_p_z.exp(), log_p_x.exp()
    q_z, q_x = r * p_z, r * p_x
    A = scale * A  # and with it Q_z, Q_x and the gradient
    Q_z = A * (vocab_size / (1 - alpha)) * q_z * _d_z(log_p_z, r, same) / (1 + q_z) ** 2
    Q_x = A * r * q_x / (1 + q_x)
    v = _above_least(q, q_top.to(work))
    v_mean = torch.linalg.vecdot(q, v).double() / r
    shift = A * v_mean + (Q_z + Q_x) / r
    # At z_t and x in float64, with the digits of 1 - p where p is nearly one.
    q_pair = torch.stack([q_z, q_x], -1)
    spread = A[:, None] * q_pair * (_above_least(q_pair, q_top) - v_mean[:, None])
    less_z, less_x = torch.expm1(log_p_z), torch.expm1(log_p_x)
    at_z = spread[:, 0] - Q_z * less_z - Q_x * torch.where(same, less_z, p_z)
    at_x = spread[:, 1] - Q_x * less_x - Q_z * torch.where(same, less_x, p_x)
    gradient = q.mul_(v.mul_(A.to(work)[:, None]).sub_(shift.to(work)[:, None]))
    gradient.scatter_(-1, pair, torch.stack([at_z, at_x], -1).to(work))


def _d_z(log_p_z: PerToken, r: PerToken, same: Bool[Tensor, " n"]) -> PerToken:
    """r [z = x] - q_z, with all digits where p_z is nearly one."""
    return torch.where(same, -r * torch.expm1(log_p_z), -(r * log_p_z.exp()))


def _above_least(q: Float[Tensor, "n k"], q_top: Float[Tensor, "n 1"]) -> Float[Tensor, "n k"]:
    """1 / (1 + q) - 1 / (1 + q_top), to all digits: v less its least value."""
    return (q_top - q).div_((q + 1).mul_(1 + q_top))
