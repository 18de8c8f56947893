"""Holding a sweep against the paper's claims."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from uddm_lib.statistics.claims.about_entropy import SEQUENCES, TOKENS
from uddm_lib.statistics.claims.about_recovery import RECOVERY, STABILITY
from uddm_lib.statistics.claims.bounds import Claim, Statistic
from uddm_lib.statistics.claims.measures import Model
from uddm_lib.statistics.claims.resamples import Draws, NotTested, Resamples
from uddm_lib.statistics.summary import RUN_COLUMNS, require_columns

__all__ = ["CLAIMS", "evaluate", "require"]

CLAIMS = (*RECOVERY, *STABILITY, *TOKENS, *SEQUENCES)

_NEEDED = {  # besides corpus, size, n and seed
    "recovery": ["denoiser", "set", "t", "sequence", "recovered", "unstable"],
    "basins": ["denoiser", "set", "share", "sequence", "recovered", "unstable"],
    "token_entropy": ["set", "sequence", "outcome", "entropy"],
    "sequence_entropy": ["denoiser", "set", "sequence", "entropy", "tokens", "overlap"],
    "validation": ["nelbo"],
}
_COLUMNS = ["corpus", "size", "name", "claim", "source", "statistic", "part"]
_COLUMNS += ["unit", "bound", "measured", "low", "high", "verdict", "reason"]


def evaluate(
    tables: Mapping[str, pd.DataFrame], draws: int = 1000, claims: Sequence[Claim] = CLAIMS
) -> pd.DataFrame:
    """Hold a sweep against the claims.

    Args:
        tables: the tables of :func:`uddm_lib.statistics.collect.read_runs`.
        draws: number of bootstrap resamples, at least 1.
        claims: those of ``CLAIMS`` that are evaluated.

    Returns:
        A table with a row for every value that a claim is about: ``corpus, size, name, claim,
        source, statistic, part, unit, bound, measured, low, high, verdict, reason``. The part
        is the time, set or process; the reason tells why a claim was not tested.

    Raises:
        ValueError: if a table lacks a column, or ``draws`` is out of range.
    """
    if draws < 1:
        raise ValueError(f"draws={draws!r}: must be at least 1")
    for name, columns in _NEEDED.items():
        require_columns(tables[name], [*RUN_COLUMNS, "seed", *columns])
    rows: list[dict[str, object]] = []
    for corpus in tables["recovery"]["corpus"].unique():
        of_corpus = {name: _where(tables[name], "corpus", corpus) for name in _NEEDED}
        resamples, smaller = Resamples(draws), None
        sizes = of_corpus["recovery"]["size"].unique()
        for size in sizes:
            of_size = {name: _where(of_corpus[name], "size", size) for name in _NEEDED}
            model = Model(of_size, resamples, smaller)
            for claim in claims:
                if smaller or len(sizes) == 1 or not claim.of_sizes:
                    labels = {"corpus": corpus, "size": size}
                    rows += [{**labels, **row} for row in _rows(claim, model)]
            smaller = model
    return pd.DataFrame(rows, columns=_COLUMNS)


def require(table: pd.DataFrame, names: Iterable[str]) -> None:
    """Check that claims hold, wherever they were evaluated.

    Args:
        table: of :func:`evaluate`.
        names: of the claims.

    Raises:
        ValueError: if there is no claim of a name.
        AssertionError: naming the claims that do not hold, or were not evaluated.
    """
    known = [claim.name for claim in CLAIMS]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"unknown claims {', '.join(unknown)}; allowed: {', '.join(known)}")
    if missing := sorted(set(names) - set(table["name"])):
        raise AssertionError(f"not evaluated: {', '.join(missing)}")
    failed = table[table["name"].isin(list(names)) & (table["verdict"] != "holds")]
    if len(failed):
        columns = ["corpus", "size", "claim", "bound", "measured", "verdict"]
        raise AssertionError(f"claims do not hold:\n{failed[columns].to_string(index=False)}")


def _rows(claim: Claim, model: Model) -> Iterator[dict[str, object]]:
    about = {"name": claim.name, "claim": claim.text, "source": claim.source}
    for statistic in claim.statistics:
        about |= {"unit": statistic.unit, "bound": statistic.bound, "statistic": statistic.words}
        try:
            measured = statistic.measure(model)
        except NotTested as reason:
            measured = {"": reason}
        parts = measured if isinstance(measured, dict) else {"": measured}
        for label, values in parts.items():
            yield {**about, "part": label, **_decided(statistic, values, model)}


def _decided(statistic: Statistic, values: Draws | NotTested, model: Model) -> dict[str, object]:
    """What was measured, its interval and the verdict."""
    if not isinstance(values, NotTested) and values.ndim == 2:
        try:
            values = model.resamples.combined(values, model.size)
        except NotTested as reason:
            values = reason
    if isinstance(values, NotTested):
        return {"verdict": "not tested", "reason": str(values)}
    # "nearest" keeps an infinite neighbor from making a quantile NaN.
    low, high = np.nanquantile(values[1:], [0.025, 0.975], method="nearest")
    verdict = statistic.verdict(low, high)
    return {"measured": values[0], "low": low, "high": high, "verdict": verdict, "reason": ""}


def _where(table: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    return table[table[column] == value]
