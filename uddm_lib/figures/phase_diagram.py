"""The phase diagram: where, in n and t, a model remembers more than it knows."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from uddm_lib.figures._plotting import (
    ORANGE,
    Figure,
    add_legend,
    add_title,
    legend_entry,
    panels,
    rows_of_corpus,
    set_log_n_axis,
    styled,
    unique,
)
from uddm_lib.statistics.transition import gaps
from uddm_lib.theory.condensation import condensation_time

_LINE: dict[str, Any] = {"color": "white", "linestyle": "--", "linewidth": 1.4}
_POINT: dict[str, Any] = {"color": ORANGE, "marker": "o", "linestyle": "none"}


@styled
def phase_diagram(
    recovery: pd.DataFrame,
    transition: pd.DataFrame,
    corpus: str,
    corpora: pd.DataFrame | None = None,
) -> Figure:
    """Training minus test recovery as a map over n and t, a panel per size.

    A cell is one measured point. Orange points are the transitions, with their intervals, at those
    t where the gap starts above its threshold and falls below it. The dashed line is the
    condensation of a memory of n random sequences, n = exp(L I(t)), with uniform tokens. I(t) is
    the capacity of the noisy channel, so no memory tells more sequences of L tokens apart at t. The
    sequences of a chain or of a text are more alike, and their memory condenses at a smaller t.
    For them the line is an upper end, not a prediction.

    Args:
        recovery: summary with the columns ``corpus, size, n, denoiser, set, t, mean``.
        transition: transitions, as of
            :func:`uddm_lib.statistics.transition.transition_intervals`.
        corpus: the corpus to draw.
        corpora: a table with the columns ``corpus, vocab_size, tokens``; without the corpus in it
            there is no line.

    Raises:
        ValueError: if a column, the corpus, or one of the two sets is missing.
    """
    rows = rows_of_corpus(recovery, corpus, ["size", "n", "set", "t", "mean"])
    table, sizes = gaps(rows), unique(rows, "size")
    known = None if corpora is None else corpora[corpora["corpus"] == corpus]
    figure, axes = panels(1, len(sizes), (2.6, 3.2), sharey=True)
    image, line = ScalarMappable(Normalize(0, 1), "viridis"), False
    for axis, size in zip(axes[0], sizes):
        part = table[table["size"] == size]
        axis.set_title(size)
        if part.empty:  # no token of a set was corrupted at any t
            axis.text(0.5, 0.5, "no gap", ha="center", transform=axis.transAxes)
            continue
        _draw_map(axis, part)
        points = transition[(transition["corpus"] == corpus) & (transition["size"] == size)]
        _draw_transitions(axis, points[points["transition_n"] > part["n"].min()])
        line = known is not None and len(known) > 0 and _draw_condensation(axis, known.iloc[0])
    axes[0, 0].set_ylabel("diffusion time t")
    figure.colorbar(image, ax=axes, label="training minus test recovery")
    entries = [legend_entry("transition,\n95 % interval", **_POINT)]
    if line:
        style = _LINE | {"color": "0.4"}
        entries.append(legend_entry("condensation of\nn random sequences", **style))
    add_legend(figure, entries, "bottom")
    add_title(figure, "Phase diagram", corpus)
    return figure


def _draw_map(axis: Axes, table: pd.DataFrame) -> None:
    """Draw a cell per measured point; its edges are half way to the next, in logarithms."""
    cells = table.pivot(index="t", columns="n", values="gap")
    n, t = cells.columns.to_numpy(float), cells.index.to_numpy(float)
    edges = _edges(n), np.minimum(_edges(t), 1)
    axis.pcolormesh(*edges, cells, vmin=0, vmax=1, cmap="viridis", rasterized=True)
    set_log_n_axis(axis, table["n"])
    axis.set_yscale("log")
    axis.set_yticks(t, [f"{time:g}" for time in t])
    axis.minorticks_off()
    axis.grid(False)
    axis.set(xlim=(edges[0][0], edges[0][-1]), ylim=(edges[1][0], edges[1][-1]))


def _edges(centers: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " edges"]:
    """Edges of cells around increasing centers."""
    if len(centers) == 1:
        return centers * np.array([0.5**0.5, 2**0.5])
    between = np.sqrt(centers[:-1] * centers[1:])
    ends = centers[[0, -1]] ** 2 / between[[0, -1]]
    return np.concatenate([ends[:1], between, ends[1:]])


def _draw_transitions(axis: Axes, points: pd.DataFrame) -> None:
    """Draw transitions with their intervals, as far as the map reaches."""
    right = axis.get_xlim()[1]
    inside = points[points["transition_n"] < right]
    middle, high = inside["transition_n"], inside["high"].clip(upper=right)
    ends = [(middle - inside["low"]).clip(lower=0), (high - middle).clip(lower=0)]
    style: dict[str, Any] = {
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "elinewidth": 1.4,
        "capsize": 2,
    }
    axis.errorbar(middle, inside["t"], xerr=ends, **_POINT, **style)


def _draw_condensation(axis: Axes, corpus: pd.Series) -> bool:
    """Draw the condensation time of n random sequences; return whether the map reaches it."""
    counts = sorted({max(1, round(n)) for n in np.geomspace(*axis.get_xlim(), 60)})
    known = int(corpus["tokens"]), int(corpus["vocab_size"])
    times = [condensation_time(n, *known) for n in counts]
    axis.plot(counts, times, **_LINE)
    return bool(min(times) < axis.get_ylim()[1])
