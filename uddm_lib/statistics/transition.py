"""The transition from memorization to generalization: its n, and the distance to either end."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from uddm_lib.statistics.summary import (
    RUN_COLUMNS,
    bootstrap_means,
    by_group,
    check_bootstrap,
    of_denoiser,
    pivot,
    require_columns,
    resample_groups,
    with_seed,
)

__all__ = [
    "at_time",
    "crossing",
    "distances",
    "gaps",
    "paired_gaps",
    "transition_intervals",
]


def gaps(recovery: pd.DataFrame) -> pd.DataFrame:
    """Training minus test recovery of the trained networks, from a summary of recovery.

    Returns:
        A table with the columns ``corpus, size, n, t, train, test, gap``.

    Raises:
        ValueError: if a column or one of the two sets is missing.
    """
    require_columns(recovery, [*RUN_COLUMNS, "set", "t", "mean"])
    recovery = of_denoiser(recovery)
    present = set(recovery["set"])
    if missing := {"train", "test"} - present:
        raise ValueError(
            f"the table has no set {', '.join(sorted(missing))}; it has {sorted(present)}"
        )
    table = pivot(recovery, [*RUN_COLUMNS, "t"], ["set"])[["train", "test"]].dropna().reset_index()
    table = table.assign(gap=table["train"] - table["test"]).rename_axis(columns=None)
    return table[[*RUN_COLUMNS, "t", "train", "test", "gap"]]


def transition_intervals(
    recovery: pd.DataFrame,
    threshold: float = 0.3,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """The transition at every t, with its interval over trainings and sequences.

    At each n the gap is the mean over trainings, drawn as
    :func:`uddm_lib.statistics.summary.bootstrap` draws it; every set of draws has its transition.
    Training and test recovery come from the same trainings. A training without a corrupted token
    in one of the two sets is left out: it has no gap.

    Args:
        recovery: recovery rates of the runs, a row per sequence
            (a table of :func:`uddm_lib.statistics.collect.read_runs`). Without the column
            ``seed``, every n has one training.
        threshold: share of corrupted tokens.
        draws, seed, level: as for :func:`uddm_lib.statistics.summary.bootstrap`.

    Returns:
        A table ``corpus, size, t, transition_n, low, high``; n as of :func:`crossing`.

    Raises:
        ValueError: if a column is missing, or ``draws`` or ``level`` is out of range.
    """
    require_columns(recovery, [*RUN_COLUMNS, "set", "t", "recovered"])
    check_bootstrap(draws, level)
    recovery = with_seed(of_denoiser(recovery))
    rows = []
    for (corpus, size, t), models in recovery.groupby(["corpus", "size", "t"], sort=False):
        generator = np.random.default_rng(seed)
        drawn = {
            n: paired_gaps(rates, "recovered", ("train", "test"), draws, generator)[0]
            for n, rates in models.groupby("n")
        }
        measured = {n: gap for n, gap in drawn.items() if not np.isnan(gap).any()}
        if not measured:
            continue
        counts = np.array(list(measured), dtype=float)
        columns = np.array(list(measured.values())).T
        points = [crossing(counts, column, threshold) for column in columns]
        # "lower" keeps an infinite neighbor from making a quantile NaN
        low, high = np.quantile(points[1:], [(1 - level) / 2, (1 + level) / 2], method="lower")
        rows.append((corpus, size, t, points[0], low, high))
    return pd.DataFrame(rows, columns=["corpus", "size", "t", "transition_n", "low", "high"])


def distances(tables: Mapping[str, pd.DataFrame], largest_t: float = 0.5) -> pd.DataFrame:
    """How far every trained network is from the two exact limits, where these are known.

    Args:
        tables: the tables of :func:`uddm_lib.statistics.collect.figure_tables`.
        largest_t: the largest diffusion time that counts.

    Returns:
        A table with a row per corpus, size and n, and columns for the memorizer and the
        generalizer. ``(points)`` is the mean absolute difference of recovery rates in hundredths,
        over training and test sequences and t <= ``largest_t``. ``(nats)`` is that of the
        conditional entropy per token, over training and generated sequences.
    """
    recovery, entropy = tables["figure2_recovery"], tables["figure5_entropy"]
    recovery = recovery[(recovery["t"] <= largest_t) & (recovery["set"] != "random")]
    entropy = entropy[entropy["set"] != "test"]
    columns = [
        *_limit_distances(recovery, [*RUN_COLUMNS, "t", "set"], "points", 100),
        *_limit_distances(entropy, [*RUN_COLUMNS, "set"], "nats", 1),
    ]
    return pd.concat(columns, axis=1).reset_index()


def at_time(table: pd.DataFrame, t: float) -> pd.DataFrame:
    """The rows at diffusion time ``t``.

    Raises:
        ValueError: naming the table's times, if there are none.
    """
    rows = table[np.isclose(table["t"], t)]
    if rows.empty:
        times = ", ".join(f"{time:g}" for time in sorted(set(table["t"])))
        raise ValueError(f"t={t!r} is not in the table; it has {times}")
    return rows


def paired_gaps(
    frame: pd.DataFrame,
    value: str,
    sets: tuple[str, str],
    draws: int,
    generator: np.random.Generator,
) -> tuple[Float[np.ndarray, " gaps"], int]:
    """The mean of one set minus that of another, over the same trainings.

    Args:
        frame: rows of one point, with the columns ``seed``, ``set`` and ``value``. A training
            without a value in one of the two sets is left out.
        value: the column averaged.
        sets: the two sets.
        draws: number of resamples.
        generator: of the resampling.

    Returns:
        The gap, then the gaps of its resamples, all NaN if no training has one; and the number of
        trainings that have one.
    """
    frame = frame[frame["set"].isin(sets)]
    counts = frame[frame[value].notna()].groupby("seed")["set"].nunique()
    complete = counts.index[counts == 2]
    frame = frame[frame["seed"].isin(complete)]
    if frame.empty:
        return np.full(1 + draws, np.nan), 0
    means, resampled = [], []
    for name in sets:
        rows = frame[frame["set"] == name]
        table = by_group(rows[value].to_numpy(float), rows["seed"].to_numpy())
        means.append(np.nanmean(table, axis=1).mean())
        resampled.append(bootstrap_means(table, draws, generator))
    gap = means[0] - means[1]
    gaps = resample_groups(resampled[0] - resampled[1], generator)
    gaps = np.where(np.isnan(gaps), gap, gaps)  # NaN: nothing corrupted in a draw
    return np.append(gap, gaps), len(complete)


def _limit_distances(
    frame: pd.DataFrame, index: list[str], unit: str, scale: float
) -> list[pd.Series]:
    """Mean distance of the network from each limit, a column per limit."""
    frame = frame[frame["corpus"].isin(of_denoiser(frame, "memorizer")["corpus"])]
    wide = pivot(frame, index, ["denoiser"])
    columns = []
    for limit in ("memorizer", "generalizer"):
        if limit in wide:
            distance = (wide["network"] - wide[limit]).abs()
        else:
            distance = pd.Series(dtype=float, index=wide.index)
        mean = distance.groupby(RUN_COLUMNS, sort=False).mean()
        columns.append(scale * mean.rename(f"{limit} ({unit})"))
    return columns


def crossing(
    n: Float[np.ndarray, " models"], gap: Float[np.ndarray, " models"], threshold: float
) -> float:
    """The n at which a gap first falls below a threshold, interpolated linearly in log n.

    It is infinite if the gap never does. It is the smallest n if the gap lies below from the start:
    the transition is then there or before.
    """
    below = np.flatnonzero(gap < threshold)
    if not len(below):
        return np.inf
    i = below[0]
    if i == 0:
        return float(n[0])
    fraction = (gap[i - 1] - threshold) / (gap[i - 1] - gap[i])
    return float(n[i - 1] * (n[i] / n[i - 1]) ** fraction)
