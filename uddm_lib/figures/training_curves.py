"""Figures of training: losses against the step, and validation perplexity over a sweep."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from uddm_lib.figures._plotting import (
    COLORS,
    MARKERS,
    Figure,
    add_legend,
    add_title,
    draw_means,
    evenly_spaced,
    legend_entry,
    ordered_styles,
    panels,
    rows_of_corpus,
    set_log_n_axis,
    set_plain_log_axis,
    styled,
)
from uddm_lib.statistics.summary import require_columns

_PANELS = "training loss", "held-out blocks, averaged weights"


@styled
def perplexity(validation: pd.DataFrame, corpus: str) -> Figure:
    """Validation perplexity against n, a line per size (the released code's extra figure).

    Args:
        validation: a table with the columns ``corpus, size, n, perplexity``. With ``low`` and
            ``high``, the interval over trainings, it has error bars.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(validation, corpus, ["size", "n", "perplexity"])
    figure, axes = panels(1, 1, (4.6, 2.9))
    axis, entries = axes[0, 0], []
    for i, (size, rows) in enumerate(table.groupby("size", sort=False)):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        rows = rows.sort_values("n").rename(columns={"perplexity": "mean"})
        if {"low", "high"} <= set(rows):
            draw_means(axis, rows, "n", color=color, marker=marker)
        else:
            axis.plot(rows["n"], rows["mean"], color=color, marker=marker)
        entries.append(legend_entry(str(size), color=color, marker=marker))
    set_log_n_axis(axis, table["n"])
    axis.set_ylabel("validation perplexity\nper token")
    set_plain_log_axis(axis)
    add_legend(figure, entries, "right")
    add_title(figure, "Validation perplexity", corpus)
    return figure


@styled
def training_curves(logs: pd.DataFrame) -> Figure:
    """Training loss, and NELBO of held-out blocks, against the step: a thin line per training.

    The right axis reads in perplexity. The y axis ends at 2.5 times the largest value in the
    first rows. The title of a panel says how many curves go beyond, and how far.

    Args:
        logs: the logs of one or more trainings of one corpus and size, with the columns
            ``n, seed, step, loss, validation_nelbo``; losses are in nats per token.

    Raises:
        ValueError: if a column is missing.
    """
    require_columns(logs, ["n", "seed", "step", "loss", "validation_nelbo"])
    styles, losses = ordered_styles(logs["n"]), ["loss", "validation_nelbo"]
    runs = [(n, run.sort_values("step")) for (n, _), run in logs.groupby(["n", "seed"])]
    first = max(run[losses].iloc[0].max() for _, run in runs)
    top = min(2.5 * first, 1.05 * logs[losses].max().max())
    figure, axes = panels(1, 2, (3.8, 2.8), sharex=True, sharey=True)
    for axis, column, title, line_style in zip(axes[0], losses, _PANELS, ("-", "--")):
        for n, run in runs:
            color, marker = styles[n]
            rows = run[run[column].notna()]
            axis.plot(
                rows["step"],
                rows[column],
                color=color,
                marker=marker,
                markersize=3,
                markevery=max(1, len(rows) // 8),
                linestyle=line_style,
                linewidth=0.9,
            )
        axis.set(title=title + _beyond(runs, column, top), xlabel="optimizer step", ylim=(0, top))
    axes[0, 0].set_ylabel("NELBO (nats per token)")
    _add_perplexity_axis(axes[0, 1], top)
    entries = [
        legend_entry(f"n = {n:,}", color=color, marker=marker)
        for n, (color, marker) in evenly_spaced(styles).items()
    ]
    add_legend(figure, entries, "right")
    return figure


def _beyond(runs: list[tuple[Any, pd.DataFrame]], column: str, top: float) -> str:
    """Words on the curves that leave the panel at the top, if there are any."""
    beyond = [run[column].max() for _, run in runs if run[column].max() > top]
    if not beyond:
        return ""
    return f"\n{len(beyond)} of {len(runs)} leave at the top, up to {max(beyond):.1f}"


def _add_perplexity_axis(axis: Axes, top: float) -> None:
    """Add an axis at the right that reads nats, from 0 to ``top``, in perplexity."""
    right = axis.twinx()
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000) if math.log(tick) <= top]
    right.set(ylim=(0, top), ylabel="perplexity per token")
    right.set_yticks([math.log(tick) for tick in ticks], [f"{tick:,}" for tick in ticks])
    right.grid(False)
