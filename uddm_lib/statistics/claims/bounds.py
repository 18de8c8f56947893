"""A claim, what is measured for it, and the bounds that the paper's words set.

Bounds are the same for every corpus, size and profile. They were fixed before a sweep was held
against them, and are not moved.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from uddm_lib.statistics.claims.measures import Model
from uddm_lib.statistics.claims.resamples import Draws, NotTested

__all__ = ["Claim", "Measure", "Statistic", "above", "below", "between", "claim", "each"]

NEAR_ONE = 0.9  # "reliably", "align perfectly"
NEAR_ZERO = 0.1  # "approaches zero", "near-zero", "vanishing": a share, or nats a token
ALIKE = 0.05  # "converge to the same level": half of what counts as near
NOT_MUCH = 0.1  # "we do not spot much differences": what counts as near
MOST = 0.5  # "is characterized by", "much of", "frequently": more than half
LEVEL = 0.025  # "stabilize": alike over two doublings of n
APART = 0.5  # "differentiate from each other": the distributions share less than half
ROUGHLY_HALF = (0.4, 0.6)  # "roughly 50%": 0.1 to either side
# Areas under the curve as Hosmer and Lemeshow name them: from 0.7 acceptable, from 0.9 outstanding.
DISTINGUISHES = 0.7  # "distinguishes between different token recovery behaviors"
REPLACES = 0.9  # "eliminating the need to explicitly verify": nearly as good as the check itself

TRAIN_TEST = ("train", "test")
TRAIN_GENERATED = ("train", "generated")

T = TypeVar("T")
Parts = dict[str, Draws | NotTested]  # by what they differ in
Measure = Callable[[Model], Draws | Parts]


@dataclass(frozen=True)
class Statistic:
    """What is measured for a claim, and the range that the claim allows.

    Attributes:
        low, high: ends of the range, which are outside of it.
        unit: of what is measured.
        words: what is measured.
        measure: gives it for a model size; a dictionary by time or set if it is several values,
            which must all lie in the range.
    """

    low: float
    high: float
    unit: str
    words: str
    measure: Measure

    @property
    def bound(self) -> str:
        """The range in words."""
        if np.isinf(self.high):
            return f"> {self.low:g}"
        if np.isinf(self.low):
            return f"< {self.high:g}"
        return f"from {self.low:g} to {self.high:g}"

    def verdict(self, low: float, high: float) -> str:
        """The rule: an interval from ``low`` to ``high`` against the range."""
        largest = np.finfo(float).max  # a transition beyond the grid is infinite, and allowed
        low, high = np.clip([low, high], -largest, largest)
        if self.low < low and high < self.high:
            return "holds"
        if high <= self.low or low >= self.high:
            return "does not hold"
        return "undecided"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, with the statistics that decide about it.

    Attributes:
        name: for short.
        text: the claim in words.
        source: where the paper makes it.
        statistics: all of them must allow it.
        of_sizes: whether it compares a model size with the next smaller one.
    """

    name: str
    text: str
    source: str
    statistics: tuple[Statistic, ...]
    of_sizes: bool = False


def claim(
    name: str, text: str, source: str, *statistics: Statistic, of_sizes: bool = False
) -> Claim:
    """A claim with one statistic or several."""
    return Claim(name, text, source, statistics, of_sizes)


def above(low: float, unit: str, words: str, measure: Measure) -> Statistic:
    """What must lie above ``low``."""
    return Statistic(low, np.inf, unit, words, measure)


def below(high: float, unit: str, words: str, measure: Measure) -> Statistic:
    """What must lie below ``high``."""
    return Statistic(-np.inf, high, unit, words, measure)


def between(low: float, high: float, unit: str, words: str, measure: Measure) -> Statistic:
    """What must lie between ``low`` and ``high``."""
    return Statistic(low, high, unit, words, measure)


def each(values: Iterable[T], measure: Callable[[T], Draws], label: str = "{}") -> Parts:
    """What is measured at each of several values, by their labels."""
    parts: Parts = {}
    for value in values:
        try:
            parts[label.format(value)] = measure(value)
        except NotTested as reason:
            parts[label.format(value)] = reason
    return parts
