"""Figure 4: the distribution of the conditional entropy of whole sequences."""

import pandas as pd

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
    wrapped_panels,
)


@styled
def figure4(sequence_entropy: pd.DataFrame, corpus: str, size: str | None = None) -> Figure:
    """Conditional entropy of training and generated sequences, a panel per n (paper figure 4).

    Args:
        sequence_entropy: histogram with the columns ``corpus, size, n, set, low, high, share``.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
    """
    table = rows_of_corpus(sequence_entropy, corpus, ["size", "n", "set", "low", "high", "share"])
    size = size or unique(table, "size")[-1]
    table = rows_with(table, "size", size)
    counts = sorted(table["n"].unique())
    labels = "conditional entropy\n(nats per sequence)", "share of sequences"
    figure, axes = wrapped_panels(len(counts), (2.8, 2.1), labels)
    for axis, n in zip(axes, counts):
        for name, color, fill in (("train", BLUE, True), ("generated", ORANGE, False)):
            rows = table[(table["n"] == n) & (table["set"] == name)]
            draw_histogram(axis, rows, color, fill)
        axis.set_title(f"n = {n:,}")
    entries = [
        legend_entry(SETS["train"][0], color=BLUE, linewidth=6, alpha=0.45),
        legend_entry(SETS["generated"][0], color=ORANGE),
    ]
    add_legend(figure, entries, "right")
    add_title(figure, f"Sequence entropy, {size}", corpus)
    return figure
