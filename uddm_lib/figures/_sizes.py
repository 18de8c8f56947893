"""Curves of several model sizes over each other: colors, bands over trainings, and their key."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from uddm_lib.figures._plotting import MARKERS, SETS, legend_entry
from uddm_lib.statistics.summary import with_seed

_COLORS = ["#332288", "#44AA99", "#CC6677", "#DDAA33", "#882255", "#117733"]


def size_colors(sizes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Color and marker of each model size: not those of n, t, or sets."""
    return {
        size: (_COLORS[i % len(_COLORS)], MARKERS[i % len(MARKERS)]) for i, size in enumerate(sizes)
    }


def draw_bands(axis: Axes, rows: pd.DataFrame, x: str, color: Any, **style: Any) -> None:
    """Draw means with bands over trainings; a point of one training has none.

    Args:
        axis: where to draw.
        rows: rows with the columns ``x, mean, low, high, seeds``.
        x: the column on the x axis.
        color: of the line and of the band.
        style: of the line; dashed lines get open markers.
    """
    rows = rows.sort_values(x)
    face = "white" if style.get("linestyle") == "--" else color
    axis.plot(rows[x], rows["mean"], color=color, markerfacecolor=face, **style)
    band = rows["seeds"].to_numpy() > 1
    axis.fill_between(
        rows[x], rows["low"], rows["high"], where=band, color=color, alpha=0.2, linewidth=0
    )


def shown_trainings(trainings: pd.DataFrame | None, networks: pd.DataFrame) -> pd.DataFrame | None:
    """The single trainings, if there are several and one size: more sizes leave no room."""
    several = networks["seeds"].max() > 1
    return trainings if several and networks["size"].nunique() == 1 else None


def trainings_entry() -> Line2D:
    """A legend entry of single trainings."""
    return legend_entry("single trainings", color="0.2", linewidth=0.6)


def draw_trainings(axis: Axes, rows: pd.DataFrame, x: str, color: Any, linestyle: str) -> None:
    """Draw single trainings as thin pale lines; rows with the columns ``x, mean`` and ``seed``."""
    for _, training in with_seed(rows).groupby("seed"):
        training = training.sort_values(x)
        axis.plot(
            training[x],
            training["mean"],
            color=color,
            linestyle=linestyle,
            linewidth=0.6,
            alpha=0.5,
            zorder=1.4,
        )


def size_entries(styles: Mapping[str, tuple[str, str]], other: str) -> list[Line2D]:
    """Legend entries of the sizes, then of the training set and an ``other``."""
    entries = [
        legend_entry(size, color=color, marker=mark) for size, (color, mark) in styles.items()
    ]
    for name, face in (("train", "0.2"), (other, "white")):
        label, line_style = SETS[name]
        style = {"linestyle": line_style, "markerfacecolor": face}
        entries.append(legend_entry(label, color="0.2", marker="o", **style))
    return entries
