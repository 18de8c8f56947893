"""A sweep held against another one: does each point lie where the other's intervals say?"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from uddm_lib.results import read_table, resolve
from uddm_lib.statistics.claims import folded

__all__ = ["compare", "compared_shares", "read_tables", "verdict_flips"]

_DECIDED = ("holds", "does not hold")  # a change from one to the other is a flip
_VALUES = ("mean", "perplexity", "transition_n")  # what a table's interval is of
_MEASURED = {*_VALUES, "nelbo", "low", "high", "sequences", "seeds"}  # the rest names the point
_ROUNDED = 1e-5  # tables of figures hold five decimals
_OF_TWO_MEANS = math.sqrt(2)  # the error of a difference, in errors of a mean


def read_tables(folder: str | Path) -> dict[str, pd.DataFrame]:
    """All tables in a folder of figures, by their names.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if one is damaged; the message names it.
    """
    files = sorted(resolve(folder).glob("*.csv"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no tables of figures (*.csv); a sweep writes them")
    return {file.stem: read_table(file) for file in files}


def compare(committed: Mapping[str, pd.DataFrame], new: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every point of the figures that has an interval, in both sweeps.

    An interval of ``committed`` contains the mean of all trainings at its level. The mean of as
    many other trainings has an error of its own, as large: the band that contains it is wider by
    the square root of 2.

    Args:
        committed: tables of figures, by name, whose intervals count.
        new: those of the other sweep.

    Returns:
        A table with the columns ``figure``, those that name a point in any table, ``committed``,
        ``low``, ``high``, ``new``, ``found`` (``both``, ``committed`` or ``new``), ``inside``,
        ``inside_second`` (the wider band) and ``distance``: from the new value to the nearer end
        of the interval, in widths of it, 0 inside.

    Raises:
        ValueError: if a table has intervals of an unknown value, or points of one name.
    """
    old, other = _points(committed), _points(new)
    labels = list(dict.fromkeys(c for table in (old, other) for c in table if c not in _MEASURED))
    old, other = (table.reindex(columns=[*labels, "mean", "low", "high"]) for table in (old, other))
    points = old.rename(columns={"mean": "committed"}).merge(
        other.drop(columns=["low", "high"]).rename(columns={"mean": "new"}),
        how="outer",
        on=labels,
        indicator="found",
        validate="one_to_one",
    )
    names = {"left_only": "committed", "right_only": "new"}
    value, low, high, new_value = (points[c] for c in ("committed", "low", "high", "new"))
    inside = _within(low, new_value, high)
    with np.errstate(invalid="ignore"):  # a transition may be infinite
        wide = [(value + _OF_TWO_MEANS * (end - value)).fillna(end) for end in (low, high)]
        outside = pd.concat([low - new_value, new_value - high], axis=1).max(axis=1)
        width = (high - low).clip(lower=_ROUNDED)
        distance = (outside / width).fillna(math.inf).mask(inside, 0.0)
    return points.assign(
        found=points["found"].astype(str).replace(names),
        inside=inside,
        inside_second=_within(wide[0], new_value, wide[1]),
        distance=distance.mask(points["found"] != "both"),
    )


def compared_shares(points: pd.DataFrame) -> pd.DataFrame:
    """Shares of the points that both sweeps have inside the bands, by figure and in all.

    The exact limits are computed, not trained: a row of their own counts them, the total does not.

    Returns:
        A table with a row per figure, ``all`` and ``exact limits``, and the columns ``points``,
        ``inside`` and ``inside_second``.
    """
    points = points[points["found"] == "both"]
    exact = _exact(points)
    trained = points[~exact]
    groups = dict(list(trained.groupby("figure")))
    groups |= {"all": trained, "exact limits": points[exact]}
    bands = ["inside", "inside_second"]
    rows = {name: [len(part), *part[bands].mean()] for name, part in groups.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["points", *bands])
    return table.astype({"points": int})


def verdict_flips(committed: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """The claims whose verdict changed between "holds" and "does not hold".

    Args:
        committed: a table of claims (:func:`uddm_lib.statistics.claims.evaluate`).
        new: that of the other sweep.

    Returns:
        A table with the columns ``corpus``, ``size``, ``name``, ``committed`` and ``new``.
    """
    both = folded(committed).merge(folded(new), on=["corpus", "size", "name"])
    both = both.rename(columns={"verdict_x": "committed", "verdict_y": "new"})
    decided = both["committed"].isin(_DECIDED) & both["new"].isin(_DECIDED)
    return both[decided & (both["committed"] != both["new"])]


def _points(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The points of all tables that have intervals; a value that is missing is no point."""
    parts = []
    for name, table in tables.items():
        if name == "claims" or "low" not in table or "count" in table:  # counts have bins
            continue
        values = [value for value in _VALUES if value in table]
        if len(values) != 1:
            raise ValueError(
                f"table {name} must have one of the columns {', '.join(_VALUES)}; "
                f"it has {', '.join(map(str, table))}"
            )
        labels = [column for column in table if column not in _MEASURED]
        part = table[[*labels, *values, "low", "high"]].rename(columns={values[0]: "mean"})
        parts.append(part.assign(figure=name)[part["mean"].notna()])
    if not parts:
        raise ValueError(f"no table has intervals: {', '.join(tables)}")
    points = pd.concat(parts, ignore_index=True)
    return points[["figure", *points.columns.drop("figure")]]


def _within(low: pd.Series, value: pd.Series, high: pd.Series) -> pd.Series:
    return (low - _ROUNDED <= value) & (value <= high + _ROUNDED)


def _exact(points: pd.DataFrame) -> pd.Series:
    """Which points are those of an exact limit."""
    if "denoiser" not in points:
        return pd.Series(False, index=points.index)
    return points["denoiser"].notna() & (points["denoiser"] != "network")
