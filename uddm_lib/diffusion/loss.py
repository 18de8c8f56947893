"""The loss from hidden states: the logits exist for a few tokens at a time, never (B, L, V).

With p = softmax(logits), r = V alpha / (1 - alpha) and q = r p, the NELBO of a token (paper eq. (3), in the form of
:func:`uddm_lib.diffusion.nelbo`) needs q at z_t and x and S = sum_j log(1 + q_j). It is

    f = A S + (terms in q_z and q_x),    A = (dalpha / (V alpha)) / (1 + r [z = x]),

and its gradient along the logits, with v_k = 1 / (1 + q_k) and vbar = sum_j p_j v_j, is

    df/dlogit_k = q_k (A (v_k - vbar) - (Q_z + Q_x) / r) + Q_z [k = z] + Q_x [k = x],
    Q_z = p_z df/dp_z = A (V / (1 - alpha)) q_z (r [z = x] - q_z) / (1 + q_z)^2,
    Q_x = p_x df/dp_x = A r q_x / (1 + q_x).

Only differences of v count, so v is taken relative to its least value, at the most probable token: 1 / (1 + q) -
1 / (1 + q_top) = (q_top - q) / ((1 + q) (1 + q_top)) keeps all digits, at small alpha and where p is nearly one.
"""

import functools
from typing import NamedTuple

import torch

from uddm_lib.diffusion import _chunks
from uddm_lib.diffusion._levels import open_level

__all__ = ["fused_loss", "fused_nelbo"]

_TINY = 16  # a vocabulary at which r is so small that what is left of S - r needs float64
_CACHED = (
    2**17
)  # logits at work at once where nothing is compiled: temporaries that stay in a CPU's cache


def fused_nelbo(hidden, weight, bias, z_t, x, alpha_t, dalpha_t, compile=False):
    """NELBO per token (paper eq. (3)) from hidden states: :func:`uddm_lib.diffusion.nelbo` without (B, L, V) tensors.

    Any function of the values may be differentiated: the backward pass computes the logits again. Where a weighted
    sum is all that is wanted, as in training, :func:`fused_loss` saves that.

    Matrix products are in the inputs' dtype, or in bfloat16 under a bfloat16 autocast; all else is in float32 at
    least. (With fewer than 1,024 tokens to the vocabulary bfloat16 has nothing to save and is not used.) The noise
    levels are read once (on a GPU: one synchronisation a call, none in the loop over tokens).

    Args:
        hidden: hidden states, shape (B, L, D).
        weight, bias: of the output layer, shapes (V, D) and (V,); the bias may be None.
        z_t, x: noisy and clean tokens, shape (B, L).
        alpha_t, dalpha_t: noise level in (0, 1) and its derivative d alpha_t / dt.
        compile: compile the elementwise part with torch.compile (see :func:`uddm_lib.devices.compiled`).

    Returns:
        Nats per token, shape (B, L), float64 for float64 inputs, else float32.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1).
    """
    plan = _plan(hidden, weight, z_t, x, alpha_t, dalpha_t, compile)
    flat = hidden.reshape(-1, hidden.shape[-1])
    if torch.is_grad_enabled():
        return _PerToken.apply(flat, weight, bias, plan).view(x.shape)
    return _sweep(flat, weight, bias, plan)[0].view(x.shape)


def fused_loss(hidden, weight, bias, z_t, x, alpha_t, dalpha_t, scale=None, compile=False):
    """Weighted sum of :func:`fused_nelbo` over tokens, whose gradients are formed along with it: three products.

    Args:
        scale: weight of every token, broadcast to (B, L); one over their number (a mean) by default.

    Returns:
        A scalar in nats. Its backward pass can run once.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1).
    """
    plan = _plan(hidden, weight, z_t, x, alpha_t, dalpha_t, compile)
    scale = 1 / x.numel() if scale is None else scale
    scale = torch.as_tensor(scale, dtype=torch.float64, device=x.device).expand(x.shape).reshape(-1)
    flat = hidden.reshape(-1, hidden.shape[-1])
    if torch.is_grad_enabled():
        return _WeightedSum.apply(flat, weight, bias, plan, scale)
    return _total(_sweep(flat, weight, bias, plan)[0], scale)


class _Plan(NamedTuple):
    """What a pass over the tokens needs besides the hidden states and the output layer; N = B L tokens."""

    tokens: torch.Tensor  # (N, 2): z_t and x
    alpha: torch.Tensor  # (N,) float64, as the next three
    ratio: torch.Tensor  # r
    slope: torch.Tensor  # A
    same: torch.Tensor  # z_t = x
    vocab_size: int
    product: torch.dtype  # of the matrix products
    work: torch.dtype  # of everything V-sized besides
    compile: bool


def _plan(hidden, weight, z_t, x, alpha_t, dalpha_t, compile):
    alpha, dalpha = open_level(alpha_t, dalpha_t, x)
    vocab_size = len(weight)
    ratio = vocab_size * alpha / (1 - alpha)
    same = z_t == x
    slope = dalpha / (vocab_size * alpha) / torch.where(same, 1 + ratio, 1.0)
    product, work = _chunks.dtypes(hidden, weight)
    if vocab_size < _TINY:
        work = torch.float64
    return _Plan(
        torch.stack([z_t, x], -1).view(-1, 2),
        alpha.reshape(-1),
        ratio.view(-1),
        slope.view(-1),
        same.view(-1),
        vocab_size,
        product,
        work,
        compile,
    )


class _PerToken(torch.autograd.Function):
    """Values of all tokens; the gradients are formed by the backward pass, which knows the tokens' weights."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, plan):
        ctx.save_for_backward(hidden, weight, bias)
        ctx.plan = plan
        return _sweep(hidden, weight, bias, plan)[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        _, gradients = _sweep(*ctx.saved_tensors, ctx.plan, grad.double(), ctx.needs_input_grad[:3])
        return *gradients, None


class _WeightedSum(torch.autograd.Function):
    """A weighted sum of the values; the gradients are formed by the forward pass, while the logits are there."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, plan, scale):
        values, ctx.gradients = _sweep(hidden, weight, bias, plan, scale, ctx.needs_input_grad[:3])
        return _total(values, scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        if ctx.gradients is None:
            raise RuntimeError(
                "the gradients of fused_loss were already handed out: compute the loss again"
            )
        # Scaled where they lie, since a copy of the weight's would be the largest tensor here.
        gradients, ctx.gradients = ctx.gradients, None
        return (
            *(gradient if gradient is None else gradient.mul_(grad) for gradient in gradients),
            None,
            None,
        )


def _total(values, scale):
    return (values.double() * scale).sum().to(values.dtype)


@torch.no_grad()
def _sweep(hidden, weight, bias, plan, scale=None, needs=(False, False, False)):
    """Values of all tokens (N,), and the gradients that are needed of the sum over tokens of scale times value."""
    if not any(needs):
        scale = None
    terms = _compiled_terms() if plan.compile else _terms if hidden.is_cuda else _in_cache
    gradients = [
        torch.zeros(part.shape, dtype=plan.work, device=part.device) if needed else None
        for part, needed in zip((hidden, weight, bias), needs)
    ]
    given_dtypes = [None if part is None else part.dtype for part in (hidden, weight, bias)]
    values = torch.empty(len(hidden), dtype=plan.work, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        weight = weight.to(plan.product)
        for part in _chunks.pieces(hidden, plan.vocab_size):
            h = hidden[part].to(plan.product)
            logits = _chunks.logits_at(h, weight, bias, plan.work)
            values[part] = terms(
                logits,
                *(tensor[part] for tensor in plan[:5]),
                None if scale is None else scale[part],
            )
            if scale is not None:
                _accumulate(gradients, part, logits.to(plan.product), h, weight)
    given = torch.promote_types(plan.product, torch.float32)
    return values.to(given), [
        None if gradient is None else gradient.to(dtype)
        for gradient, dtype in zip(gradients, given_dtypes)
    ]


def _accumulate(gradients, part, g, h, weight):
    """Add what the logits' gradient g (n, V) of some tokens gives for the hidden states, the weight and the bias."""
    for_hidden, for_weight, for_bias = gradients
    if for_hidden is not None:
        for_hidden[part] = g @ weight
    if for_weight is not None:
        if g.dtype == for_weight.dtype:
            for_weight.addmm_(g.T, h)
        else:
            for_weight.add_(g.T @ h)
    if for_bias is not None:
        for_bias.add_(g.sum(0, dtype=for_bias.dtype))


def _terms(logits, tokens, alpha, ratio, slope, same, pull):
    """The part between the matrix products: values (n,) of logits (n, V) and, in their place, pull times df/dlogits.

    ``pull`` (n,) is the tokens' weight in the loss, or None for values alone. What is per token is in float64.
    """
    vocab_size, work, rest = logits.shape[-1], logits.dtype, 1 - alpha
    chosen = logits.gather(-1, tokens)
    e, top, total = _chunks.exponentials(logits)
    total = total.double()
    log_p_z, log_p_x = ((chosen - top).double() - total.log()).unbind(-1)
    q_top = ratio[:, None] / total
    q = e.mul_(q_top.to(work))
    sum_u = q.log1p().sum(-1).double()

    q_z, q_x = ratio * log_p_z.exp(), ratio * log_p_x.exp()
    short = torch.where(same, -ratio * torch.expm1(log_p_z), -q_z)  # r [z = x] - q_z
    one_z = vocab_size / rest
    own = torch.where(same, -(vocab_size - 1.0), ratio + 1) * torch.log1p(ratio)
    value = slope * (
        sum_u - one_z * (short / (1 + q_z) + torch.log1p(q_z)) + ratio * torch.log1p(q_x) - own
    )
    if pull is None:
        return value.to(work)

    height = pull * slope
    at_z = height * one_z * q_z * short / (1 + q_z) ** 2
    at_x = height * ratio * q_x / (1 + q_x)
    v = _above(q, q_top.to(work))
    mean = torch.linalg.vecdot(q, v).double() / ratio
    shift = height * mean + (at_z + at_x) / ratio
    g = q.mul_(v.mul_(height.to(work)[:, None]).sub_(shift.to(work)[:, None]))
    # At z_t and x again in float64, with the digits of 1 - p where p is nearly one.
    q_chosen = torch.stack([q_z, q_x], -1)
    exact = height[:, None] * q_chosen * (_above(q_chosen, q_top) - mean[:, None])
    less_z, less_x = torch.expm1(log_p_z), torch.expm1(log_p_x)
    exact_z = exact[:, 0] - at_z * less_z - at_x * torch.where(same, less_z, log_p_z.exp())
    exact_x = exact[:, 1] - at_x * less_x - at_z * torch.where(same, less_x, log_p_x.exp())
    g.scatter_(-1, tokens, torch.stack([exact_z, exact_x], -1).to(work))
    return value.to(work)


def _above(q, q_top):
    """1 / (1 + q) - 1 / (1 + q_top), to all digits."""
    return (q_top - q).div_((q + 1).mul_(1 + q_top))


def _in_cache(logits, *per_token):
    """:func:`_terms`, some tokens at a time."""
    size = max(_CACHED // logits.shape[-1], 16)
    parts = [None if tensor is None else tensor.split(size) for tensor in (logits, *per_token)]
    return torch.cat([_terms(*(part and part[i] for part in parts)) for i in range(len(parts[0]))])


@functools.cache
def _compiled_terms():
    return torch.compile(_terms)
