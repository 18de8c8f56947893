"""Figures of training: losses against the step, and validation perplexity over a sweep."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from uddm_lib.figures._plotting import (
    GRAY,
    Figure,
    add_legend,
    add_title,
    evenly_spaced,
    interval_entry,
    legend_entry,
    ordered_styles,
    panels,
    rows_of_corpus,
    set_log_n_axis,
    set_plain_log_axis,
    styled,
    unique,
)
from uddm_lib.figures._sizes import draw_bands, size_colors
from uddm_lib.statistics.summary import require_columns

_PANELS = "training loss", "held-out blocks, averaged weights"


@styled
def perplexity(
    validation: pd.DataFrame, corpus: str, corpora: pd.DataFrame | None = None
) -> Figure:
    """Validation perplexity against n, a line per size (the released code's extra figure).

    Args:
        validation: a table with the columns ``corpus, size, n, perplexity, low, high, seeds``.
        corpus: the corpus to draw.
        corpora: a table with the columns ``corpus, vocab_size, entropy``, for two reference lines:
            a uniform guess has the perplexity V, the source, where it is known, exp(entropy).
    """
    table = rows_of_corpus(validation, corpus, ["size", "n", "perplexity", "low", "high", "seeds"])
    table = table.rename(columns={"perplexity": "mean"})
    styles = size_colors(unique(table, "size"))
    figure, axes = panels(1, 1, (2.6, 3.4))
    axis = axes[0, 0]
    for size, (color, marker) in styles.items():
        rows = table[table["size"] == size]
        draw_bands(axis, rows, "n", color, marker=marker)
    entries = [
        legend_entry(size, color=color, marker=marker) for size, (color, marker) in styles.items()
    ]
    entries += _draw_references(axis, corpus, corpora)
    entries.append(interval_entry(table, "bands", sequences=False))
    set_log_n_axis(axis, table["n"])
    axis.set_ylabel("validation perplexity\nper token")
    set_plain_log_axis(axis)
    add_legend(figure, entries, "bottom", 2)
    add_title(figure, "Validation perplexity", corpus)
    return figure


def _draw_references(axis: Axes, corpus: str, corpora: pd.DataFrame | None) -> list[Line2D]:
    """Draw what is known of the corpus as level lines, and return their legend entries."""
    known = None if corpora is None else corpora[corpora["corpus"] == corpus]
    if known is None or known.empty:
        return []
    size, entropy = known.iloc[0][["vocab_size", "entropy"]]
    levels = {f"uniform guess, V = {size}": (size, ":")}
    if not math.isnan(entropy):
        perplexity = math.exp(entropy)
        levels[f"source, exp(H) = {perplexity:.1f}"] = (perplexity, "-.")
    for level, style in levels.values():
        axis.axhline(level, color=GRAY, linestyle=style, linewidth=1)
    return [
        legend_entry(label, color=GRAY, linestyle=style, linewidth=1)
        for label, (_, style) in levels.items()
    ]


@styled
def training_curves(
    logs: pd.DataFrame,
    levels: Mapping[str, float] | None = None,
    floors: Mapping[int, float] | None = None,
) -> Figure:
    """Training loss, and NELBO of held-out blocks, against the step: a thin line per training.

    The right axis reads in perplexity. The y axis ends at 2.5 times the largest value in the
    first rows. The title of a panel says how many curves go beyond, and how far.

    Args:
        logs: the logs of one or more trainings of one corpus and size, with the columns
            ``n, seed, step, loss, validation_nelbo``; losses are in nats per token.
        levels: lines that both panels share, by name, in nats per token.
        floors: from n to the least mean of its training loss: short lines in the color of n.

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
    for (name, y), axis in itertools.product((levels or {}).items(), axes[0]):
        axis.axhline(y, color="0.45", linewidth=0.8, linestyle=":", zorder=1)
        right = logs["step"].max()
        axis.text(right, y, name, fontsize=7, color="0.3", ha="right", va="top")
    for n, y in (floors or {}).items():
        axes[0, 0].axhline(y, 0.9, color=styles[n][0], linewidth=1.4, zorder=1.5)
    _add_perplexity_axis(axes[0, 1], top)
    entries = [
        legend_entry(f"n = {n:,}", color=color, marker=marker)
        for n, (color, marker) in evenly_spaced(styles).items()
    ]
    if floors:
        entries.append(legend_entry("log n / L\n(right edge)", color=GRAY, linewidth=1.4))
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
