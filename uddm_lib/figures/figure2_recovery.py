"""Figure 2: token recovery against the training-set size n, and against the time t."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

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
    evenly_spaced,
    interval_entry,
    legend_entry,
    limit_entries,
    ordered_styles,
    panels,
    rows_of_corpus,
    set_log_n_axis,
    styled,
    unique,
    wrapped_panels,
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
from uddm_lib.statistics.transition import at_time

_COLUMNS = ["size", "n", "set", "t", "mean", "low", "high", "seeds"]


@styled
def figure2(
    recovery: pd.DataFrame,
    corpus: str,
    t: float | None = None,
    trainings: pd.DataFrame | None = None,
) -> Figure:
    """Stochastic recovery against n at one t, a color per size (paper figure 2).

    The exact limits, where they are known, are thin and gray: the memorizer's at both ends, the
    generalizer's in between. The random control is a number in the key.

    Args:
        recovery: summary with the columns
            ``corpus, size, n, denoiser, set, t, mean, low, high, seeds``.
        corpus: the corpus to draw.
        t: the diffusion time, one of the table's; by default that nearest to 0.1.
        trainings: means of the single trainings, with the columns ``corpus, size, n, seed, set, t,
            mean``. A corpus with one size shows them as thin lines; more sizes leave no room.

    Raises:
        ValueError: if the table has no such corpus, t or column.
    """
    table = rows_of_corpus(recovery, corpus, _COLUMNS)
    t = time_shown(table) if t is None else t
    table = at_time(table, t)
    networks = of_denoiser(table)
    styles = size_colors(unique(networks, "size"))
    trainings = shown_trainings(trainings, networks)
    figure, axes = panels(1, 1, (2.6, 3.9))
    axis = axes[0, 0]
    for name in ("train", "test"):
        rows, line_style = networks[networks["set"] == name], SETS[name][1]
        for size, (color, marker) in styles.items():
            one = rows[rows["size"] == size]
            draw_bands(axis, one, "n", color, marker=marker, linestyle=line_style)
        if trainings is not None:
            single = at_time(rows_of_corpus(trainings, corpus, ["n", "set", "t", "mean"]), t)
            draw_trainings(axis, single[single["set"] == name], "n", color, line_style)
    first = table[table["size"] == table["size"].iloc[0]]  # the limits hang on no model
    for limit, name in (("memorizer", "train"), ("memorizer", "test"), ("generalizer", "test")):
        draw_limit(axis, of_denoiser(first[first["set"] == name], limit), "n", GRAY)
    set_log_n_axis(axis, networks["n"])
    axis.set(ylim=(-0.03, 1.03), ylabel=f"token recovery rate at t = {t:g}")
    entries = [*size_entries(styles, "test"), interval_entry(networks, "bands")]
    if trainings is not None:
        entries.append(trainings_entry())
    control = networks[networks["set"] == "random"]["mean"]
    if len(control):
        text = f"{SETS['random'][0]},\nat most {control.max():.2f}"
        entries.append(legend_entry(text, linestyle="none"))
    entries += limit_entries(table, "training above, unseen below", "both sets")
    add_legend(figure, entries, "bottom", 2)
    add_title(figure, "Token recovery", corpus)
    return figure


def time_shown(recovery: pd.DataFrame) -> float:
    """The t that figure 2 draws if none is given: of the table's, that nearest to 0.1."""
    return float(min(unique(recovery, "t"), key=lambda time: abs(time - 0.1)))


@styled
def figure2_full(recovery: pd.DataFrame, corpus: str) -> Figure:
    """Stochastic recovery against n, a color per t and a panel per size (paper figure 2).

    Args:
        recovery: as for :func:`figure2`.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(recovery, corpus, _COLUMNS)
    sizes, styles = unique(table, "size"), ordered_styles(of_denoiser(table)["t"])
    width = 3.0 if len(sizes) > 1 else 4.6
    figure, axes = panels(1, len(sizes), (width, 3.0), sharey=True)
    for axis, size in zip(axes[0], sizes):
        rows = table[table["size"] == size]
        _draw_recovery(axis, rows, styles)
        set_log_n_axis(axis, of_denoiser(rows)["n"])
        axis.set(title=size, ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("token recovery rate")
    entries = [
        legend_entry(f"t = {t:g}", color=color, marker=marker)
        for t, (color, marker) in evenly_spaced(styles).items()
    ]
    for name in ("train", "test"):
        label, line_style = SETS[name]
        entries.append(legend_entry(label, color="0.2", linestyle=line_style))
    control = f"{SETS['random'][0]},\nt = {min(styles):g}"
    entries.append(legend_entry(control, color=GRAY, linestyle=":"))
    entries += limit_entries(table, "color of t")
    entries.append(interval_entry(of_denoiser(table), "bars"))
    add_legend(figure, entries, "right")
    add_title(figure, "Token recovery", corpus)
    return figure


@styled
def recovery_against_time(recovery: pd.DataFrame, corpus: str) -> Figure:
    """Stochastic recovery against t, a panel per model (size and n), three in a row.

    Args:
        recovery: as for :func:`figure2`.
        corpus: the corpus to draw.
    """
    table = rows_of_corpus(recovery, corpus, _COLUMNS)
    models = list(of_denoiser(table).groupby(["size", "n"], sort=False))
    labels = "diffusion time t", "token recovery rate"
    figure, axes = wrapped_panels(len(models), (2.9, 2.3), labels, sharey=True)
    colors = {"train": BLUE, "test": ORANGE, "random": GRAY}
    for axis, ((size, n), networks) in zip(axes, models):
        for name, color in colors.items():
            draw_means(
                axis,
                networks[networks["set"] == name],
                "t",
                color=color,
                marker="o" if name != "random" else None,
                linestyle=SETS[name][1],
            )
            rows = table[(table["size"] == size) & (table["n"] == n) & (table["set"] == name)]
            for limit in ("memorizer", "generalizer"):
                draw_limit(axis, of_denoiser(rows, limit), "t", color)
        axis.set(title=f"{size}, n = {n:,}", ylim=(-0.03, 1.03))
    entries = [
        legend_entry(SETS[name][0], color=color, linestyle=SETS[name][1])
        for name, color in colors.items()
    ]
    entries += limit_entries(table, "color of the set")
    entries.append(interval_entry(of_denoiser(table), "bars"))
    add_legend(figure, entries, "right")
    add_title(figure, "Token recovery", corpus)
    return figure


def _draw_recovery(axis: Axes, table: pd.DataFrame, styles: dict[Any, tuple[Any, str]]) -> None:
    """Draw one size: training and test curves per t with their limits, and the control."""
    networks = of_denoiser(table)
    for t, (color, marker) in styles.items():
        for name in ("train", "test"):
            draw_means(
                axis,
                networks[(networks["set"] == name) & (networks["t"] == t)],
                "n",
                color=color,
                marker=marker,
                linestyle=SETS[name][1],
                markerfacecolor="white" if name == "test" else color,
            )
            rows = table[(table["set"] == name) & (table["t"] == t)]
            draw_limit(axis, of_denoiser(rows, "memorizer"), "n", color)
            if name == "test":  # on training sequences it is the same but for their draw
                draw_limit(axis, of_denoiser(rows, "generalizer"), "n", color)
    control = networks[(networks["set"] == "random") & (networks["t"] == min(styles))]
    draw_means(axis, control, "n", color=GRAY, linestyle=":")
