"""Figures 1 and 6 to 8: basins of attraction."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from uddm_lib.figures._plotting import (
    GRAY,
    SETS,
    Figure,
    add_legend,
    add_title,
    draw_limit,
    draw_means,
    evenly_spaced,
    interval_entry,
    legend_entry,
    limit_entries,
    ordered_styles,
    panels,
    rows_of_corpus,
    rows_with,
    styled,
    unique,
)
from uddm_lib.figures._text_panel import draw_examples, select_examples, text_height
from uddm_lib.statistics.summary import of_denoiser, require_columns


@styled
def figure1(
    basins: pd.DataFrame,
    corpus: str,
    examples: pd.DataFrame | None = None,
    size: str | None = None,
) -> Figure:
    """Greedy recovery against the share of corrupted tokens, of one size (paper figure 1).

    Args:
        basins: summary with the columns
            ``corpus, size, n, denoiser, set, share, mean, low, high, seeds``.
        corpus: the corpus to draw.
        examples: as for :func:`text_examples`; the greedy ones are below.
        size: the model size; the largest by default (the last in the table).
    """
    table = rows_of_corpus(basins, corpus, ["size"])
    size = size or unique(table, "size")[-1]
    table = rows_with(table, "size", size)
    text = None if examples is None else select_examples(examples, corpus, "greedy", size)
    below = 0 if text is None else 0.4 + text_height(text)
    figure, axes = panels(1, 2, (3.8, 2.7), below, sharex=True, sharey=True)
    upper: FigureBase = figure if text is None else figure.subfigs[0]
    _fill(upper, axes, table, corpus, ("A  ", "B  "))
    if text is not None:
        draw_examples(figure.subfigs[1], text, corpus, "C  ")
    return figure


@styled
def figure6_basins(basins: pd.DataFrame, corpus: str) -> Figure:
    """Figure 1's two panels for every size, a row each (paper figures 6 to 8).

    Args:
        basins: as for :func:`figure1`.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(basins, corpus, ["size"])
    rows = table["size"].nunique()
    figure, axes = panels(rows, 2, (3.4, 2.2), sharex=True, sharey=True)
    _fill(figure, axes, table, corpus)
    return figure


def _fill(
    figure: FigureBase,
    axes: np.ndarray,
    table: pd.DataFrame,
    corpus: str,
    letters: tuple[str, str] = ("", ""),
) -> None:
    """Draw a row of axes (training, test) per size, the key and the title."""
    require_columns(table, ["n", "denoiser", "set", "share", "mean", "low", "high", "seeds"])
    styles = ordered_styles(of_denoiser(table)["n"])
    for row, size in zip(axes, unique(table, "size")):
        for axis, name, letter in zip(row, ("train", "test"), letters):
            _draw_basins(axis, table[table["size"] == size], name, styles)
            axis.set_title(f"{letter}{SETS[name][0]}, {size}", loc="left")
            axis.set_ylim(-0.03, 1.03)
        row[0].set_ylabel("token recovery rate\n(greedy)")
    for axis in axes[-1]:
        axis.set_xlabel("share of tokens corrupted")
    entries = [
        legend_entry(f"n = {n:,}", color=color, marker=marker)
        for n, (color, marker) in evenly_spaced(styles).items()
    ]
    entries.append(legend_entry(f"{SETS['random'][0]},\nlargest n", color=GRAY, linestyle=":"))
    entries += limit_entries(table, "color of n", "black")
    entries.append(interval_entry(of_denoiser(table), "bars"))
    add_legend(figure, entries, "right")
    add_title(figure, "Basins of attraction", corpus)


def _draw_basins(
    axis: Axes, table: pd.DataFrame, name: str, styles: dict[Any, tuple[Any, str]]
) -> None:
    """Draw one size and set: a curve per n, the control, and the exact limits."""
    networks = of_denoiser(table)
    rows = networks[networks["set"] == name]
    for n, (color, marker) in styles.items():
        draw_means(axis, rows[rows["n"] == n], "share", color=color, marker=marker)
    largest = max(styles)
    control = networks[(networks["set"] == "random") & (networks["n"] == largest)]
    draw_means(axis, control, "share", color=GRAY, linestyle=":")
    rows = table[table["set"] == name]
    for n, (color, _) in styles.items():
        draw_limit(axis, of_denoiser(rows[rows["n"] == n], "memorizer"), "share", color)
    generalizer = of_denoiser(rows[rows["n"] == largest], "generalizer")
    draw_limit(axis, generalizer, "share", "k")
