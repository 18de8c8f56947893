"""Statistics of a sweep's rows, each with its resamples over trainings and sequences."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

__all__ = ["Draws", "NotTested", "Resamples"]

Draws = Float[np.ndarray, " draws"]  # what was measured, then its resamples
_VALUES_AT_ONCE = 2**22  # weights in one array: tens of MB, however many rows there are


class NotTested(Exception):
    """A sweep does not hold what a claim is about; the message is the reason."""


class Resamples:
    """The crossed bootstrap of :mod:`uddm_lib.statistics.summary`, as weights of rows.

    A draw takes the trainings of a point with replacement, and the same sequences for all of
    them. It depends on the names of the point and the set alone, so that differences between sets,
    levels and sizes are paired: they come from the same trainings and sequences.

    Args:
        draws: number of resamples.
    """

    def __init__(self, draws: int = 1000) -> None:
        self.draws = draws
        self._kept: dict[str, Float[np.ndarray, "draws units"]] = {}

    def mean(self, rows: pd.DataFrame, column: str) -> Draws:
        """Mean of a column over the rows of one point and one set; NaN is left out.

        Raises:
            NotTested: if no row has a value.
        """
        rows = rows[rows[column].notna()]
        if rows.empty:
            raise NotTested(f"nothing has a value of {column!r}")
        (trainings, _, training), (sequences, _, sequence) = self._factors(rows)
        table = np.zeros((2, trainings.shape[1], sequences.shape[1]))  # sums and numbers of values
        np.add.at(table[0], (training, sequence), rows[column].to_numpy(float))
        np.add.at(table[1], (training, sequence), 1)
        total, count = ((trainings * (sequences @ part.T)).sum(1) for part in table)
        with np.errstate(invalid="ignore"):  # NaN: a draw without a value
            return total / count

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
        bias = np.nanmean(found[1:]) - found[0]
        found -= np.append(bias, np.full(self.draws, 2 * bias))
        return found.clip(0, 1)

    def _of_two_groups(
        self,
        rows: pd.DataFrame,
        column: str,
        positive: ArrayLike,
        measure: Callable[..., Float[np.ndarray, " part"]],
    ) -> Draws:
        """A statistic of the weights of positive and of other rows, at each value in order."""
        yes: Bool[np.ndarray, " rows"] = np.asarray(positive, dtype=bool)
        values = rows[column].to_numpy(float)
        order = np.argsort(values, kind="stable")
        rows, yes = rows.iloc[order], yes[order]
        starts = np.unique(values[order], return_index=True)[1]

        def of_weights(weights: Float[np.ndarray, "part rows"]) -> Float[np.ndarray, " part"]:
            groups = [np.add.reduceat(weights * chosen, starts, axis=1) for chosen in (yes, ~yes)]
            return measure(*groups)

        return self._over(rows, of_weights)

    def _over(
        self,
        rows: pd.DataFrame,
        statistic: Callable[[Float[np.ndarray, "part rows"]], Float[np.ndarray, " part"]],
    ) -> Draws:
        """A statistic of weighted rows, at first of all alike."""
        at_once = max(1, _VALUES_AT_ONCE // len(rows))
        factors = self._factors(rows)
        measured = []
        for start in range(0, 1 + self.draws, at_once):
            weights = np.ones((min(at_once, 1 + self.draws - start), len(rows)))
            for table, places, units in factors:
                weights[:, places] *= table[start : start + at_once, units]
            with np.errstate(invalid="ignore"):  # NaN: a draw without one of the groups
                measured.append(statistic(weights))
        return np.concatenate(measured)

    def _factors(
        self, rows: pd.DataFrame
    ) -> list[tuple[Float[np.ndarray, "draws units"], np.ndarray, np.ndarray]]:
        """Weights by draw and unit, with the places of rows and the unit of each."""
        factors = []
        names = rows["size"].astype(str) + " " + rows["n"].astype(str)
        for place, seeds in rows["seed"].groupby(names.to_numpy()):
            trainings, units = np.unique(seeds.to_numpy(), return_inverse=True)
            places = np.flatnonzero(names == place)
            factors.append((self._counts(f"{place}", len(trainings)), places, units))
        for name, sequences in rows["sequence"].groupby(rows["set"].to_numpy()):
            places, units = np.flatnonzero(rows["set"] == name), sequences.to_numpy()
            factors.append((self._counts(f"{name}", int(units.max()) + 1), places, units))
        return factors

    def _counts(self, name: str, units: int) -> Float[np.ndarray, "draws units"]:
        """How often every unit is drawn; in the first row, once."""
        key = f"{name}: {units}"
        if key not in self._kept:
            generator = np.random.default_rng(list(key.encode()))
            drawn = generator.multinomial(units, np.full(units, 1 / units), size=self.draws)
            self._kept[key] = np.vstack([np.ones(units), drawn]).astype(np.float32)
        return self._kept[key]
