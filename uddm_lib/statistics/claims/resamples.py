"""Statistics of a sweep's rows, each with its resamples over trainings and sequences."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from uddm_lib.statistics.summary import resample_groups

__all__ = ["Draws", "NotTested", "Resamples"]

# What was measured, then its resamples: in each training, or over all.
Draws = Float[np.ndarray, "..."]
_VALUES_AT_ONCE = 2**22  # weights in one array: tens of MB, however many rows there are


class NotTested(Exception):
    """A sweep does not hold what a claim is about; the message is the reason."""


class Resamples:
    """The bootstrap of :mod:`uddm_lib.statistics.summary`, for statistics of weighted rows.

    Sequences are drawn with replacement, the same for all trainings: a draw depends on the name of
    the set alone. A statistic has a row per training, so that differences at a point come from the
    same trainings and sequences. :meth:`combined` then adds the spread between trainings.

    Args:
        draws: number of resamples.
    """

    def __init__(self, draws: int = 1000) -> None:
        self.draws = draws
        self._kept: dict[str, Float[np.ndarray, "draws sequences"]] = {}

    def mean(self, rows: pd.DataFrame, column: str) -> Draws:
        """Mean of a column over the rows of one point and one set, a row per training.

        Raises:
            NotTested: if no row has a value.
        """
        rows = rows[rows[column].notna()]
        if rows.empty:
            raise NotTested(f"nothing has a value of {column!r}")
        _, training = np.unique(rows["seed"].to_numpy(), return_inverse=True)
        sequence, counts = self._drawn(rows)
        table = np.zeros((2, training.max() + 1, counts.shape[1]))  # sums and numbers of values
        np.add.at(table[0], (training, sequence), rows[column].to_numpy(float))
        np.add.at(table[1], (training, sequence), 1)
        with np.errstate(invalid="ignore"):  # NaN: a draw without a value
            return (table[0] @ counts.T) / (table[1] @ counts.T)

    def auc(self, rows: pd.DataFrame, column: str, positive: ArrayLike) -> Draws:
        """Probability that a positive row has the larger value; equal values count half."""

        def measure(
            yes: Float[np.ndarray, "part values"], no: Float[np.ndarray, "part values"]
        ) -> Float[np.ndarray, " part"]:
            below = no.cumsum(1) - no / 2
            return (yes * below).sum(1) / (yes.sum(1) * no.sum(1))

        return self._of_two_groups(rows, column, positive, measure)

    def overlap(self, rows: pd.DataFrame, column: str, positive: ArrayLike) -> Draws:
        """Overlap of the values of positive and other rows: 1 minus their Kolmogorov distance.

        This is the overlap coefficient of two densities that cross once, without bins. Finite
        samples lie apart even if they come from one distribution, and resamples once more: the
        bootstrap's estimate of this bias is taken off what was measured, and twice off resamples.
        """

        def measure(
            yes: Float[np.ndarray, "part values"], no: Float[np.ndarray, "part values"]
        ) -> Float[np.ndarray, " part"]:
            shares = [table.cumsum(1) / table.sum(1, keepdims=True) for table in (yes, no)]
            return 1 - abs(shares[0] - shares[1]).max(1)

        found = self._of_two_groups(rows, column, positive, measure)
        bias = np.nanmean(found[:, 1:], axis=1, keepdims=True) - found[:, :1]
        return found - bias * np.append(1, np.full(self.draws, 2))

    def combined(self, found: Draws, name: str) -> Draws:
        """Over all trainings; ``name`` is that of their point, with draws of its own.

        Raises:
            NotTested: if no training has a value.
        """
        found = found[~np.isnan(found[:, 0])]
        if not len(found):
            raise NotTested("no training has a value")
        generator = np.random.default_rng(list(name.encode()))
        return np.append(found[:, 0].mean(), resample_groups(found[:, 1:], generator))

    def _of_two_groups(
        self,
        rows: pd.DataFrame,
        column: str,
        positive: ArrayLike,
        measure: Callable[..., Float[np.ndarray, " part"]],
    ) -> Draws:
        """A statistic of the weights of positive and of other rows, at each value in order."""
        chosen: Bool[np.ndarray, " rows"] = np.asarray(positive, dtype=bool)
        found = []
        for seed in rows["seed"].unique():
            own = (rows["seed"] == seed).to_numpy()
            found.append(self._of_one_training(rows[own], column, chosen[own], measure))
        return np.stack(found)

    def _of_one_training(
        self,
        rows: pd.DataFrame,
        column: str,
        positive: Bool[np.ndarray, " rows"],
        measure: Callable[..., Float[np.ndarray, " part"]],
    ) -> Float[np.ndarray, " draws"]:
        values = rows[column].to_numpy(float)
        order = np.argsort(values, kind="stable")
        rows, positive = rows.iloc[order], positive[order]
        starts = np.unique(values[order], return_index=True)[1]
        drawn = [
            (np.flatnonzero(rows["set"] == name), *self._drawn(part))
            for name, part in rows.groupby("set", sort=False)
        ]
        at_once, measured = max(1, _VALUES_AT_ONCE // len(rows)), []
        for start in range(0, 1 + self.draws, at_once):
            weights = np.ones((min(at_once, 1 + self.draws - start), len(rows)))
            for places, sequence, counts in drawn:
                weights[:, places] = counts[start : start + at_once, sequence]
            groups = [
                np.add.reduceat(weights * group, starts, axis=1) for group in (positive, ~positive)
            ]
            with np.errstate(invalid="ignore"):  # NaN: a draw without one of the groups
                measured.append(measure(*groups))
        return np.concatenate(measured)

    def _drawn(self, rows: pd.DataFrame) -> tuple[np.ndarray, Float[np.ndarray, "draws sequences"]]:
        """The sequence of each row of one set, and how often each is drawn; at first once."""
        sequence = rows["sequence"].to_numpy()
        units = int(sequence.max()) + 1
        key = f"{rows['set'].iloc[0]}: {units}"
        if key not in self._kept:
            generator = np.random.default_rng(list(key.encode()))
            drawn = generator.multinomial(units, np.full(units, 1 / units), size=self.draws)
            self._kept[key] = np.vstack([np.ones(units), drawn]).astype(np.float32)
        return sequence, self._kept[key]
