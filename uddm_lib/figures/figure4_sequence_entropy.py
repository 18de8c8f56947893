"""Figures 4 and 15 to 17: the distribution of the conditional entropy of whole sequences."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from uddm_lib.figures._plotting import (
    BLUE,
    GRAY,
    ORANGE,
    SETS,
    Figure,
    add_legend,
    add_title,
    draw_histogram,
    legend_entry,
    panels,
    rows_of_corpus,
    rows_with,
    styled,
    unique,
    wrapped_panels,
)
from uddm_lib.statistics.entropies import overlap

_COLUMNS = ["size", "n", "set", "low", "high", "share"]
_STYLES = {"train": (BLUE, True), "generated": (ORANGE, False), "test": (GRAY, False)}


@styled
def figure4(sequence_entropy: pd.DataFrame, corpus: str, size: str | None = None) -> Figure:
    """Conditional entropy of training and generated sequences, a panel per n (paper figure 4).

    The title of a panel gives the overlap of the two histograms, from 0 to 1.

    Args:
        sequence_entropy: histogram with the columns ``corpus, size, n, set, low, high, share``.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
    """
    table = rows_of_corpus(sequence_entropy, corpus, _COLUMNS)
    size = size or unique(table, "size")[-1]
    table = rows_with(table, "size", size)
    counts = sorted(table["n"].unique())
    labels = "conditional entropy\n(nats per sequence)", "share of sequences"
    figure, axes = wrapped_panels(len(counts), (2.8, 2.1), labels)
    for axis, n in zip(axes, counts):
        _draw_panel(axis, table[table["n"] == n], ("train", "generated"))
    add_legend(figure, _key(table, ("train", "generated")), "right")
    add_title(figure, f"Sequence entropy, {size}", corpus)
    return figure


@styled
def figure15_sequence_entropy(sequence_entropy: pd.DataFrame, corpus: str) -> Figure:
    """Figure 4 for every size (a column) and n (a row), with test too (paper figures 15 to 17).

    Args:
        sequence_entropy: as for :func:`figure4`.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(sequence_entropy, corpus, _COLUMNS)
    sizes, counts = unique(table, "size"), sorted(table["n"].unique())
    figure, axes = panels(len(counts), len(sizes), (2.4, 1.2), sharex="col")
    for row, n in zip(axes, counts):
        for axis, size in zip(row, sizes):
            rows = table[(table["n"] == n) & (table["size"] == size)]
            _draw_panel(axis, rows, tuple(_STYLES), f"{size}, ")
        row[0].set_ylabel("share")
    for axis in axes[-1]:
        axis.set_xlabel("nats per sequence")
    add_legend(figure, _key(table, tuple(_STYLES)), "bottom", min(4, 2 * len(sizes)))
    add_title(figure, "Sequence entropy", corpus)
    return figure


def _draw_panel(axis: Axes, rows: pd.DataFrame, sets: tuple[str, ...], prefix: str = "") -> None:
    """Draw the histograms of one size and n, if there are any."""
    if rows.empty:
        axis.set_axis_off()
        return
    parts = {name: rows[rows["set"] == name] for name in sets}
    for name, part in parts.items():
        if len(part):
            draw_histogram(axis, part, *_STYLES[name])
    title = f"{prefix}n = {rows['n'].iloc[0]:,}"
    if len(parts["train"]) and len(parts["generated"]):
        title += f": overlap {overlap(parts['train'], parts['generated']):.2f}"
    axis.set_title(title, loc="left", fontsize=8)


def _key(table: pd.DataFrame, sets: tuple[str, ...]) -> list[Line2D]:
    """Legend entries of the sets that the table has, and what an overlap is."""
    entries = []
    for name in sets:
        if (table["set"] == name).any():
            color, fill = _STYLES[name]
            style = {"linewidth": 6, "alpha": 0.45} if fill else {}
            entries.append(legend_entry(SETS[name][0], color=color, **style))
    note = "overlap of training\nand generated: 1 if alike"
    return [*entries, legend_entry(note, linestyle="none")]
