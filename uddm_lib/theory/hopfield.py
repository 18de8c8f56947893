"""Binary associative memory (paper section 3.1): couplings, margins, dynamics, recovery.

P states of N neurons are a floating-point tensor (P, N) with values -1 and +1. The load is P / N.
Couplings J are (N, N), in general not symmetric, with J_ii = 0. Row i holds what neuron i listens
to. All work is done in the dtype of the states. Randomness comes from the ``generator`` alone.
"""

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from uddm_lib._checks import positive_integer
from uddm_lib.metrics import recovery_rates
from uddm_lib.theory._arguments import (
    Couplings,
    States,
    check_memory,
    check_positive,
    check_states,
)

__all__ = [
    "conditional",
    "corrupt",
    "hebb",
    "margins",
    "projector",
    "recovery",
    "retrieve",
    "sample",
    "stable",
]


def hebb(patterns: States) -> Couplings:
    """Hebbian couplings J_ij = sum_mu xi_i xi_j / N with J_ii = 0, shape (N, N)."""
    check_states("patterns", patterns)
    return (patterns.T @ patterns / patterns.shape[1]).fill_diagonal_(0)


def projector(features: States) -> Couplings:
    """Projection on the span of the features, without diagonal: a memory that knows its source."""
    check_states("features", features)
    return (torch.linalg.pinv(features) @ features).fill_diagonal_(0)


def margins(couplings: Couplings, patterns: States) -> Float[Tensor, "P N"]:
    """Margins xi_i sum_j J_ij xi_j / ||J_i|| (eq. (7)); 0 for a neuron without couplings."""
    check_memory(couplings, patterns)
    norm = couplings.norm(dim=1)
    aligned_fields = patterns * (patterns @ couplings.T)
    return aligned_fields / torch.where(norm > 0, norm, 1) + 0.0  # no negative zeros


def stable(couplings: Couplings, patterns: States) -> Bool[Tensor, "P"]:
    """Whether each pattern is a fixed point of eq. (6)."""
    check_memory(couplings, patterns)
    return (_aligned_with(patterns @ couplings.T, patterns) == patterns).all(1)


def conditional(couplings: Couplings, states: States, beta: float = 1.0) -> Float[Tensor, "P N"]:
    """P(s_i = +1 | the other neurons) (eq. (9)) at inverse temperature ``beta``."""
    check_memory(couplings, states)
    check_positive("beta", beta)
    return torch.sigmoid(2 * beta * (states @ couplings.T))


def retrieve(
    couplings: Couplings, states: States, steps: int = 100, parallel: bool = True
) -> States:
    """Zero-temperature dynamics (eq. (6)), until each state is a fixed point or in a 2-cycle.

    Steps are made in pairs. So a 2-cycle ends in the state of even steps, whatever else is in the
    batch. A neuron without field keeps its state.

    Args:
        couplings: J of shape (N, N).
        states: starting states, shape (P, N).
        steps: most updates of all neurons, even.
        parallel: update all neurons at once. Otherwise they are updated one after the other, which
            has no 2-cycles if J is symmetric.

    Returns:
        The last states, shape (P, N).

    Raises:
        ValueError: if ``steps`` is odd or not positive.
    """
    check_memory(couplings, states)
    positive_integer("steps", steps)
    if steps % 2:
        raise ValueError(f"steps={steps!r} is not allowed; it must be even")
    states, moving = states.clone(), torch.arange(len(states), device=states.device)
    for _ in range(steps // 2):
        before = states[moving]
        after = before.clone()
        for _ in range(2):
            after = _update(couplings, after, parallel)
        states[moving] = after
        moving = moving[(after != before).any(1)]
        if not len(moving):
            break
    return states


def sample(
    couplings: Couplings,
    states: States,
    beta: float = 1.0,
    sweeps: int = 1,
    parallel: bool = False,
    generator: torch.Generator | None = None,
) -> States:
    """Conditional sampling: every neuron is redrawn from eq. (9), ``sweeps`` times.

    One after the other this is Gibbs sampling, of exp(beta sum_i<j J_ij s_i s_j) if J is symmetric.
    In parallel it is the stochastic version of eq. (6).

    Args:
        couplings: J of shape (N, N).
        states: starting states, shape (P, N).
        beta: inverse temperature of eq. (9).
        sweeps: how often every neuron is redrawn.
        parallel: redraw all neurons at once, otherwise one after the other.
        generator: of the draws.

    Returns:
        The last states, shape (P, N).
    """
    check_memory(couplings, states)
    check_positive("beta", beta)
    positive_integer("sweeps", sweeps)
    states = states.clone()
    groups = [slice(None)] if parallel else [slice(i, i + 1) for i in range(len(couplings))]
    for _ in range(sweeps):
        for group in groups:
            up = torch.sigmoid(2 * beta * (states @ couplings[group].T))
            draw = torch.rand(up.shape, generator=generator, dtype=torch.float64, device=up.device)
            states[:, group] = torch.where(draw < up, 1.0, -1.0).to(states)
    return states


def corrupt(patterns: States, share: float, generator: torch.Generator | None = None) -> States:
    """Flip exactly round(share N) bits of every pattern, at random positions.

    Raises:
        ValueError: if ``share`` is outside [0, 1].
    """
    check_states("patterns", patterns)
    if not 0 <= share <= 1:
        raise ValueError(f"share={share!r} is outside [0, 1]")
    draw = torch.rand(patterns.shape, generator=generator, dtype=torch.float64)
    rank = draw.argsort(1).argsort(1).to(patterns.device)
    return torch.where(rank < round(share * patterns.shape[1]), -patterns, patterns)


def recovery(
    couplings: Couplings,
    patterns: States,
    share: float,
    steps: int = 100,
    parallel: bool = True,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """Corrupt patterns, restore them, and measure :func:`uddm_lib.metrics.recovery_rates`.

    Args:
        couplings: J of shape (N, N).
        patterns: states of shape (P, N).
        share: share of flipped bits, in [0, 1].
        steps, parallel: of :func:`retrieve`.
        generator: of the corruption.

    Returns:
        A table with a row a pattern: ``sequence``; ``corrupted``, the number of flipped bits;
        ``recovered``, the share of them that the dynamics flips back (NaN if none was flipped, 1/2
        if the end is random); ``unstable``, the share of untouched bits that it changes; ``exact``,
        whether all bits are right; ``start`` and ``overlap``, the overlaps of start and of end with
        the pattern.
    """
    start = corrupt(patterns, share, generator)
    end = retrieve(couplings, start, steps, parallel)
    overlaps = {"start": start, "overlap": end}
    return recovery_rates(patterns, start, end).assign(
        **{name: (states * patterns).mean(1).tolist() for name, states in overlaps.items()}
    )


def _update(couplings: Couplings, states: States, parallel: bool) -> States:
    """One update of every neuron (eq. (6)); one after the other, ``states`` itself is changed."""
    if parallel:
        return _aligned_with(states @ couplings.T, states)
    for i in range(len(couplings)):
        states[:, i] = _aligned_with(states @ couplings[i], states[:, i])
    return states


def _aligned_with(fields: Float[Tensor, "*P"], states: Float[Tensor, "*P"]) -> Float[Tensor, "*P"]:
    """The signs of the fields; where a field is 0, the state as it is."""
    return torch.where(fields == 0, states, fields.sign())
