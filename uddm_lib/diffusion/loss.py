"""The loss from hidden states: the logits exist for a few tokens at a time, never (B, L, V).

Let p = softmax(logits), r = V alpha / (1 - alpha) and q = r p. The NELBO of a token (paper
eq. (3), in the form of :func:`uddm_lib.diffusion.nelbo`) needs q at z_t and x and
S = sum_j log(1 + q_j):

    f = A S + (terms in q_z and q_x),    A = (dalpha / (V alpha)) / (1 + r [z = x]).

Its gradient along the logits, with v_k = 1 / (1 + q_k) and vbar = sum_j p_j v_j, is

    df/dlogit_k = q_k (A (v_k - vbar) - (Q_z + Q_x) / r) + Q_z [k = z] + Q_x [k = x],
    Q_z = p_z df/dp_z = A (V / (1 - alpha)) q_z d_z / (1 + q_z)^2,    d_z = r [z = x] - q_z,
    Q_x = p_x df/dp_x = A r q_x / (1 + q_x).

Only differences of v count, so v is taken relative to its least value, at the most probable token:
1 / (1 + q) - 1 / (1 + q_top) = (q_top - q) / ((1 + q) (1 + q_top)). This keeps all digits, at small
alpha and where p is nearly one.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib.diffusion import _chunks
from uddm_lib.diffusion._levels import open_level
from uddm_lib.diffusion._terms import Terms, TokenLevels, terms
from uddm_lib.schedule import Level

_TINY = 16  # a vocabulary at which r is so small that what is left of S - r needs float64


def fused_nelbo(
    hidden: Float[Tensor, "B L D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    z_t: Int[Tensor, "B L"],
    x: Int[Tensor, "B L"],
    alpha_t: Level,
    dalpha_t: Level,
    compile: bool = False,
) -> Float[Tensor, "B L"]:
    """NELBO per token (paper eq. (3)) from hidden states, without (B, L, V) tensors.

    Any function of the values may be differentiated: the backward pass computes the logits again.
    Where a weighted sum is all that is wanted, as in training, :func:`fused_loss` saves that.

    Matrix products are in the inputs' dtype, or in bfloat16 under a bfloat16 autocast. All else is
    in float32 at least. With fewer than 1,024 tokens to the vocabulary bfloat16 has nothing to save
    and is not used. The noise levels are read once: on a GPU one synchronization a call.

    Args:
        hidden: hidden states.
        weight, bias: of the output layer; the bias may be None.
        z_t, x: noisy and clean tokens.
        alpha_t, dalpha_t: noise level in (0, 1) and its derivative d alpha_t / dt.
        compile: compile the elementwise part with torch.compile, which needs a compiler.

    Returns:
        Nats per token, float64 for float64 inputs, else float32.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1).
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    loss = _Pass(flat, weight, z_t, x, alpha_t, dalpha_t, compile)
    if torch.is_grad_enabled():
        return _Values.apply(flat, weight, bias, loss).view(x.shape)
    return loss.values(flat, weight, bias).view(x.shape)


def fused_loss(
    hidden: Float[Tensor, "B L D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    z_t: Int[Tensor, "B L"],
    x: Int[Tensor, "B L"],
    alpha_t: Level,
    dalpha_t: Level,
    scale: Level | None = None,
    compile: bool = False,
) -> Float[Tensor, ""]:
    """Weighted sum of :func:`fused_nelbo` over tokens, whose gradients are formed along with it.

    Args:
        scale: weight of every token, broadcast to (B, L). By default it is one over the number of
            tokens, and the sum a mean.

    Returns:
        A scalar in nats. Its backward pass can run once.

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1).
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    loss = _Pass(flat, weight, z_t, x, alpha_t, dalpha_t, compile)
    scale = 1 / x.numel() if scale is None else scale
    scale = torch.as_tensor(scale, dtype=torch.float64, device=x.device).expand(x.shape).reshape(-1)
    if torch.is_grad_enabled():
        return _WeightedSum.apply(flat, weight, bias, loss, scale)
    return _total(loss.values(flat, weight, bias), scale)


class _Pass:
    """One pass over N = B L tokens: all that values and gradients need besides the layers."""

    def __init__(
        self,
        hidden: Float[Tensor, "N D"],
        weight: Float[Tensor, "V D"],
        z_t: Int[Tensor, "B L"],
        x: Int[Tensor, "B L"],
        alpha_t: Level,
        dalpha_t: Level,
        compile: bool,
    ) -> None:
        alpha, dalpha = open_level(alpha_t, dalpha_t, x)
        self.vocab_size = len(weight)
        self.levels = TokenLevels.of(z_t, x, alpha, dalpha, self.vocab_size)
        # Dtypes of the matrix products and of everything V-sized besides.
        self.product, self.work = _chunks.dtypes(hidden, weight)
        if self.vocab_size < _TINY:
            self.work = torch.float64
        self.terms: Terms = terms(hidden.is_cuda, compile)

    def values(
        self,
        hidden: Float[Tensor, "N D"],
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
    ) -> Float[Tensor, " N"]:
        """Values of all tokens."""
        return self.with_gradients(hidden, weight, bias, None, (False, False, False))[0]

    @torch.no_grad()
    def with_gradients(
        self,
        hidden: Float[Tensor, "N D"],
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        scale: Float[Tensor, " N"] | None,
        needed: tuple[bool, ...],
    ) -> tuple[Float[Tensor, " N"], list[Tensor | None]]:
        """Values of all tokens, and gradients of the sum over tokens of scale times value.

        ``needed`` says which of the three gradients are formed: of hidden states, weight and bias.
        """
        inputs = hidden, weight, bias
        if not any(needed):
            scale = None
        sums = [
            torch.zeros(part.shape, dtype=self.work, device=part.device)
            if part is not None and need
            else None
            for part, need in zip(inputs, needed)
        ]
        values = torch.empty(len(hidden), dtype=self.work, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            weight = weight.to(self.product)
            for rows in _chunks.pieces(hidden, self.vocab_size):
                h = hidden[rows].to(self.product)
                logits = _chunks.logits_at(h, weight, bias, self.work)
                levels = self.levels.rows(rows)
                values[rows] = self.terms(logits, levels, None if scale is None else scale[rows])
                if scale is not None:  # the logits are now their gradient
                    _accumulate(sums, rows, logits.to(self.product), h, weight)
        gradients = [
            None if part is None or total is None else total.to(part.dtype)
            for part, total in zip(inputs, sums)
        ]
        return values.to(torch.promote_types(self.product, torch.float32)), gradients


def _accumulate(
    sums: list[Tensor | None],
    rows: slice,
    g: Float[Tensor, "n V"],
    h: Float[Tensor, "n D"],
    weight: Float[Tensor, "V D"],
) -> None:
    """Add what the logits' gradient g of some rows gives for hidden states, weight and bias."""
    for_hidden, for_weight, for_bias = sums
    if for_hidden is not None:
        for_hidden[rows] = g @ weight
    if for_weight is not None:
        if g.dtype == for_weight.dtype:
            for_weight.addmm_(g.T, h)
        else:
            for_weight.add_(g.T @ h)
    if for_bias is not None:
        for_bias.add_(g.sum(0, dtype=for_bias.dtype))


def _total(values: Float[Tensor, " N"], scale: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    return (values.double() * scale).sum().to(values.dtype)


class _Values(torch.autograd.Function):
    """Values of all tokens; the backward pass, which knows the tokens' weights, forms gradients."""

    @staticmethod
    def forward(
        ctx: Any,  # torch's context, on which anything may be kept
        hidden: Float[Tensor, "N D"],
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        loss: _Pass,
    ) -> Float[Tensor, " N"]:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.loss = loss
        return loss.values(hidden, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, " N"]) -> tuple[Tensor | None, ...]:
        _, gradients = ctx.loss.with_gradients(
            *ctx.saved_tensors, grad.double(), ctx.needs_input_grad[:3]
        )
        return *gradients, None


class _WeightedSum(torch.autograd.Function):
    """A weighted sum of the values; the forward pass, which has the logits, forms gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "N D"],
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"] | None,
        loss: _Pass,
        scale: Float[Tensor, " N"],
    ) -> Float[Tensor, ""]:
        values, ctx.gradients = loss.with_gradients(
            hidden, weight, bias, scale, ctx.needs_input_grad[:3]
        )
        return _total(values, scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "the gradients of fused_loss were already handed out: compute the loss again"
            )
        # Scaled where they lie, since a copy of the weight's would be the largest tensor here.
        gradients, ctx.gradients = ctx.gradients, None
        scaled = [None if gradient is None else gradient.mul_(grad) for gradient in gradients]
        return *scaled, None, None
