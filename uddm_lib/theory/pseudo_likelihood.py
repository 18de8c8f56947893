"""Pseudo-likelihood learning of a binary associative memory (paper section 3.1, eq. (10) and (11)).

Shapes are those of :mod:`uddm_lib.theory.hopfield`: patterns (P, N) of -1 and +1, couplings (N, N).
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from uddm_lib._checks import positive_integer
from uddm_lib.theory._arguments import (
    Couplings,
    States,
    check_memory,
    check_positive,
    check_states,
)

__all__ = ["descent", "gradient", "loss", "margin_factor", "pattern_weights", "train"]


def loss(couplings: Couplings, patterns: States, beta: float = 1.0) -> Float[Tensor, ""]:
    """Loss (eq. (10)), nats summed over patterns and neurons; autograd can follow it."""
    check_memory(couplings, patterns)
    check_positive("beta", beta)
    return 0.0 - logsigmoid(2 * beta * _aligned_fields(couplings, patterns)).sum()


def margin_factor(
    couplings: Couplings, patterns: States, beta: float = 1.0
) -> Float[Tensor, "P N"]:
    """The factor 1 / (1 + exp(2 beta xi_i h_i)) of the Hebbian term in eq. (11)."""
    check_memory(couplings, patterns)
    check_positive("beta", beta)
    return torch.sigmoid(-2 * beta * _aligned_fields(couplings, patterns))


def gradient(couplings: Couplings, patterns: States, beta: float = 1.0) -> Float[Tensor, "N N"]:
    """dL / dJ_ij = -2 beta sum_mu (Hebbian term xi_i xi_j) (margin factor) (eq. (11)), J_ii = 0."""
    weighted = -2 * beta * (margin_factor(couplings, patterns, beta) * patterns)
    return (weighted.T @ patterns).fill_diagonal_(0)


def pattern_weights(
    couplings: Couplings, patterns: States, beta: float = 1.0
) -> Float[Tensor, "P N"]:
    """Margin factors divided by their sum over patterns: who carries a neuron's gradient."""
    check_memory(couplings, patterns)
    check_positive("beta", beta)
    return _weights(couplings, patterns, beta)


def train(
    patterns: States,
    steps: int = 300,
    beta: float = 1.0,
    rate: float = 5.0,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Couplings:
    """Couplings of shape (N, N) by full-batch descent of eq. (10) from J = 0; deterministic.

    Each neuron's gradient (eq. (11)) is divided by the sum of its margin factors. That makes it a
    Hebb rule whose weights over the patterns sum to one. Where a neuron's patterns are separable,
    the loss decays but the steps do not: the row grows without bound, and its direction tends to
    that of the maximum margin. Otherwise the row tends to the finite minimum. Nesterov's momentum,
    restarted where it points uphill, makes both fast.

    Args:
        patterns: states of shape (P, N).
        steps: descent steps.
        beta: inverse temperature of eq. (9).
        rate: step in units of 1 / (beta N).
        project: maps the couplings to allowed ones after each step, such as symmetric ones.

    Raises:
        ValueError: if a parameter is not positive, or ``patterns`` holds other values than -1, +1.
    """
    ((_, couplings),) = descent(patterns, [steps], beta, rate, project)
    return couplings


def descent(
    patterns: States,
    stages: Sequence[int],
    beta: float = 1.0,
    rate: float = 5.0,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[tuple[int, Couplings]]:
    """The descent of :func:`train` seen at several steps: pairs (step, couplings), from step 0.

    Args:
        patterns: states of shape (P, N).
        stages: steps at which the couplings are given.
        beta, rate, project: of :func:`train`.
    """
    last_step = positive_integer("steps", max(stages))
    check_positive("beta", beta)
    check_positive("rate", rate)
    check_states("patterns", patterns)
    size = patterns.shape[1]
    couplings = ahead = patterns.new_zeros(size, size)
    age = patterns.new_zeros(size, 1)
    for step in range(last_step + 1):
        if step in stages:
            yield step, couplings
        weight = _weights(ahead, patterns, beta)
        slope = ((weight * patterns).T @ patterns).fill_diagonal_(0)
        last, couplings = couplings, ahead + rate / (beta * size) * slope
        if project is not None:
            couplings = project(couplings)
        uphill = (slope * (couplings - last)).sum(1, keepdim=True) < 0
        age = torch.where(uphill, 0, age + 1)
        ahead = couplings + age / (age + 3) * (couplings - last)


def _weights(couplings: Couplings, patterns: States, beta: float) -> Float[Tensor, "P N"]:
    # A softmax of logarithms: the factors underflow long before the margin is at its maximum.
    return logsigmoid(-2 * beta * _aligned_fields(couplings, patterns)).softmax(0)


def _aligned_fields(couplings: Couplings, patterns: States) -> Float[Tensor, "P N"]:
    """xi_i h_i, positive where a neuron's field supports the pattern."""
    return patterns * (patterns @ couplings.T)
