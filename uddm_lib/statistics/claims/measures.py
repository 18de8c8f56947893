"""What is measured of one model size on one corpus, to hold the paper's claims against."""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from uddm_lib.statistics.claims.resamples import Draws, NotTested, Resamples
from uddm_lib.statistics.entropies import FEW
from uddm_lib.statistics.summary import of_denoiser
from uddm_lib.statistics.transition import crossing

__all__ = ["Model"]

LOW_ENTROPY = 0.1  # nats; a token below it is sure
ONE_T = 0.1  # the time of claims that are made at one t, and the share of the greedy process
LARGEST_T = 0.5  # of claims that are made at every t: at t = 1 nothing of the original is left
THRESHOLD = 0.3  # share of corrupted tokens; where the gap falls below it lies the transition


class Model:
    """One model size on one corpus: all its n and trainings.

    The methods return a measured value followed by its resamples (:class:`Resamples`): what is
    measured at one n has a row per training. They raise :class:`NotTested` if the sweep does not
    hold what is asked for.

    Args:
        tables: tables of :func:`uddm_lib.statistics.collect.read_runs`, of this size and corpus.
        resamples: those of the sweep.
        smaller: the next smaller model on the same corpus, if there is one.
    """

    def __init__(
        self,
        tables: Mapping[str, pd.DataFrame],
        resamples: Resamples,
        smaller: "Model | None" = None,
    ) -> None:
        self.tables = {
            name: of_denoiser(table) if "denoiser" in table else table
            for name, table in tables.items()
        }
        self.resamples = resamples
        self.size = str(tables["recovery"]["size"].iloc[0])
        self._smaller = smaller

    @cached_property
    def all_n(self) -> list[int]:
        found = sorted(self.tables["recovery"]["n"].unique().tolist())
        if len(found) < 2:
            raise NotTested("the sweep has one n")
        return found

    @property
    def smallest(self) -> int:
        return self.all_n[0]

    @property
    def largest(self) -> int:
        return self.all_n[-1]

    @property
    def smaller(self) -> "Model":
        if self._smaller is None:
            raise NotTested("the sweep has one model size")
        return self._smaller

    @cached_property
    def times(self) -> list[float]:
        """Diffusion times of the claims that are made at every t."""
        times = self.tables["recovery"]["t"].unique().tolist()
        return sorted(t for t in times if t <= LARGEST_T)

    @cached_property
    def shares(self) -> list[float]:
        """Shares of corrupted tokens of the greedy process."""
        return sorted(self.tables["basins"]["share"].unique().tolist())

    def at(self, n: int, measure: Callable[[int], Draws]) -> Draws:
        """What is measured at n, over all trainings."""
        return self.resamples.combined(measure(n), f"{self.size} {n}")

    def change(self, measure: Callable[[int], Draws]) -> Draws:
        """What is measured at the largest n minus that at the smallest."""
        return self.at(self.largest, measure) - self.at(self.smallest, measure)

    def step(self, measure: Callable[["Model", int], Draws]) -> Draws:
        """What is measured at the largest n minus that of the next smaller model."""
        own = self.at(self.largest, lambda n: measure(self, n))
        other = self.smaller
        return own - other.at(other.largest, lambda n: measure(other, n))

    def stochastic(self, n: int, name: str, t: float = ONE_T, column: str = "recovered") -> Draws:
        """A rate of the stochastic process, from time ``t``."""
        return self._rate("recovery", n, name, "t", t, column)

    def greedy(self, n: int, name: str, share: float = ONE_T, column: str = "recovered") -> Draws:
        """A rate of the greedy process, from a share of corrupted tokens."""
        return self._rate("basins", n, name, "share", share, column)

    def basin(self, n: int, name: str) -> Draws:
        """Greedy recovery, averaged over all shares."""
        return np.mean([self.greedy(n, name, share) for share in self.shares], axis=0)

    def gap(self, n: int, t: float) -> Draws:
        """Train minus test recovery."""
        return self.stochastic(n, "train", t) - self.stochastic(n, "test", t)

    def transition(self, t: float) -> Draws:
        """The n at which the gap falls below ``THRESHOLD``; infinite if it never does."""
        n = np.array(self.all_n, dtype=float)
        gaps = np.array([self.at(n, lambda n: self.gap(n, t)) for n in self.all_n]).T
        return np.array([crossing(n, gap, THRESHOLD) for gap in gaps])

    def delay(self, t: float) -> Draws:
        """Transition of this size over that of the next smaller one."""
        larger, smaller = self.transition(t), self.smaller.transition(t)
        ends = max(self.smallest, self.smaller.smallest), np.inf
        if larger[0] == smaller[0] and larger[0] in ends:
            raise NotTested("both transitions lie outside of the grid")
        with np.errstate(invalid="ignore"):  # both infinite: that draw shows no delay
            return np.where(larger == smaller, 1.0, larger / smaller)

    def sure(self, n: int, name: str, outcome: str | None = None) -> Draws:
        """Share of corrupted tokens with a low entropy, of those recovered, failed, or all."""
        rows = self._tokens(n, name)
        if outcome:
            rows = rows[rows["outcome"] == outcome]
        _check_enough(len(rows), f"corrupted tokens {outcome or 'in all'}")
        return self.resamples.mean(rows.assign(sure=rows["entropy"] < LOW_ENTROPY), "sure")

    def token_auc(self, n: int, name: str) -> Draws:
        """Probability that a failed token has a larger entropy than a recovered one."""
        rows = self._tokens(n, name)
        failed = rows["outcome"] == "failed"
        _check_enough(int(failed.sum()), "corrupted tokens failed")
        _check_enough(int((~failed).sum()), "corrupted tokens recovered")
        return self.resamples.auc(rows, "entropy", failed)

    def entropy(self, n: int, name: str) -> Draws:
        """Mean entropy of sequences, in nats per token."""
        return self.resamples.mean(self._sequences(name, n), "per_token")

    def entropy_gap(self, n: int) -> Draws:
        """Entropy of generated minus training sequences, in nats per token."""
        return self.entropy(n, "generated") - self.entropy(n, "train")

    def overlap(self, n: int) -> Draws:
        """Overlap of the entropies of training and generated sequences."""
        rows = pd.concat([self._sequences(name, n) for name in ("train", "generated")])
        return self.resamples.overlap(rows, "entropy", rows["set"] == "generated")

    def widest(self) -> int:
        """The n in between at which the entropy gap is largest."""
        return max(self.in_between(), key=lambda n: self.at(n, self.entropy_gap)[0])

    def in_between(self) -> list[int]:
        """All n but the smallest and the largest."""
        if len(self.all_n) < 3:
            raise NotTested("the sweep has two n, none in between")
        return self.all_n[1:-1]

    def copy_auc(self) -> Draws:
        """Probability that a copy has a smaller entropy than another generated sequence."""
        rows = self._sequences("generated")
        copy = rows["overlap"] == 1
        _check_enough(int(copy.sum()), "generated sequences that are copies")
        _check_enough(int((~copy).sum()), "generated sequences that are no copies")
        return self.resamples.auc(rows, "entropy", ~copy)

    def peak(self) -> Draws:
        """Largest validation NELBO in between minus the larger one of the two ends, in nats."""
        table = self.tables["validation"].assign(set="validation", sequence=0)
        if table.groupby("n")["seed"].nunique().min() < 2:
            raise NotTested("one training a point gives no interval of the perplexity")
        nelbo = {
            n: self.at(n, lambda n: self.resamples.mean(table[table["n"] == n], "nelbo"))
            for n in self.all_n
        }
        inner = np.max([nelbo[n] for n in self.in_between()], axis=0)
        return inner - np.maximum(nelbo[self.smallest], nelbo[self.largest])

    def slope(self, measure: Callable[[int], Draws]) -> Draws:
        """Change of what is measured at n per doubling of n, over the last two n."""
        before, last = self.all_n[-2:]
        return (self.at(last, measure) - self.at(before, measure)) / np.log2(last / before)

    def _rate(self, table: str, n: int, name: str, level: str, value: float, column: str) -> Draws:
        rows = self.tables[table]
        rows = rows[(rows["n"] == n) & (rows["set"] == name) & np.isclose(rows[level], value)]
        if rows.empty:
            raise NotTested(f"the sweep has no {level} = {value:g}")
        return self.resamples.mean(rows, column)

    def _tokens(self, n: int, name: str) -> pd.DataFrame:
        rows = self.tables["token_entropy"]
        return rows[(rows["n"] == n) & (rows["set"] == name)]

    def _sequences(self, name: str, n: int | None = None) -> pd.DataFrame:
        rows = self.tables["sequence_entropy"]
        rows = rows[rows["set"] == name]
        if n is not None:
            rows = rows[rows["n"] == n]
        if rows.empty:
            raise NotTested(f"the sweep has no {name} sequences")
        return rows.assign(per_token=rows["entropy"] / rows["tokens"])


def _check_enough(number: int, what: str) -> None:
    if number < FEW:
        raise NotTested(f"fewer than {FEW} {what}")
