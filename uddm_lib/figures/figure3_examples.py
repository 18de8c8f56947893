"""Figure 3: examples of restored text, and the entropy of their tokens."""

import pandas as pd
from matplotlib.figure import FigureBase

from uddm_lib.figures._plotting import (
    BLUE,
    ORANGE,
    SETS,
    Figure,
    add_legend,
    add_title,
    draw_histogram,
    legend_entry,
    rows_of_corpus,
    rows_with,
    styled,
    unique,
)
from uddm_lib.figures._text_panel import draw_examples, select_examples, text_height

_MOST_ROWS = 3  # a row of histograms is a value of n


@styled
def figure3(
    examples: pd.DataFrame, token_entropy: pd.DataFrame, corpus: str, size: str | None = None
) -> Figure:
    """Text examples and token entropies at the smallest and the largest n (paper figure 3).

    Args:
        examples: as for :func:`text_examples`.
        token_entropy: as for :func:`token_histograms`.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
    """
    token_entropy = rows_of_corpus(token_entropy, corpus, ["size", "n", "set"])
    size = size or unique(token_entropy, "size")[-1]
    token_entropy = rows_with(token_entropy, "size", size)
    examples = select_examples(examples, corpus, "stochastic", size)
    heights = 0.4 + text_height(examples), 1.2 + 1.1 * token_entropy["n"].nunique()
    figure = Figure(figsize=(9.2, sum(heights)), layout="constrained")
    figure.subfigures(2, 1, height_ratios=heights)
    upper, lower = figure.subfigs
    draw_examples(upper, examples, corpus, "A  ")
    _draw_token_histograms(lower, token_entropy)
    lower.suptitle("B  Conditional entropy of corrupted tokens", x=0.01, ha="left", fontsize=10)
    return figure


@styled
def text_examples(examples: pd.DataFrame, corpus: str, process: str) -> Figure:
    """Original, perturbed and restored text, each token colored by its outcome (figures 1, 3A).

    Args:
        examples: a row per token, with the columns ``corpus, size, n, set, process, level,
            position, original, perturbed, restored``. The level is the diffusion time
            (stochastic) or the share of corrupted tokens (greedy).
        corpus: the corpus to draw.
        process: ``stochastic`` or ``greedy``.
    """
    table = select_examples(examples, corpus, process)
    figure = Figure(figsize=(9.2, 0.4 + text_height(table)), layout="constrained")
    draw_examples(figure, table, corpus)
    return figure


@styled
def token_histograms(token_entropy: pd.DataFrame, corpus: str, size: str | None = None) -> Figure:
    """Conditional entropy of recovered and unrecovered tokens, a panel per n and set (figure 3B).

    Of more than three n the smallest and the largest are drawn, which the title says.

    Args:
        token_entropy: histogram with the columns ``corpus, size, n, set, outcome, low, high,
            share``.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
    """
    columns = ["size", "n", "set", "outcome", "low", "high", "share"]
    table = rows_of_corpus(token_entropy, corpus, columns)
    size = size or unique(table, "size")[-1]
    table = rows_with(table, "size", size)
    title, counts = f"Entropy of corrupted tokens, {size}", sorted(table["n"].unique())
    if len(counts) > _MOST_ROWS:
        table = table[table["n"].isin([counts[0], counts[-1]])]
        title += f", at the smallest and the largest of {len(counts)} n"
    height = 1.2 + 1.7 * table["n"].nunique()
    figure = Figure(figsize=(8, height), layout="constrained")
    _draw_token_histograms(figure, table)
    add_title(figure, title, corpus)
    return figure


def _draw_token_histograms(figure: FigureBase, table: pd.DataFrame) -> None:
    """Histograms of recovered and failed tokens: a row per n, columns train and test."""
    counts = sorted(table["n"].unique())
    axes = figure.subplots(len(counts), 2, squeeze=False, sharex=True, sharey=True)
    for row, n in zip(axes, counts):
        for axis, name in zip(row, ("train", "test")):
            panel = table[(table["n"] == n) & (table["set"] == name)]
            for outcome, color, fill in (("recovered", BLUE, True), ("failed", ORANGE, False)):
                if len(rows := panel[panel["outcome"] == outcome]):
                    draw_histogram(axis, rows, color, fill)
            axis.set_title(f"n = {n:,}, {SETS[name][0]}", loc="left")
            axis.set_yscale("symlog", linthresh=0.01)
            axis.set_yticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
            axis.set_ylim(0, 1.2)
        row[0].set_ylabel("share of tokens")
    for axis in axes[-1]:
        axis.set_xlabel("conditional entropy (nats)")
    entries = [
        legend_entry("recovered tokens", color=BLUE, linewidth=6, alpha=0.45),
        legend_entry("tokens not recovered", color=ORANGE),
    ]
    add_legend(figure, entries, "bottom")
