"""States for a binary memory to store: random bits, and examples of two sources with structure.

All are float64 tensors of -1 and +1. Randomness comes from the ``generator`` alone.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from uddm_lib._checks import positive_integer
from uddm_lib.theory._arguments import Couplings, States, check_states
from uddm_lib.theory.hopfield import sample

__all__ = ["feature_examples", "random_patterns", "spin_glass", "spin_glass_examples"]


def random_patterns(count: int, size: int, generator: torch.Generator | None = None) -> States:
    """Independent fair bits: states of shape (count, size)."""
    shape = positive_integer("count", count), positive_integer("size", size)
    return 2.0 * torch.randint(2, shape, generator=generator, dtype=torch.float64) - 1


def feature_examples(
    count: int,
    features: Float[Tensor, "D N"],
    active: int = 3,
    generator: torch.Generator | None = None,
) -> States:
    """Examples of the random-features model: signs of sums of hidden features with random signs.

    Args:
        count: number of examples.
        features: hidden features, states of shape (D, N).
        active: features in an example. It is odd, so that no sum is zero, and at most D.
        generator: of the choice of features and of their signs.

    Returns:
        States of shape (count, N).

    Raises:
        ValueError: if ``active`` is even or outside 1 to D.
    """
    positive_integer("count", count)
    check_states("features", features)
    hidden = len(features)
    if not (1 <= active <= hidden and active % 2):
        raise ValueError(
            f"active={active!r} is not allowed; it must be odd, from 1 to the {hidden} features"
        )
    ranks = torch.rand(count, hidden, generator=generator, dtype=torch.float64)
    chosen = ranks.argsort(1)[:, :active]
    signs = random_patterns(count, active, generator).to(features)
    coefficients = torch.zeros(count, hidden).to(features).scatter(1, chosen, signs)
    return coefficients.matmul(features).sign()


def spin_glass(size: int, generator: torch.Generator | None = None) -> Couplings:
    """Couplings of a teacher: symmetric, Gaussian, of variance 1 / size, without diagonal."""
    positive_integer("size", size)
    half = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return ((half + half.T) / math.sqrt(2 * size)).fill_diagonal_(0)


def spin_glass_examples(
    count: int,
    teacher: Couplings,
    beta: float = 1.0,
    sweeps: int = 50,
    generator: torch.Generator | None = None,
) -> States:
    """Examples of a teacher, shape (count, N): it samples them (eq. (9)) from random starts."""
    start = random_patterns(count, len(teacher), generator)
    return sample(teacher, start, beta, sweeps, generator=generator)
