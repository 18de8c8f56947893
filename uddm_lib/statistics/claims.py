"""What a sweep must show: each claim with its limit and the value that was measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from uddm_lib.statistics.summary import of_denoiser, pivot
from uddm_lib.statistics.transition import at_time, gaps, transition_points

__all__ = ["CLAIMS", "Claim", "Measurements", "evaluate"]


@dataclass(frozen=True)
class Measurements:
    """What is known of one model size on one corpus.

    Attributes:
        gaps: train, test and gap by n and t (:func:`uddm_lib.statistics.transition.gaps`).
        recovery: the rows of ``gaps`` at the time of the claims, by n.
        entropy: mean conditional entropy in nats per token: a row per n, a column per set.
    """

    gaps: pd.DataFrame
    recovery: pd.DataFrame
    entropy: pd.DataFrame

    @property
    def smallest(self) -> int:
        return int(self.entropy.index.min())

    @property
    def largest(self) -> int:
        return int(self.entropy.index.max())

    def recovered(self, n: int, name: str) -> float:
        """Recovery of one set (``train``, ``test``) at the time of the claims."""
        return float(self.recovery[name].loc[n])

    def entropies(self, n: int) -> pd.Series:
        """Entropy of training and of generated sequences."""
        return self.entropy.loc[[n], ["train", "generated"]].iloc[0]

    def largest_separation(self) -> float:
        """Entropy of generated minus training sequences, at its largest in between."""
        n = self.entropy.index
        between = self.entropy[(n > self.smallest) & (n < self.largest)]
        return (between["generated"] - between["train"]).max()

    def final_gap(self) -> float:
        """The largest absolute gap in recovery at the largest n, over t <= 0.5."""
        rows = self.gaps[(self.gaps["n"] == self.largest) & (self.gaps["t"] <= 0.5)]
        return rows["gap"].abs().max()


@dataclass(frozen=True)
class Claim:
    """One claim about a model size.

    Attributes:
        text: the claim in words; ``{t}`` stands for the time at which recovery is measured.
        at_least: whether the limit is the least or the largest value allowed.
        measure: gives the value that is held against the limit.
    """

    text: str
    at_least: bool
    measure: Callable[[Measurements], float]

    def holds(self, measured: float, limit: float) -> bool:
        """Whether a value is on the right side of a limit."""
        return bool(measured >= limit if self.at_least else measured <= limit)


CLAIMS = {  # by the name of the limit
    "smallest_train": Claim(
        "smallest n: train recovery at t = {t}",
        at_least=True,
        measure=lambda model: model.recovered(model.smallest, "train"),
    ),
    "smallest_test": Claim(
        "smallest n: test recovery at t = {t}",
        at_least=False,
        measure=lambda model: model.recovered(model.smallest, "test"),
    ),
    "smallest_entropy": Claim(
        "smallest n: entropy of training sequences",
        at_least=False,
        measure=lambda model: model.entropies(model.smallest)["train"],
    ),
    "near_zero": Claim(
        "smallest n: entropy of training and of generated sequences",
        at_least=False,
        measure=lambda model: model.entropies(model.smallest).max(),
    ),
    "apart": Claim(
        "in between: entropy of generated minus training sequences, at its largest",
        at_least=True,
        measure=Measurements.largest_separation,
    ),
    "largest_test": Claim(
        "largest n: test recovery at t = {t}",
        at_least=True,
        measure=lambda model: model.recovered(model.largest, "test"),
    ),
    "largest_gap": Claim(
        "largest n: |train - test| recovery at every t <= 0.5",
        at_least=False,
        measure=Measurements.final_gap,
    ),
    "largest_entropy": Claim(
        "largest n: entropy of training sequences",
        at_least=True,
        measure=lambda model: model.entropies(model.largest)["train"],
    ),
    "above_zero": Claim(
        "largest n: entropy of training and of generated sequences",
        at_least=True,
        measure=lambda model: model.entropies(model.largest).min(),
    ),
}
_ALLOWED = [*CLAIMS, "t", "transition_gap"]

_Row = tuple[str, str, str, str, float, bool]
_COLUMNS = ["corpus", "size", "claim", "limit", "measured", "holds"]


def evaluate(
    tables: Mapping[str, pd.DataFrame], limits: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """Hold a sweep against its claims: one row per claim, corpus and model size.

    Args:
        tables: the tables of :func:`uddm_lib.statistics.collect.figure_tables`.
        limits: by corpus, the limit of each claim that is made, by its name in ``CLAIMS``.
            ``t`` is the time at which recovery is measured (0.1 by default).
            ``transition_gap`` claims that larger models have their transition at a larger n:
            there the gap at ``t`` falls below it.

    Returns:
        A table ``corpus, size, claim, limit, measured, holds``. Recovery is a share of tokens,
        entropy is in nats per token.

    Raises:
        ValueError: if a limit, corpus or time is unknown; the message lists the allowed ones.
    """
    rows: list[_Row] = []
    for corpus, given in limits.items():
        recovery, entropy = tables["figure2_recovery"], tables["figure5_entropy"]
        _check_limits(corpus, given, list(recovery["corpus"].unique()))
        recovery = recovery[recovery["corpus"] == corpus]
        entropy = entropy[entropy["corpus"] == corpus]
        t = given.get("t", 0.1)
        for size in recovery["size"].unique():
            model = _measurements(
                recovery[recovery["size"] == size], entropy[entropy["size"] == size], t
            )
            for name, claim in CLAIMS.items():
                if name in given:
                    measured = claim.measure(model)
                    limit = f"{'>=' if claim.at_least else '<='} {given[name]:g}"
                    holds = claim.holds(measured, given[name])
                    rows.append((corpus, size, claim.text.format(t=t), limit, measured, holds))
        if "transition_gap" in given:
            rows += _transition_grows(corpus, recovery, t, given["transition_gap"])
    return pd.DataFrame(rows, columns=_COLUMNS)


def _check_limits(corpus: str, given: Mapping[str, float], corpora: list[str]) -> None:
    """Check one corpus's limits, which come from a profile."""
    if not isinstance(given, Mapping):
        raise ValueError(
            f"limits of {corpus} are {given!r}; give a dictionary, from limit to number"
        )
    if unknown := sorted(set(given) - set(_ALLOWED)):
        raise ValueError(
            f"unknown limit {', '.join(unknown)} of {corpus}; allowed: {', '.join(_ALLOWED)}"
        )
    if wrong := [
        f"{name}={value!r}"
        for name, value in given.items()
        if isinstance(value, bool) or not isinstance(value, (int, float))
    ]:
        raise ValueError(f"limits of {corpus} must be numbers; got {', '.join(wrong)}")
    if corpus not in corpora:
        raise ValueError(f"claims name corpus {corpus!r}; the tables hold {sorted(corpora)}")


def _measurements(recovery: pd.DataFrame, entropy: pd.DataFrame, t: float) -> Measurements:
    """The measured side of the claims about one model size."""
    gap = gaps(recovery)
    by_n = pivot(of_denoiser(entropy), ["n"], ["set"]).sort_index()
    if missing := {"train", "generated"} - set(by_n):
        raise ValueError(
            f"the entropies have no set {', '.join(sorted(missing))}; "
            f"they have {', '.join(map(str, by_n))}"
        )
    return Measurements(gap, at_time(gap, t).set_index("n"), by_n)


def _transition_grows(
    corpus: str, recovery: pd.DataFrame, t: float, threshold: float
) -> list[_Row]:
    """The claim that each size's transition lies at a larger n than that of the size before."""
    text = f"n at which the gap at t = {t} falls below {threshold:g}: grows with size"
    points = transition_points(recovery, t, threshold)
    rows, before = [], 0.0
    for size, n in zip(points["size"], points["transition_n"]):
        rows.append((corpus, size, text, f"> {before:.1f}", n, bool(before < n < np.inf)))
        before = n
    return rows
