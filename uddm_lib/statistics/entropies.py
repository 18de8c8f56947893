"""Conditional entropies: of generated against training sequences, and what they tell."""

import numpy as np
import pandas as pd

from uddm_lib.statistics.summary import (
    RUN_COLUMNS,
    check_bootstrap,
    of_denoiser,
    require_columns,
    with_seed,
)
from uddm_lib.statistics.transition import paired_gaps

__all__ = ["FEW", "entropy_gap", "overlap", "token_auc"]

FEW = 20  # tokens or copies: fewer say nothing about others


def entropy_gap(
    sequence_entropy: pd.DataFrame, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Entropy of generated minus training sequences, with its interval.

    The interval is that of :func:`uddm_lib.statistics.summary.bootstrap`; both entropies come from
    the same trainings. A training without one of the two sets is left out.

    Args:
        sequence_entropy: a row per sequence, ``entropy`` in nats over ``tokens`` tokens (a table of
            :func:`uddm_lib.statistics.collect.read_runs`).
        draws, seed, level: as for :func:`uddm_lib.statistics.summary.bootstrap`.

    Returns:
        A table ``corpus, size, n, mean, low, high, seeds``, in nats per token; no row for an n
        without the two sets.

    Raises:
        ValueError: if a column is missing, or ``draws`` or ``level`` is out of range.
    """
    require_columns(sequence_entropy, [*RUN_COLUMNS, "set", "entropy", "tokens"])
    check_bootstrap(draws, level)
    table = of_denoiser(sequence_entropy)
    table = table.assign(per_token=table["entropy"] / table["tokens"])
    rows = []
    for key, point in with_seed(table).groupby(RUN_COLUMNS, sort=False):
        generator = np.random.default_rng(seed)
        gaps, seeds = paired_gaps(point, "per_token", ("generated", "train"), draws, generator)
        if seeds:
            low, high = np.quantile(gaps[1:], [(1 - level) / 2, (1 + level) / 2])
            rows.append((*key, gaps[0], low, high, seeds))
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, "mean", "low", "high", "seeds"])


def token_auc(token_entropy: pd.DataFrame) -> pd.DataFrame:
    """How well the entropy of a corrupted token tells whether it came back.

    Args:
        token_entropy: a row per token, with the columns ``corpus, size, n, set, outcome, entropy``;
            the outcome is ``recovered`` or ``failed``.

    Returns:
        A table ``corpus, size, n, set, recovered, failed, auc``: the numbers of tokens, and the
        probability that a failed token has a higher entropy than a recovered one (a tie counts
        half). It is NaN where one kind is missing.

    Raises:
        ValueError: if a column is missing.
    """
    by = [*RUN_COLUMNS, "set"]
    require_columns(token_entropy, [*by, "outcome", "entropy"])
    rows = []
    for key, tokens in token_entropy.groupby(by, sort=False):
        failed = tokens["outcome"] == "failed"
        lost, back = int(failed.sum()), int((~failed).sum())
        above = tokens["entropy"].rank()[failed].sum() - lost * (lost + 1) / 2
        rows.append((*key, back, lost, above / (lost * back) if lost * back else np.nan))
    return pd.DataFrame(rows, columns=[*by, "recovered", "failed", "auc"])


def overlap(first: pd.DataFrame, second: pd.DataFrame) -> float:
    """Overlap of two histograms with the same bins: 1 minus their Kolmogorov distance.

    That distance is the largest one between the cumulative shares.
    """
    apart = first["share"].to_numpy().cumsum() - second["share"].to_numpy().cumsum()
    return float(1 - abs(apart).max())
