"""How many sequences a model repeats itself from: a birthday estimate.

A model that memorized n sequences repeats itself when it generates. How often each repeated
sequence comes tells n. Sequences that come once are left out: some of them are no stored ones, but
mixtures of these, which even a model that memorized generates now and then.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import gammaln
from torch import Tensor

__all__ = ["Birthday", "birthday_estimate", "groups_of_twins"]

ALIKE = 0.9  # share of equal tokens from which two sequences are one
LARGEST = 1e7
GRID = 600  # values of n and of the mean number of copies that are tried
WITHIN = 3.841 / 2  # of the largest log-likelihood: the 95 % interval by Wilks


@dataclass(frozen=True)
class Birthday:
    """What the repeats among generated sequences say of the number n that they come from.

    Attributes:
        distinct: how many differ, those that are alike counted once.
        repeated: how many of these come more than once.
        estimate: n of greatest likelihood; None where none comes more than once, or so few do
            that every large n is as likely.
        low: end of the 95 % interval of n; None where none comes more than once.
        high: its other end; None where there is none below ten million.
    """

    distinct: int
    repeated: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


def groups_of_twins(
    sequences: Int[Tensor, "N L"], scored: Bool[Tensor, "N L"] | None = None
) -> Int[np.ndarray, " N"]:
    """A label for each sequence; twins have the same one, and so have twins of twins.

    Twins agree in at least 90 % of the positions that count in one of them.
    """
    counts = torch.ones_like(sequences, dtype=torch.bool) if scored is None else scored
    first, second = [], []
    for i, (sequence, counted) in enumerate(zip(sequences, counts)):
        either = counts[i + 1 :] | counted
        equal, total = ((sequences[i + 1 :] == sequence) & either).sum(1), either.sum(1)
        near = ((total > 0) & (equal >= ALIKE * total)).nonzero()[:, 0] + i + 1
        first += [i] * len(near)
        second += near.tolist()
    size = len(sequences)
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1])


def birthday_estimate(label: Int[np.ndarray, " N"]) -> Birthday:
    """n and its 95 % interval from the sizes of groups.

    The copies of each of n sequences are taken for Poisson numbers of one mean. Groups of one are
    not used. If some sequences are likelier than others, n is underestimated; if a mixture comes
    more than once, it is overestimated.

    Args:
        label: of each generated sequence, as :func:`groups_of_twins` gives it.
    """
    sizes = np.bincount(label)
    distinct, sizes = len(sizes), sizes[sizes > 1]
    repeated = len(sizes)
    if not repeated:
        return Birthday(distinct, 0)
    n = np.geomspace(repeated, LARGEST, GRID)[:, None]
    mean = np.geomspace(1e-4, 2 * sizes.max(), GRID)
    # The other n - repeated sequences came once or not at all.
    likelihood = (
        gammaln(n + 1)
        - gammaln(n - repeated + 1)
        + (n - repeated) * (np.log1p(mean) - mean)
        + sizes.sum() * np.log(mean)
        - repeated * mean
    ).max(1)
    inside = n[likelihood >= likelihood.max() - WITHIN, 0]
    high = None if inside[-1] >= LARGEST * 0.99 else float(inside[-1])
    best = float(n[likelihood.argmax(), 0])
    estimate = best if high is not None or best < LARGEST / 100 else None
    return Birthday(distinct, repeated, estimate, float(inside[0]), high)
