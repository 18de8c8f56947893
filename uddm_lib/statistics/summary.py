"""Means with intervals, histograms, and tables in a wide form for reading."""

import functools
import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = [
    "RUN_COLUMNS",
    "bootstrap",
    "bootstrap_means",
    "by_group",
    "first_seeds",
    "histogram",
    "of_denoiser",
    "pivot",
    "require_columns",
    "resample_groups",
    "summarize",
    "with_intervals",
    "with_seed",
]

RUN_COLUMNS = ["corpus", "size", "n"]  # of a point in a figure; its trainings differ in the seed
_VALUES_AT_ONCE = 2**20  # drawn in one array: a few MB, however many values there are


def require_columns(frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table has ``columns``.

    Raises:
        ValueError: naming those that it lacks and those that it has.
    """
    if missing := [name for name in columns if name not in frame]:
        present = ", ".join(map(str, frame.columns))
        raise ValueError(f"the table has no column {', '.join(missing)}; it has {present}")


def of_denoiser(frame: pd.DataFrame, name: str = "network") -> pd.DataFrame:
    """The rows of one denoiser, maybe none.

    Args:
        frame: a table with the column ``denoiser``.
        name: the trained ``network``, or an exact limit, ``memorizer`` or ``generalizer``.
    """
    require_columns(frame, ["denoiser"])
    return frame[frame["denoiser"] == name]


def by_group(
    values: Float[np.ndarray, " m"], groups: ArrayLike | None = None
) -> Float[np.ndarray, "groups width"]:
    """The values as a row per group, in their order; NaN fills up rows.

    Groups without a value are left out.

    Raises:
        ValueError: if ``groups`` has another length than ``values``.
    """
    labels = np.zeros(len(values)) if groups is None else np.asarray(groups)
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} groups for {len(values)} values: give a group for each")
    rows = [values[labels == label] for label in np.unique(labels)]
    rows = [row for row in rows if not np.isnan(row).all()]
    table = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for filled, row in zip(table, rows):
        filled[: len(row)] = row
    return table


def bootstrap_means(
    table: Float[np.ndarray, "groups m"], draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "groups {draws}"]:
    """Means of every row over the same resampled columns; entries that are NaN are left out."""
    m, known = table.shape[1], ~np.isnan(table)
    if not table.size:
        return np.full((len(table), draws), np.nan)
    filled, means = np.where(known, table, 0.0), []
    at_once = max(1, _VALUES_AT_ONCE // m)
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        chosen = generator.integers(m, size=(rows, m)) + m * np.arange(rows)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=rows * m).reshape(rows, m).astype(float)
        with np.errstate(invalid="ignore"):  # a draw of nothing but missing values
            means.append((filled @ counts.T) / (known @ counts.T))
    return np.concatenate(means, axis=1)


def resample_groups(
    means: Float[np.ndarray, "groups draws"], generator: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    """Draws of the mean over groups, from the means of each over the same resampled columns.

    Two errors are added, each as large as the data say. The columns' is what resampling them moves
    in all groups alike: the covariance of two groups (Obuchowski and Rockette 1995). The groups'
    is Student's t with ``groups - 1`` degrees of freedom, times the standard error of their mean,
    since few groups don't tell their spread. One group has the columns' error alone.
    """
    groups, draws = means.shape
    if groups == 1:
        return means[0]
    centers = np.nanmean(means, axis=1)
    means = np.where(np.isnan(means), centers[:, None], means)
    errors = np.cov(means)
    alike = (errors.sum() - errors.trace()) / (groups * (groups - 1))
    # Of the error of the mean, what is not alike is in the spread of the groups already.
    share = math.sqrt(max(alike, 0) / max(errors.mean(), np.finfo(float).tiny))
    between = centers.std(ddof=1) / math.sqrt(groups)
    student = generator.permutation(_student(groups - 1, draws))
    return centers.mean() + share * (means.mean(0) - centers.mean()) + between * student


@functools.cache
def _student(freedom: int, draws: int) -> Float[np.ndarray, " {draws}"]:
    """Student's t, a value from each of ``draws`` equally likely ranges: its tails vary little."""
    return np.sort(np.random.default_rng(0).standard_t(freedom, 101 * draws))[50::101]


def bootstrap(
    values: ArrayLike,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> tuple[float, float, float]:
    """The mean of values, and its interval over them: the percentiles of draws of the mean.

    Sequences are resampled. With groups (trainings) these are the same in all, whose spread counts
    by Student's t (:func:`resample_groups`). The mean is then that of the groups' means. The
    interval contains the mean over all trainings and sequences as often as ``level`` says; that of
    as many other trainings has a wider one, as docs/reproduction.md says.

    Args:
        values: one number per sequence, in the same order in every group; NaN (nothing to measure
            in it) is left out.
        draws: number of resamples, at least 1.
        seed: of the resampling.
        level: coverage, in (0, 1).
        groups: the group of each value, such as the seed of its training; None: all are one.

    Returns:
        mean, low, high; three NaN if there are no values.

    Raises:
        ValueError: if ``draws`` or ``level`` is out of range, or ``groups`` has another length.
    """
    check_bootstrap(draws, level)
    table = by_group(np.asarray(values, dtype=float), groups)
    if not len(table):
        return np.nan, np.nan, np.nan
    generator = np.random.default_rng(seed)
    resampled = resample_groups(bootstrap_means(table, draws, generator), generator)
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(np.nanmean(table, axis=1).mean()), float(low), float(high)


def check_bootstrap(draws: int, level: float) -> None:
    """Check the options of a bootstrap.

    Raises:
        ValueError: if ``draws`` or ``level`` is out of range.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"draws={draws!r}, level={level!r}: draws must be at least 1, level in (0, 1)"
        )


def summarize(
    frame: pd.DataFrame,
    by: Sequence[str],
    value: str,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> pd.DataFrame:
    """Mean and 95 % interval of every group, over its trainings and their sequences.

    The interval is that of :func:`bootstrap`. A table without the column ``seed`` is taken as one
    training.

    Args:
        frame: a table with a row per sequence; ``seed`` tells trainings apart.
        by: columns that make the groups, which keep their order of appearance.
        value: the column averaged.
        bounds: smallest and largest possible mean, where an interval ends.

    Returns:
        A table with the columns ``by``, ``mean``, ``low``, ``high``, ``sequences`` and
        ``seeds``: the numbers of sequences and of trainings that have a value.

    Raises:
        ValueError: if a column is missing.
    """
    require_columns(frame, [*by, value])
    groups = with_seed(frame).groupby(list(by), sort=False, observed=True)
    rows = []
    for key, group in groups[[value, "seed"]]:
        interval = bootstrap(group[value].to_numpy(), groups=group["seed"].to_numpy())
        group = group[group[value].notna()]
        rows.append((*_key(key), *interval, len(group), group["seed"].nunique(dropna=False)))
    table = pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "sequences", "seeds"])
    return table.assign(low=table["low"].clip(*bounds), high=table["high"].clip(*bounds))


def with_seed(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with the column ``seed``: one without it is of one training."""
    return frame if "seed" in frame else frame.assign(seed=1)


def first_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one training at each point: that of the smallest seed.

    A table without the column ``seed`` stays as it is.
    """
    if "seed" not in frame:
        return frame
    return frame[frame["seed"] == frame.groupby(RUN_COLUMNS)["seed"].transform("min")]


def histogram(frame: pd.DataFrame, by: Sequence[str], value: str, bins: int = 40) -> pd.DataFrame:
    """Shares of each group's rows in equal bins from 0.

    The bins end at the largest value of the group's corpus and size. Rows of several trainings
    are counted together.

    Returns:
        A table with the columns ``by``, ``low`` and ``high`` (the bin's edges), ``count`` and
        ``share`` (of the group).

    Raises:
        ValueError: if a column is missing, or there is nothing to count.
    """
    require_columns(frame, [*RUN_COLUMNS, *by, value])
    frame = frame[frame[value].notna()]
    if frame.empty:
        raise ValueError(f"column {value} of the table holds no values to count")
    largest = frame.groupby(["corpus", "size"])[value].max()
    tables = []
    for key, group in frame.groupby(list(by), sort=False, observed=True):
        top = max(largest[group["corpus"].iloc[0], group["size"].iloc[0]], 1e-3)
        count, edges = np.histogram(group[value].clip(lower=0), bins, (0, top))
        columns = {
            **dict(zip(by, _key(key))),
            "low": edges[:-1],
            "high": edges[1:],
            "count": count,
            "share": count / len(group),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def pivot(
    frame: pd.DataFrame, index: Sequence[str], columns: Sequence[str], value: str = "mean"
) -> pd.DataFrame:
    """A long table in a wide form: rows by ``index``, columns by ``columns``.

    Rows keep their order of appearance; columns are sorted.

    Raises:
        ValueError: if a column is missing.
    """
    require_columns(frame, [*index, *columns, value])
    wide = frame.set_index([*index, *columns])[value].unstack(list(columns))
    rows = frame[list(index)].drop_duplicates()
    labels = pd.MultiIndex.from_frame(rows) if len(index) > 1 else rows[index[0]]
    return wide.loc[labels].sort_index(axis=1)


def with_intervals(
    frame: pd.DataFrame, index: Sequence[str], columns: Sequence[str], value: str, digits: int
) -> pd.DataFrame:
    """As :func:`pivot`, of texts such as ``137 [126, 148]``: a value, its ``low`` and ``high``.

    Raises:
        ValueError: if a column is missing.
    """
    require_columns(frame, [*index, *columns, value, "low", "high"])
    rows = zip(frame[value], frame["low"], frame["high"])
    texts = [f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]" for mean, low, high in rows]
    return pivot(frame.assign(**{value: texts}), index, columns, value)


def _key(key: Hashable) -> tuple[Hashable, ...]:
    """The values that a group shares: ``groupby`` gives a tuple, or one value alone."""
    return key if isinstance(key, tuple) else (key,)
