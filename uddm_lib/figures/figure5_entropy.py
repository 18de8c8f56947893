"""Figure 5: mean conditional entropy against the training-set size n, and its gap."""

import pandas as pd

from uddm_lib.figures._plotting import (
    GRAY,
    SETS,
    Figure,
    add_legend,
    add_title,
    draw_limit,
    interval_entry,
    legend_entry,
    panels,
    rows_of_corpus,
    set_log_n_axis,
    styled,
    unique,
)
from uddm_lib.figures._sizes import (
    draw_bands,
    draw_trainings,
    shown_trainings,
    size_colors,
    size_entries,
    trainings_entry,
)
from uddm_lib.statistics.summary import of_denoiser


@styled
def figure5(
    entropy: pd.DataFrame,
    entropy_gap: pd.DataFrame,
    corpus: str,
    trainings: pd.DataFrame | None = None,
) -> Figure:
    """Mean entropy of training and generated sequences against n, and their gap (paper figure 5).

    The sizes lie over each other, a color each. The lower panel shows generated minus training;
    it is left out where there are no generated sequences. A gray line is the exact generalizer on
    its own sequences, where it is known.

    Args:
        entropy: summary with the columns
            ``corpus, size, n, denoiser, set, mean, low, high, seeds``, in nats per token.
        entropy_gap: the gap, as of :func:`uddm_lib.statistics.entropies.entropy_gap`.
        corpus: the corpus to draw.
        trainings: means of the single trainings, with the columns ``corpus, size, n, seed, set,
            mean``. A corpus with one size shows them as thin lines; more sizes leave no room.
    """
    table = rows_of_corpus(entropy, corpus, ["size", "n", "set", "mean", "low", "high", "seeds"])
    networks, gap = of_denoiser(table), entropy_gap[entropy_gap["corpus"] == corpus]
    styles = size_colors(unique(networks, "size"))
    trainings = shown_trainings(trainings, networks)
    figure, axes = panels(2 if len(gap) else 1, 1, (2.6, 2.5), sharex=True)
    upper, lower = axes[0, 0], axes[-1, 0]
    for size, (color, marker) in styles.items():
        for name in ("train", "generated"):
            rows = networks[(networks["size"] == size) & (networks["set"] == name)]
            draw_bands(upper, rows, "n", color, marker=marker, linestyle=SETS[name][1])
            if trainings is not None:
                single = rows_of_corpus(trainings, corpus, ["n", "set", "mean"])
                single = single[single["set"] == name]
                draw_trainings(upper, single, "n", color, SETS[name][1])
        if len(gap):
            draw_bands(lower, gap[gap["size"] == size], "n", color, marker=marker)
    limit = of_denoiser(table[table["set"] == "generated"], "generalizer")
    draw_limit(upper, limit[limit["size"] == table["size"].iloc[0]], "n", GRAY)
    upper.set_ylabel("mean conditional entropy\n(nats per token)")
    upper.set_ylim(bottom=-0.02 * networks["high"].max())
    if len(gap):
        lower.axhline(0, color=GRAY, linewidth=0.8)
        lower.set_ylabel("generated minus training\n(nats per token)")
    set_log_n_axis(lower, networks["n"])
    entries = size_entries(styles, "generated")
    if len(limit):
        style = {"linewidth": 0.8, "linestyle": "-."}
        entries.append(legend_entry("exact generalizer", color=GRAY, **style))
    entries.append(interval_entry(networks, "bands"))
    if trainings is not None:
        entries.append(trainings_entry())
    add_legend(figure, entries, "bottom", 2)
    add_title(figure, "Conditional entropy", corpus)
    return figure
