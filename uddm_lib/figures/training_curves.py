"""Figures of training: the loss during one run, and validation perplexity over a sweep."""

import math

import pandas as pd

from uddm_lib.figures._plotting import (
    BLUE,
    COLORS,
    MARKERS,
    ORANGE,
    Figure,
    add_legend,
    add_title,
    legend_entry,
    panels,
    rows_of_corpus,
    set_log_n_axis,
    set_plain_log_axis,
    styled,
)
from uddm_lib.statistics.summary import require_columns


@styled
def perplexity(validation: pd.DataFrame, corpus: str) -> Figure:
    """Validation perplexity against n, a line per size (the released code's extra figure).

    Args:
        validation: a table with the columns ``corpus, size, n, perplexity``.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(validation, corpus, ["size", "n", "perplexity"])
    figure, axes = panels(1, 1, (4.6, 2.9))
    axis, entries = axes[0, 0], []
    for i, (size, rows) in enumerate(table.groupby("size", sort=False)):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        rows = rows.sort_values("n")
        axis.plot(rows["n"], rows["perplexity"], color=color, marker=marker)
        entries.append(legend_entry(str(size), color=color, marker=marker))
    set_log_n_axis(axis, table["n"])
    axis.set_ylabel("validation perplexity\nper token")
    set_plain_log_axis(axis)
    add_legend(figure, entries, "right")
    add_title(figure, "Validation perplexity", corpus)
    return figure


@styled
def training_curve(log: pd.DataFrame) -> Figure:
    """Training loss and validation NELBO against the step; the right axis reads in perplexity.

    Args:
        log: a table with the columns ``step, loss, validation_nelbo``, in nats per token.
    """
    require_columns(log, ["step", "loss", "validation_nelbo"])
    figure, axes = panels(1, 1, (4.6, 2.8))
    left = axes[0, 0]
    rows = log[log["validation_nelbo"].notna()]
    held_out = {"color": ORANGE, "marker": "s", "linestyle": "--"}
    left.plot(log["step"], log["loss"], color=BLUE)
    left.plot(rows["step"], rows["validation_nelbo"], **held_out)
    left.set(xlabel="optimizer step", ylabel="NELBO (nats per token)", ylim=(0, None))
    right, top = left.twinx(), left.get_ylim()[1]
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000) if math.log(tick) <= top]
    right.set(ylim=(0, top))
    right.set_yticks([math.log(tick) for tick in ticks], [f"{tick:,}" for tick in ticks])
    right.grid(False)
    right.set_ylabel("perplexity per token")
    entries = [
        legend_entry("training loss", color=BLUE),
        legend_entry("held-out blocks,\naveraged weights", **held_out),
    ]
    add_legend(figure, entries, "right")
    return figure
