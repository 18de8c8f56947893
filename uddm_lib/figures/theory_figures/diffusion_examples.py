"""Figures of the diffusion part: the NELBO, condensation, exact limits, duality, entropy."""

from collections.abc import Mapping

import pandas as pd

from uddm_lib.figures._plotting import (
    COLORS,
    MARKERS,
    Figure,
    add_legend,
    draw_means,
    legend_entry,
    ordered_styles,
    panels,
    styled,
    unique,
)
from uddm_lib.statistics.summary import require_columns


@styled
def nelbo_integrands(table: pd.DataFrame) -> Figure:
    """Integrand of the NELBO against t, a line per prediction; the area under each is its NELBO.

    Args:
        table: of :func:`uddm_lib.theory.worked_examples.nelbo_integrands`.
    """
    require_columns(table, ["t"])
    figure, axes = panels(1, 1, (4.8, 2.8))
    handles = []
    for name, style, color in zip(table.columns.drop("t"), ("-", "--", ":"), COLORS):
        axes[0, 0].plot(table["t"], table[name], color=color, linestyle=style)
        handles.append(legend_entry(name, color=color, linestyle=style))
    axes[0, 0].fill_between(table["t"], table.iloc[:, 1], color=COLORS[0], alpha=0.15, linewidth=0)
    high = table.loc[table["t"] > 0.01].drop(columns="t").max().max()
    axes[0, 0].set(
        xlabel="diffusion time t", ylabel="integrand of the NELBO (nats)", ylim=(0, 1.1 * high)
    )
    add_legend(figure, handles, "right")
    return figure


@styled
def condensation(
    path: pd.DataFrame, weights: pd.DataFrame, critical: Mapping[int, float]
) -> Figure:
    """Energy of the memorizer between two stored sequences (left), its weight on the right one.

    Args:
        path: of :func:`uddm_lib.theory.condensation.energy_path`.
        weights: of :func:`uddm_lib.theory.condensation.original_weights`.
        critical: condensation time of every n.
    """
    require_columns(path, ["t", "step", "energy"])
    require_columns(weights, ["n", "t", "weight", "error"])
    figure, axes = panels(1, 2, (3.4, 2.8))
    left, right = axes[0]
    times, counts = ordered_styles(path["t"]), ordered_styles(weights["n"])
    for t, (color, _) in times.items():
        rows = path[path["t"] == t]
        left.plot(rows["step"], rows["energy"], color=color)
    left.set(
        xlabel="share of the first sequence replaced\nby the second",
        ylabel="energy (nats per token)",
    )
    for n, (color, marker) in counts.items():
        rows = weights[weights["n"] == n]
        style = {"color": color, "marker": marker, "elinewidth": 0.8}
        right.errorbar(rows["t"], rows["weight"], rows["error"], **style)
        right.axvline(critical[n], color=color, linestyle="--", linewidth=0.8)
    right.set(xlabel="diffusion time t", ylabel="weight of the original", ylim=(-0.03, 1.03))
    energy_key = [legend_entry(f"t = {t:g}", color=color) for t, (color, _) in times.items()]
    weight_key = [
        legend_entry(f"n = {n:,}", color=color, marker=marker)
        for n, (color, marker) in counts.items()
    ]
    time_key = legend_entry("condensation time", color="0.2", linestyle="--", linewidth=0.8)
    figure.legend(handles=energy_key, loc="outside left upper", handlelength=2.6)
    add_legend(figure, [*weight_key, time_key], "right")
    return figure


@styled
def exact_limits(recovery: pd.DataFrame, entropy: pd.DataFrame) -> Figure:
    """Recovery (left) and conditional entropy (right) of the two exact limits against t.

    The memorizers have a color per n.

    Args:
        recovery: summary with the columns ``denoiser, n, set, t, mean, low, high``.
        entropy: likewise, nats per token.
    """
    for table in (recovery, entropy):
        require_columns(table, ["denoiser", "n", "set", "t", "mean", "low", "high"])
    figure, axes = panels(1, 2, (3.5, 2.9))
    counts = ordered_styles(recovery.loc[recovery["denoiser"] == "memorizer", "n"])
    generalizer = {"color": "k", "linestyle": "-.", "marker": "x"}
    for axis, table in zip(axes[0], (recovery, entropy)):
        memory = table[table["denoiser"] == "memorizer"]
        for n, (color, marker) in counts.items():
            style = {"color": color, "marker": marker}
            rows = memory[memory["n"] == n]
            draw_means(axis, rows[rows["set"] == "train"], "t", **style)
            unseen = {**style, "linestyle": "--", "markerfacecolor": "white"}
            draw_means(axis, rows[rows["set"] == "test"], "t", **unseen)
        draw_means(axis, table[table["denoiser"] == "generalizer"], "t", **generalizer)
        axis.set(xlabel="diffusion time t")
    axes[0, 0].set(ylabel="token recovery rate", ylim=(-0.03, 1.03))
    axes[0, 1].set_ylabel("conditional entropy\n(nats per token)")
    handles = [
        *(
            legend_entry(f"memorizer, n = {n:,}", color=color, marker=marker)
            for n, (color, marker) in counts.items()
        ),
        legend_entry("stored sequences", color="0.2"),
        legend_entry("unseen sequences", color="0.2", linestyle="--"),
        legend_entry("generalizer", **generalizer),
    ]
    add_legend(figure, handles, "right")
    return figure


@styled
def duality(exact: pd.DataFrame, drawn: pd.DataFrame) -> Figure:
    """alpha(gamma) of the uniform-Gaussian duality: lines by quadrature, points by drawing.

    Args:
        exact: columns ``vocab_size, gamma, alpha``.
        drawn: of :func:`uddm_lib.theory.worked_examples.argmax_alpha`; the bars are two standard
            errors.
    """
    require_columns(exact, ["vocab_size", "gamma", "alpha"])
    require_columns(drawn, ["vocab_size", "gamma", "alpha", "error"])
    figure, axes = panels(1, 1, (4.8, 2.9))
    axis, handles = axes[0, 0], []
    for i, vocab_size in enumerate(unique(exact, "vocab_size")):
        color = COLORS[i % len(COLORS)]
        style = {"color": color, "marker": MARKERS[i % len(MARKERS)], "markerfacecolor": "white"}
        rows = exact[exact["vocab_size"] == vocab_size]
        axis.plot(rows["gamma"], rows["alpha"], color=color)
        rows = drawn[drawn["vocab_size"] == vocab_size]
        bars = {"linestyle": "", "capsize": 1.5, "elinewidth": 0.8}
        axis.errorbar(rows["gamma"], rows["alpha"], 2 * rows["error"], **style, **bars)
        handles.append(legend_entry(f"V = {vocab_size:,}", **style))
    axis.axvspan(-3.5, -1.75, color="0.92", zorder=0)
    axis.set(
        xlabel=r"Gaussian noise level $\gamma$",
        ylabel=r"uniform-state $\alpha$",
        ylim=(-0.03, 1.03),
    )
    handles.append(legend_entry("range of the curriculum", color="0.85", linewidth=6))
    add_legend(figure, handles, "right")
    return figure


@styled
def curvature(wells: pd.DataFrame) -> Figure:
    """Entropy of a well against the log-determinant of its Hessian, and its Laplace approximation.

    Args:
        wells: of :func:`uddm_lib.theory.worked_examples.double_well`.
    """
    require_columns(wells, ["log_det", "entropy", "laplace"])
    figure, axes = panels(1, 1, (4.2, 2.8))
    laplace = {"color": "0.2", "linestyle": "--"}
    quadrature = {"color": COLORS[0], "marker": "o", "linestyle": ""}
    axes[0, 0].plot(wells["log_det"], wells["laplace"], **laplace)
    axes[0, 0].plot(wells["log_det"], wells["entropy"], **quadrature)
    axes[0, 0].set(xlabel="log determinant of the Hessian", ylabel="entropy of a well (nats)")
    handles = [
        legend_entry("by quadrature", **quadrature),
        legend_entry("Laplace, eq. (23)", **laplace),
    ]
    add_legend(figure, handles, "right")
    return figure


@styled
def reverse_profile(table: pd.DataFrame) -> Figure:
    """Entropy, variance and gap of the predictions along the reverse process, a line per denoiser.

    Args:
        table: of :func:`uddm_lib.probes.reverse_profile`, with a column ``denoiser``.
    """
    require_columns(table, ["denoiser", "t", "entropy", "variance", "gap"])
    labels = {
        "entropy": "conditional entropy\n(nats per token)",
        "variance": "variance of the token,\n" r"$\sum_v p_v (1 - p_v)$",
        "gap": "gap of the two largest,\n" r"$p_{(1)} - p_{(2)}$",
    }
    figure, axes = panels(1, 3, (2.6, 2.6))
    handles = []
    for i, (denoiser, rows) in enumerate(table.groupby("denoiser", sort=False)):
        style = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}
        for axis, name in zip(axes[0], labels):
            axis.plot(rows["t"], rows[name], **style, markersize=3)
        handles.append(legend_entry(str(denoiser), **style, markersize=3))
    for axis, label in zip(axes[0], labels.values()):
        axis.set(xlabel="diffusion time t\n(from noise to text)", ylabel=label)
        axis.set_ylim(bottom=0)
        axis.invert_xaxis()
    add_legend(figure, handles, "right")
    return figure
