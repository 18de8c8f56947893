"""The loss and the reverse step from hidden states: the logits exist for a few tokens at a time, never (B, L, V).

With p = softmax(logits), r = V alpha / (1 - alpha) and q = r p, the NELBO of a token (paper eq. (3), in the form of
:func:`uddm_lib.diffusion.nelbo`) needs q at z_t and x and S = sum_j log(1 + q_j). It is

    f = A S + (terms in q_z and q_x),    A = (dalpha / (V alpha)) / (1 + r [z = x]),

and its gradient along the logits, with v_k = 1 / (1 + q_k) and vbar = sum_j p_j v_j, is

    df/dlogit_k = q_k (A (v_k - vbar) - (Q_z + Q_x) / r) + Q_z [k = z] + Q_x [k = x],
    Q_z = p_z df/dp_z = A (V / (1 - alpha)) q_z (r [z = x] - q_z) / (1 + q_z)^2,    Q_x = p_x df/dp_x = A r q_x / (1 + q_x).

Only differences of v count, so v is taken relative to its least value, at the most probable token: 1 / (1 + q) -
1 / (1 + q_top) = (q_top - q) / ((1 + q) (1 + q_top)) keeps all digits, at small alpha and where p is nearly one.
"""

import functools
from typing import NamedTuple

import torch

from uddm_lib._levels import level, mixture, open_level

__all__ = ["fused_entropy", "fused_loss", "fused_nelbo", "fused_reverse_step", "fused_sharpness", "most_probable",
           "undecided"]

_ENTRIES = 2**22  # logits held at once: 16 MiB in float32, some 137 tokens at V = 30,522
_CACHED = 2**20   # of them at work at once where nothing is compiled: temporaries that stay in a CPU's cache
_BLOCK = 256      # tokens that the inverse of a distribution function skips at once


@torch.compiler.disable  # a loop over tokens that a compiler would unroll
def fused_nelbo(hidden, weight, bias, z_t, x, alpha_t, dalpha_t, compile=False):
    """NELBO per token (paper eq. (3)) from hidden states: :func:`uddm_lib.diffusion.nelbo` without (B, L, V) tensors.

    Any function of the values may be differentiated: the backward pass computes the logits again. Where a weighted
    sum is all that is wanted, as in training, :func:`fused_loss` saves that.

    Matrix products are in the inputs' dtype, or in bfloat16 under a bfloat16 autocast; all else is in float32 at
    least. The noise levels are read once (on a GPU: one synchronisation a call, none in the loop over tokens).

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


@torch.compiler.disable
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

    tokens: torch.Tensor   # (N, 2): z_t and x
    alpha: torch.Tensor    # (N,) float64, as the next three
    ratio: torch.Tensor    # r
    slope: torch.Tensor    # A
    same: torch.Tensor     # z_t = x
    vocab_size: int
    product: torch.dtype   # of the matrix products
    work: torch.dtype      # of everything V-sized besides
    compile: bool


def _plan(hidden, weight, z_t, x, alpha_t, dalpha_t, compile):
    alpha, dalpha = open_level(alpha_t, dalpha_t, x)
    vocab_size = len(weight)
    ratio = vocab_size * alpha / (1 - alpha)
    same = z_t == x
    slope = dalpha / (vocab_size * alpha) / torch.where(same, 1 + ratio, 1.0)
    return _Plan(torch.stack([z_t, x], -1).view(-1, 2), alpha.reshape(-1), ratio.view(-1), slope.view(-1),
                 same.view(-1), vocab_size, *_dtypes(hidden, weight), compile)


def _dtypes(hidden, weight):
    """Dtypes of the matrix products and of what follows them."""
    kind = hidden.device.type
    product = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(kind) and product == torch.float32:
        product = torch.get_autocast_dtype(kind)
    return product, torch.promote_types(product, torch.float32)


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
            raise RuntimeError("the gradients of fused_loss were already handed out: compute the loss again")
        # Scaled where they lie, since a copy of the weight's would be the largest tensor here.
        gradients, ctx.gradients = ctx.gradients, None
        return *(gradient if gradient is None else gradient.mul_(grad) for gradient in gradients), None, None


def _total(values, scale):
    return (values.double() * scale).sum().to(values.dtype)


@torch.no_grad()
def _sweep(hidden, weight, bias, plan, scale=None, needs=(False, False, False)):
    """Values of all tokens (N,), and the gradients that are needed of the sum over tokens of scale times value."""
    if not any(needs):
        scale = None
    terms = _compiled_terms() if plan.compile else _in_cache
    gradients = [torch.zeros(part.shape, dtype=plan.work, device=part.device) if needed else None
                 for part, needed in zip((hidden, weight, bias), needs)]
    given_dtypes = [None if part is None else part.dtype for part in (hidden, weight, bias)]
    values = torch.empty(len(hidden), dtype=plan.work, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        weight = weight.to(plan.product)
        for part in _pieces(len(hidden), plan.vocab_size):
            h = hidden[part].to(plan.product)
            logits = _logits(h, weight, bias, plan.work)
            values[part] = terms(logits, *(tensor[part] for tensor in plan[:5]), None if scale is None else scale[part])
            if scale is not None:
                _accumulate(gradients, part, logits.to(plan.product), h, weight)
    return values, [None if gradient is None else gradient.to(dtype)
                    for gradient, dtype in zip(gradients, given_dtypes)]


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


def _pieces(n, vocab_size):
    """Slices of n tokens, of nearly equal lengths, that hold at most ``_ENTRIES`` logits each."""
    count = -(-n // max(_ENTRIES // vocab_size, 1))
    size = -(-n // max(count, 1))
    return [slice(start, min(start + size, n)) for start in range(0, n, max(size, 1))]


def _logits(h, weight, bias, work):
    """Logits (n, V) in the dtype ``work``, from products in the inputs' own."""
    if h.dtype == work:
        return h @ weight.T if bias is None else torch.addmm(bias.to(work), h, weight.T)
    if h.is_cuda:
        logits = torch.mm(h, weight.T, out_dtype=work)
    else:
        logits = h @ weight.T  # here rounded to the products' dtype: CPUs have no other kernel
    return logits.to(work) if bias is None else logits + bias.to(work)


def _exponentials(logits):
    """exp(logits - largest), in place of the logits; the largest (n, 1); and the sums (n, 1)."""
    top = logits.amax(-1, keepdim=True)
    e = logits.sub_(top).exp_()
    return e, top, e.sum(-1, keepdim=True)


def _terms(logits, tokens, alpha, ratio, slope, same, pull):
    """The part between the matrix products: values (n,) of logits (n, V) and, in their place, pull times df/dlogits.

    ``pull`` (n,) is the tokens' weight in the loss, or None for values alone. What is per token is in float64.
    """
    vocab_size, work, rest = logits.shape[-1], logits.dtype, 1 - alpha
    chosen = logits.gather(-1, tokens)
    e, top, total = _exponentials(logits)
    total = total.double()
    log_p_z, log_p_x = ((chosen - top).double() - total.log()).unbind(-1)
    q_top = ratio[:, None] / total
    q = e.mul_(q_top.to(work))
    sum_u = q.log1p().sum(-1).double()

    q_z, q_x = ratio * log_p_z.exp(), ratio * log_p_x.exp()
    short = torch.where(same, -ratio * torch.expm1(log_p_z), -q_z)  # r [z = x] - q_z
    one_z = vocab_size / rest
    own = torch.where(same, -(vocab_size - 1.0), ratio + 1) * torch.log1p(ratio)
    value = slope * (sum_u - one_z * (short / (1 + q_z) + torch.log1p(q_z)) + ratio * torch.log1p(q_x) - own)
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
    size = max(_CACHED // logits.shape[-1], 1)
    parts = [None if tensor is None else tensor.split(size) for tensor in (logits, *per_token)]
    return torch.cat([_terms(*(part and part[i] for part in parts)) for i in range(len(parts[0]))])


@functools.cache
def _compiled_terms():
    return torch.compile(_terms)


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


def _stays(u, stay, leave):
    # In this form rounding keeps the order: a token that stays at the least weight of staying stays at every other.
    return u * leave < (1 - u) * stay


@torch.no_grad()
def fused_reverse_step(hidden, weight, bias, z_t, alpha_s, alpha_t, generator=None, greedy=False, u=None):
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
    per_p_z = len(weight) * level(alpha_t, z_t, "alpha_t")  # weight of staying for each unit of p[z_t]
    z_s = z_t.clone()
    rows = asked.nonzero(as_tuple=True)
    parts = [tensor[rows] for tensor in (z_t, keep, draw, uniform, per_p_z)] + ([] if greedy else [u[rows]])
    choose = _greedy if greedy else _stochastic
    chosen = [choose(logits, *(tensor[part] for tensor in parts))
              for part, logits in _logits_of(hidden[rows], weight, bias)]
    if chosen:
        z_s[rows] = torch.cat(chosen)
    return z_s


@torch.no_grad()
def most_probable(hidden, weight, bias):
    """The most probable tokens, shape (B, L), of hidden states (B, L, D), from a few logits at a time."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    found = [logits.argmax(-1) for _, logits in _logits_of(flat, weight, bias)]
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
    found = [_entropy(logits)[0] for _, logits in _logits_of(flat, weight, bias)]
    return torch.cat(found).view(hidden.shape[:-1])


@torch.no_grad()
def fused_sharpness(hidden, weight, bias):
    """Entropy (nats), sum_v p(1 - p), and the largest minus the second largest probability (paper appendix C).

    Arguments as in :func:`fused_entropy`.

    Returns:
        Shape (3, B, L).
    """
    flat, found = hidden.reshape(-1, hidden.shape[-1]), []
    for _, logits in _logits_of(flat, weight, bias):
        first, second = logits.topk(2).values.unbind(-1)
        entropy, e, total = _entropy(logits)
        curvature = 1 - torch.linalg.vecdot(e, e) / total.square()
        found.append(torch.stack([entropy, curvature, -torch.expm1(second - first) / total]))
    return torch.cat(found, -1).view(3, *hidden.shape[:-1])


def _entropy(logits):
    """Entropy (n,) of logits (n, V), which are overwritten; exp(logits - largest); and its sums (n,)."""
    below = logits.sub_(logits.amax(-1, keepdim=True))
    e = below.exp()
    total = e.sum(-1)
    return total.log() - torch.linalg.vecdot(e, below) / total, e, total


def _logits_of(hidden, weight, bias):
    """Pairs of a slice of the rows of ``hidden`` (n, D) and their logits."""
    product, work = _dtypes(hidden, weight)
    weight = weight.to(product) if len(hidden) else weight
    for part in _pieces(len(hidden), len(weight)):
        with torch.autocast(hidden.device.type, enabled=False):
            logits = _logits(hidden[part].to(product), weight, bias, work)
        yield part, logits


def _greedy(logits, z_t, keep, draw, uniform, per_p_z):
    """The mode of the posterior: z_t or that of p."""
    e, _, total = _exponentials(logits)
    p_z = e.gather(-1, z_t[:, None])[:, 0].double() / total[:, 0]
    p_top = 1 / total[:, 0].double()
    return torch.where(draw * (p_top - p_z) > keep + per_p_z * p_z, e.argmax(-1), z_t)


def _stochastic(logits, z_t, keep, draw, uniform, per_p_z, u):
    """A draw from the posterior by the uniform draws ``u``."""
    vocab_size = logits.shape[-1]
    e, _, total = _exponentials(logits)
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
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % _BLOCK)).unflatten(-1, (-1, _BLOCK))
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
