"""Figure 5: mean conditional entropy against the training-set size n."""

import pandas as pd

from uddm_lib.figures._plotting import (
    BLUE,
    GRAY,
    ORANGE,
    SETS,
    Figure,
    add_legend,
    add_title,
    draw_limit,
    draw_means,
    legend_entry,
    limit_entries,
    panels,
    rows_of_corpus,
    set_log_n_axis,
    styled,
    unique,
)
from uddm_lib.statistics.summary import of_denoiser

_STYLES = {  # set -> color, marker, line style; test is the reference, not the other set here
    "train": (BLUE, "o", "-"),
    "generated": (ORANGE, "s", "--"),
    "test": (GRAY, None, ":"),
}


@styled
def figure5(entropy: pd.DataFrame, corpus: str) -> Figure:
    """Mean entropy of training, generated and test sequences against n, by size (paper figure 5).

    Args:
        entropy: summary with the columns ``corpus, size, n, denoiser, set, mean, low, high``,
            in nats per token.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(entropy, corpus, ["size", "n", "set", "mean", "low", "high"])
    networks, sizes = of_denoiser(table), unique(table, "size")
    width = 3.0 if len(sizes) > 1 else 4.6
    figure, axes = panels(1, len(sizes), (width, 2.9), sharey=True)
    for axis, size in zip(axes[0], sizes):
        panel = networks[networks["size"] == size]
        for name, (color, marker, line_style) in _STYLES.items():
            draw_means(
                axis,
                panel[panel["set"] == name],
                "n",
                color=color,
                marker=marker,
                linestyle=line_style,
            )
            rows = table[(table["size"] == size) & (table["set"] == name)]
            for limit in ("memorizer", "generalizer"):
                draw_limit(axis, of_denoiser(rows, limit), "n", color)
        set_log_n_axis(axis, panel["n"])
        axis.set(title=size)
        axis.set_ylim(bottom=-0.02 * networks["high"].max())
    axes[0, 0].set_ylabel("mean conditional entropy\n(nats per token)")
    entries = [
        legend_entry(SETS[name][0], color=color, marker=marker, linestyle=line_style)
        for name, (color, marker, line_style) in _STYLES.items()
    ]
    add_legend(figure, entries + limit_entries(table, "color of the set"), "right")
    add_title(figure, "Conditional entropy", corpus)
    return figure
