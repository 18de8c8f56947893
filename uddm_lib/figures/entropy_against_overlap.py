"""Entropy of generated sequences against how near they are to a training sequence."""

import pandas as pd

from uddm_lib.figures._plotting import (
    Figure,
    add_legend,
    add_title,
    evenly_spaced,
    legend_entry,
    ordered_styles,
    rows_of_corpus,
    styled,
    wrapped_panels,
)


@styled
def entropy_against_overlap(generated: pd.DataFrame, corpus: str) -> Figure:
    """A point per generated sequence, a color per n and a panel per size.

    Args:
        generated: a row per sequence with the columns ``corpus, size, n, overlap, nats``: the
            overlap with the nearest training sequence, and the conditional entropy per token.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(generated, corpus, ["size", "n", "overlap", "nats"])
    styles, sizes = ordered_styles(table["n"]), list(table.groupby("size", sort=False))
    labels = "overlap with the nearest\ntraining sequence", "conditional entropy\n(nats per token)"
    figure, axes = wrapped_panels(len(sizes), (3.2, 2.4), labels, sharey=True)
    for axis, (size, rows) in zip(axes, sizes):
        for n, points in rows.groupby("n"):
            color, marker = styles[n]
            axis.scatter(
                points["overlap"], points["nats"], 16, color=color, marker=marker, alpha=0.5, lw=0
            )
        axis.set(title=size, xlim=(-0.03, 1.03), ylim=(-0.05 * table["nats"].max(), None))
    entries = [
        legend_entry(f"n = {n:,}", color=color, marker=marker, linestyle="")
        for n, (color, marker) in evenly_spaced(styles).items()
    ]
    add_legend(figure, entries, "right")
    add_title(figure, "Generated sequences", corpus)
    return figure
