"""Statistics of tables: means with bootstrap intervals, histograms, and tables as they are read."""

import numpy as np
import pandas as pd

__all__ = ["RUN", "bootstrap", "histogram", "need", "of_denoiser", "pivot", "summarize"]

RUN = ["corpus", "size", "n"]  # the columns that tell one run from another


def need(frame, columns):
    """Check that a table has ``columns``; the ValueError names what it lacks and what it has."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ValueError(
            f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )


def of_denoiser(frame, name="network"):
    """The rows of one denoiser: the trained ``network``, or a limit, ``memorizer`` or ``generalizer`` (maybe none)."""
    need(frame, ["denoiser"])
    return frame[frame["denoiser"] == name]


def bootstrap(values, draws=1000, seed=0, level=0.95):
    """Mean of the values and its percentile bootstrap interval over them.

    Args:
        values: one number a sequence; NaN (nothing to measure in that sequence) is left out.
        draws: resamples, at least 1.
        seed: of the resampling.
        level: coverage, in (0, 1).

    Returns:
        mean, low, high; three NaN where there are no values.

    Raises:
        ValueError: if ``draws`` or ``level`` is out of range.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"draws={draws!r}, level={level!r}: draws must be at least 1, level in (0, 1)"
        )
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    generator, at_once = (
        np.random.default_rng(seed),
        max(1, 2**20 // len(values)),
    )  # a few MB, however many values
    means = np.concatenate(
        [
            values[
                generator.integers(len(values), size=(min(at_once, draws - i), len(values)))
            ].mean(1)
            for i in range(0, draws, at_once)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return values.mean(), low, high


def summarize(frame, by, value):
    """Mean and 95 % bootstrap interval over sequences of every group.

    Args:
        frame: a table with a row a sequence.
        by: columns that make the groups, kept in their order of appearance.
        value: the column averaged.

    Returns:
        A table with the columns ``by``, ``mean``, ``low``, ``high`` and ``sequences`` (those that have a value).

    Raises:
        ValueError: if a column is missing.
    """
    need(frame, [*by, value])
    rows = [
        (*key, *bootstrap(part), int(part.notna().sum()))
        for key, part in frame.groupby(by, sort=False, observed=True)[value]
    ]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "sequences"])


def histogram(frame, by, value, bins=40):
    """Shares of each group's rows in equal bins, from 0 to the largest value of the group's corpus and size.

    Returns:
        A table with the columns ``by``, ``low``, ``high`` (edges of the bin), ``count`` and ``share`` (of the group).

    Raises:
        ValueError: if a column is missing, or there is nothing to count.
    """
    need(frame, [*RUN, *by, value])
    frame = frame[frame[value].notna()]
    if frame.empty:
        raise ValueError(f"column {value} of the table holds no values to count")
    tops = frame.groupby(["corpus", "size"])[value].max()
    tables = []
    for key, part in frame.groupby(by, sort=False, observed=True):
        top = max(tops[part["corpus"].iloc[0], part["size"].iloc[0]], 1e-3)
        count, edges = np.histogram(part[value].clip(lower=0), bins, (0, top))
        tables.append(
            pd.DataFrame(
                {
                    **dict(zip(by, key)),
                    "low": edges[:-1],
                    "high": edges[1:],
                    "count": count,
                    "share": count / len(part),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def pivot(frame, index, columns, value="mean"):
    """A table as it is read: a row for every combination of ``index`` in the order of appearance, columns sorted.

    Raises:
        ValueError: if a column is missing.
    """
    need(frame, [*index, *columns, value])
    wide = frame.set_index([*index, *columns])[value].unstack(columns)
    order = frame[index].drop_duplicates()
    return wide.loc[
        pd.MultiIndex.from_frame(order) if len(index) > 1 else order[index[0]]
    ].sort_index(axis=1)
