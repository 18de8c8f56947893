"""Binary associative memory (paper section 3.1): couplings, margins, dynamics.

Shapes: P states of N neurons, values +-1, are a floating-point tensor (P, N); couplings J are (N, N), in general not
symmetric, with J_ii = 0, and row i holds what neuron i listens to. The load is P / N. Work is done in the dtype of
the states, float64 for those drawn here; randomness comes from the ``generator`` alone.
"""

import math

import torch
from torch.nn.functional import logsigmoid

from uddm_lib.metrics import recovery_rates

__all__ = [
    "conditional",
    "corrupt",
    "cover_probability",
    "descent",
    "feature_examples",
    "gardner_margin",
    "gradient",
    "hebb",
    "loss",
    "margin_factor",
    "margins",
    "pattern_weights",
    "projector",
    "random_patterns",
    "recovery",
    "retrieve",
    "sample",
    "spin_glass",
    "spin_glass_examples",
    "stable",
    "train",
]


def random_patterns(count, size, generator=None):
    """Independent fair bits: states of shape (count, size)."""
    _positive(count=count, size=size)
    return 2.0 * torch.randint(2, (count, size), generator=generator, dtype=torch.float64) - 1


def feature_examples(count, features, active=3, generator=None):
    """Examples of the random-features model: signs of sums of ``active`` hidden features with random signs.

    Args:
        count: number of examples.
        features: hidden features, states of shape (D, N).
        active: features in an example, odd so that no sum is zero, at most D.

    Returns:
        States of shape (count, N).

    Raises:
        ValueError: if ``active`` is even or outside 1 to D.
    """
    _positive(count=count)
    hidden = len(_states(features, "features"))
    if not (1 <= active <= hidden and active % 2):
        raise ValueError(
            f"active={active!r} is not allowed; it must be odd, from 1 to the {hidden} features"
        )
    chosen = torch.rand(count, hidden, generator=generator, dtype=torch.float64).argsort(1)[
        :, :active
    ]
    signs = random_patterns(count, active, generator).to(features)
    return torch.zeros(count, hidden).to(features).scatter(1, chosen, signs).matmul(features).sign()


def spin_glass(size, generator=None):
    """Teacher couplings of shape (size, size): symmetric Gaussian with variance 1 / size, zero diagonal."""
    _positive(size=size)
    half = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return ((half + half.T) / math.sqrt(2 * size)).fill_diagonal_(0)


def spin_glass_examples(count, teacher, beta=1.0, sweeps=50, generator=None):
    """Examples of a teacher: its conditional sampling (eq. (9)) from random starts, (count, N)."""
    return sample(
        teacher, random_patterns(count, len(teacher), generator), beta, sweeps, generator=generator
    )


def hebb(patterns):
    """Hebbian couplings J_ij = sum_mu xi_i xi_j / N with J_ii = 0, shape (N, N)."""
    return (_states(patterns).T @ patterns / patterns.shape[1]).fill_diagonal_(0)


def projector(features):
    """Couplings of the projection on the span of features (D, N), without diagonal: a memory that knows the source."""
    return (torch.linalg.pinv(_states(features, "features")) @ features).fill_diagonal_(0)


def margins(couplings, patterns):
    """Stabilities xi_i sum_j J_ij xi_j / ||J_i|| (eq. (7)), shape (P, N); 0 for a neuron without couplings."""
    _check(couplings, patterns)
    norm = couplings.norm(dim=1)
    return _aligned(couplings, patterns) / torch.where(norm > 0, norm, 1) + 0.0  # no negative zeros


def gardner_margin(load):
    """Largest margin kappa that random patterns allow for N -> infinity (Gardner), 0 < load = P / N.

    It solves load ((1 + kappa^2) Phi(kappa) + kappa phi(kappa)) = 1, and is negative above load 2.
    """
    _positive(load=load)

    def excess(kappa):
        area = (1 + math.erf(kappa / math.sqrt(2))) / 2
        density = math.exp(-kappa * kappa / 2) / math.sqrt(2 * math.pi)
        return load * ((1 + kappa * kappa) * area + kappa * density) - 1

    low, high = -20.0, 1 + 2 / math.sqrt(load)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2


def cover_probability(count, inputs):
    """Chance that a neuron can learn ``count`` random patterns from ``inputs`` others without an error (Cover 1965).

    It is 2^(1 - P) sum_{k < inputs} C(P - 1, k): 1/2 at P = 2 inputs, a step there for N -> infinity. In a memory
    of N neurons each has N - 1 inputs.
    """
    _positive(count=count, inputs=inputs)
    return sum(math.comb(count - 1, k) for k in range(min(inputs, count))) / 2 ** (count - 1)


def conditional(couplings, states, beta=1.0):
    """P(s_i = +1 | the other neurons) (eq. (9)), shape (P, N)."""
    _check(couplings, states)
    _positive(beta=beta)
    return torch.sigmoid(2 * beta * (states @ couplings.T))


def loss(couplings, patterns, beta=1.0):
    """Pseudo-likelihood loss (eq. (10)), nats summed over patterns and neurons; a scalar that autograd can follow."""
    _check(couplings, patterns)
    _positive(beta=beta)
    return 0.0 - logsigmoid(2 * beta * _aligned(couplings, patterns)).sum()


def margin_factor(couplings, patterns, beta=1.0):
    """The factor 1 / (1 + exp(2 beta xi_i h_i)) of the Hebbian term in eq. (11), shape (P, N)."""
    _check(couplings, patterns)
    _positive(beta=beta)
    return torch.sigmoid(-2 * beta * _aligned(couplings, patterns))


def gradient(couplings, patterns, beta=1.0):
    """dL / dJ_ij = -2 beta sum_mu (Hebbian term xi_i xi_j) (margin factor) (eq. (11)), shape (N, N), zero diagonal."""
    return (
        -2 * beta * (margin_factor(couplings, patterns, beta) * patterns).T @ patterns
    ).fill_diagonal_(0)


def pattern_weights(couplings, patterns, beta=1.0):
    """Margin factors divided by their sum over patterns, shape (P, N): who carries a neuron's gradient (eq. (11))."""
    _check(couplings, patterns)
    _positive(beta=beta)
    return _weights(couplings, patterns, beta)


def train(patterns, steps=300, beta=1.0, rate=5.0):
    """Pseudo-likelihood couplings, shape (N, N): full-batch descent of eq. (10) from J = 0; deterministic.

    Each neuron's gradient (eq. (11)) is divided by the sum of its margin factors, which makes it a Hebb rule whose
    weights over the patterns sum to one. Where a neuron's patterns are separable the loss decays, but the steps do
    not: the row grows without bound and its direction tends to that of the maximum margin. Otherwise it tends to
    the finite minimum. Nesterov's momentum, restarted where it points uphill, makes both fast.

    Args:
        patterns: states of shape (P, N).
        steps: descent steps.
        beta: inverse temperature of eq. (9).
        rate: step in units of 1 / (beta N).

    Raises:
        ValueError: if a parameter is not positive or ``patterns`` holds other values than +-1.
    """
    return [couplings for _, couplings in descent(patterns, [steps], beta, rate)][-1]


def descent(patterns, stages, beta=1.0, rate=5.0):
    """The training of :func:`train` seen at several steps: an iterator of pairs (step, couplings), from step 0."""
    _positive(steps=max(stages), beta=beta, rate=rate)
    size = _states(patterns).shape[1]
    couplings = ahead = patterns.new_zeros(size, size)
    age = patterns.new_zeros(size, 1)
    for step in range(max(stages) + 1):
        if step in stages:
            yield step, couplings
        weight = _weights(ahead, patterns, beta)
        slope = ((weight * patterns).T @ patterns).fill_diagonal_(0)
        last, couplings = couplings, ahead + rate / (beta * size) * slope
        uphill = (slope * (couplings - last)).sum(1, keepdim=True) < 0
        age = torch.where(uphill, 0, age + 1)
        ahead = couplings + age / (age + 3) * (couplings - last)


def retrieve(couplings, states, steps=100, parallel=True):
    """Zero-temperature dynamics (eq. (6)) of each state until it is a fixed point or in a 2-cycle, or for ``steps``.

    Steps are made in pairs, so a 2-cycle ends in the state of even steps, whatever else is in the batch.

    Args:
        couplings: J of shape (N, N).
        states: starting states, shape (P, N).
        steps: most updates of all neurons, even.
        parallel: update all neurons at once; otherwise one after the other, which has no 2-cycles if J is symmetric.

    Returns:
        The last states, shape (P, N). A neuron without field keeps its state.
    """
    _check(couplings, states)
    _positive(steps=steps)
    if steps % 2:
        raise ValueError(f"steps={steps!r} is not allowed; it must be even")
    states, active = states.clone(), torch.arange(len(states), device=states.device)
    for _ in range(steps // 2):
        before = states[active]
        after = before.clone()
        for _ in range(2):
            if parallel:
                after = _aim(after @ couplings.T, after)
            else:
                for i in range(len(couplings)):
                    after[:, i] = _aim(after @ couplings[i], after[:, i])
        states[active] = after
        active = active[(after != before).any(1)]
        if not len(active):
            break
    return states


def sample(couplings, states, beta=1.0, sweeps=1, parallel=False, generator=None):
    """Conditional sampling: every neuron redrawn from eq. (9), ``sweeps`` times.

    One after the other this is Gibbs sampling (of exp(beta sum_i<j J_ij s_i s_j) if J is symmetric); in parallel
    it is the stochastic version of eq. (6).

    Returns:
        States of shape (P, N).
    """
    _check(couplings, states)
    _positive(beta=beta, sweeps=sweeps)
    states = states.clone()
    groups = [slice(None)] if parallel else [slice(i, i + 1) for i in range(len(couplings))]
    for _ in range(sweeps):
        for group in groups:
            up = torch.sigmoid(2 * beta * (states @ couplings[group].T))
            draw = torch.rand(up.shape, generator=generator, dtype=torch.float64, device=up.device)
            states[:, group] = torch.where(draw < up, 1.0, -1.0).to(states)
    return states


def corrupt(patterns, share, generator=None):
    """Flip exactly round(share N) bits of every pattern, at random positions, shape (P, N)."""
    size = _states(patterns).shape[1]
    if not 0 <= share <= 1:
        raise ValueError(f"share={share!r} is outside [0, 1]")
    rank = (
        torch.rand(patterns.shape, generator=generator, dtype=torch.float64).argsort(1).argsort(1)
    )
    return torch.where(rank.to(patterns.device) < round(share * size), -patterns, patterns)


def stable(couplings, patterns):
    """Whether each pattern is a fixed point of eq. (6), shape (P,)."""
    _check(couplings, patterns)
    return (_aim(patterns @ couplings.T, patterns) == patterns).all(1)


def recovery(couplings, patterns, share, steps=100, parallel=True, generator=None):
    """Patterns corrupted and restored; the rates are those of :func:`uddm_lib.metrics.recovery_rates`.

    Returns:
        A table with a row a pattern: ``sequence``; ``corrupted``, the number of flipped bits; ``recovered``, the
        share of them that the dynamics flips back (NaN without any; a random end has 1/2); ``unstable``, the share
        of untouched bits that it changes; ``exact``, whether all bits are right; ``overlap`` of end and pattern.
    """
    start = corrupt(patterns, share, generator)
    end = retrieve(couplings, start, steps, parallel)
    return recovery_rates(patterns, start, end).assign(overlap=(end * patterns).mean(1).tolist())


def _weights(couplings, patterns, beta):
    # A softmax of logarithms: the factors themselves underflow long before the margin is at its maximum.
    return logsigmoid(-2 * beta * _aligned(couplings, patterns)).softmax(0)


def _aligned(couplings, patterns):
    return patterns * (patterns @ couplings.T)


def _aim(fields, states):
    return torch.where(fields == 0, states, fields.sign())


def _positive(**values):
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value!r} is not allowed; it must be above 0")


def _states(states, name="patterns"):
    if states.ndim != 2 or not states.is_floating_point() or not (states.abs() == 1).all():
        raise ValueError(
            f"{name} must be a floating-point tensor (P, N) of -1 and +1; "
            f"given is {states.dtype} of shape {tuple(states.shape)}"
        )
    return states


def _check(couplings, states):
    size = _states(states, "states").shape[1]
    if couplings.dtype != states.dtype:
        raise ValueError(
            f"couplings is {couplings.dtype} but the states are {states.dtype}; they must be alike"
        )
    if couplings.shape != (size, size):
        raise ValueError(
            f"couplings has shape {tuple(couplings.shape)}; states of {size} neurons need {(size, size)}"
        )
    if couplings.diagonal().any():
        raise ValueError(
            "couplings has a diagonal; a neuron does not listen to itself, so J_ii must be 0"
        )
