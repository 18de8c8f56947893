"""Figures 3B and 12 to 14: conditional entropy of recovered and unrecovered tokens."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from uddm_lib.figures._plotting import (
    BLUE,
    ORANGE,
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
)
from uddm_lib.statistics.entropies import FEW

_MOST_ROWS = 3  # a row of histograms is a value of n
_COLUMNS = ["size", "n", "set", "outcome", "low", "high", "count", "share"]
_SETS = {"train": "training", "test": "unseen test"}
_OUTCOMES = (("recovered", BLUE, True), ("failed", ORANGE, False))
_ENTRIES = [
    legend_entry("recovered tokens", color=BLUE, linewidth=6, alpha=0.45),
    legend_entry("tokens not recovered", color=ORANGE),
]


@styled
def token_histograms(
    token_entropy: pd.DataFrame,
    corpus: str,
    size: str | None = None,
    auc: pd.DataFrame | None = None,
) -> Figure:
    """Conditional entropy of recovered and unrecovered tokens, a panel per n and set (figure 3B).

    Of more than three n the smallest and the largest are drawn, which the title says.

    Args:
        token_entropy: histogram with the columns ``corpus, size, n, set, outcome, low, high,
            count, share``.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
        auc: how well entropy tells the two kinds apart, for the panels' titles
            (:func:`uddm_lib.statistics.entropies.token_auc`).
    """
    table = rows_of_corpus(token_entropy, corpus, _COLUMNS)
    size = size or unique(table, "size")[-1]
    table = rows_with(table, "size", size)
    title, counts = f"Entropy of corrupted tokens, {size}", sorted(table["n"].unique())
    if len(counts) > _MOST_ROWS:
        table = table[table["n"].isin([counts[0], counts[-1]])]
        title += f", at the smallest and the largest of {len(counts)} n"
    figure = Figure(figsize=(8, 1.2 + 1.7 * table["n"].nunique()), layout="constrained")
    draw_token_histograms(figure, table, auc)
    add_title(figure, title, corpus)
    return figure


@styled
def figure12_token_entropy(
    token_entropy: pd.DataFrame, corpus: str, auc: pd.DataFrame | None = None
) -> Figure:
    """Entropy of recovered and unrecovered tokens by size (paper figures 12 to 14).

    A row is a size; its panels are both sets at its smallest and at its largest n.

    Args:
        token_entropy, corpus, auc: as for :func:`token_histograms`.
    """
    table = rows_of_corpus(token_entropy, corpus, _COLUMNS)
    sizes = unique(table, "size")
    ends = {
        size: table[table["size"] == size]["n"].agg(["min", "max"]).unique().tolist()
        for size in sizes
    }
    width = 2 * max(map(len, ends.values()))
    figure, axes = panels(len(sizes), width, (2.0, 1.9), sharex="row")
    for row, (size, counts) in zip(axes, ends.items()):
        rows = table[table["size"] == size]
        keys = [(n, name) for n in counts for name in _SETS]
        for axis, (n, name) in zip(row, keys):
            _draw_panel(axis, rows, n, name, auc, size=7)
        for axis in row[len(keys) :]:
            axis.set_axis_off()
        row[0].set_ylabel(f"{size}\nshare of tokens")
    for axis in axes[-1]:
        axis.set_xlabel("entropy (nats)")
    add_legend(figure, _ENTRIES, "bottom")
    add_title(figure, "Entropy of corrupted tokens", corpus)
    return figure


def draw_token_histograms(
    figure: FigureBase, table: pd.DataFrame, auc: pd.DataFrame | None = None
) -> None:
    """Histograms of one size: a row per n, columns train and test."""
    counts = sorted(table["n"].unique().tolist())
    axes = figure.subplots(len(counts), 2, squeeze=False, sharex=True, sharey="row")
    for row, n in zip(axes, counts):
        for axis, name in zip(row, _SETS):
            _draw_panel(axis, table, n, name, auc)
        row[0].set_ylabel("share of tokens")
    for axis in axes[-1]:
        axis.set_xlabel("conditional entropy (nats)")
    add_legend(figure, _ENTRIES, "bottom")


def _draw_panel(
    axis: Axes,
    table: pd.DataFrame,
    n: int,
    name: str,
    auc: pd.DataFrame | None,
    size: float = 8,
) -> None:
    """Draw one n and set of one model size, under a title of font ``size`` with the numbers."""
    panel, numbers = table[(table["n"] == n) & (table["set"] == name)], []
    for outcome, color, fill in _OUTCOMES:
        rows = panel[panel["outcome"] == outcome]
        if len(rows):
            draw_histogram(axis, rows, color, fill)
        numbers.append(f"{rows['count'].sum():,} {outcome}")
    title = f"n = {n:,}, {_SETS[name]}\n{', '.join(numbers)}"
    if auc is not None and len(panel):
        found = auc.merge(panel[["corpus", "size", "n", "set"]].head(1)).iloc[0]
        few = min(found["recovered"], found["failed"]) < FEW
        title += f"\nno AUC: under {FEW} of a kind" if few else f"\nAUC {found['auc']:.2f}"
    axis.set_title(title, loc="left", fontsize=size)
    axis.set_ylim(bottom=0)
