"""The figures of the theory notebook, one function each, drawn from tables alone, in the style of :mod:`figures`.

The tables come from :mod:`uddm_lib.theory.hopfield`, :mod:`uddm_lib.theory.exact` and :mod:`uddm_lib.probes`; where a function
asks for a summary, it is that of :func:`uddm_lib.statistics.summary.summarize`.
"""

import numpy as np

from uddm_lib.figures._plotting import (
    COLORS,
    MARKERS,
    handle,
    legend,
    line,
    order,
    panels,
    styled,
    unique,
)
from uddm_lib.statistics.summary import need

__all__ = [
    "basins",
    "capacity",
    "condensation",
    "curvature",
    "duality",
    "generalization",
    "gradient_parts",
    "limits",
    "margins",
    "nelbo_integrands",
    "profile",
]

RULES = {
    "hebbian": ("Hebbian", COLORS[1], "s"),
    "pseudo-likelihood": ("pseudo-likelihood", COLORS[0], "o"),
}


@styled
def basins(table):
    """Overlap reached against the share of flipped bits, a panel per load, a line per rule.

    Args:
        table: summary with the columns ``load, rule, share, mean, low, high``.
    """
    need(table, ["load", "rule", "share", "mean", "low", "high"])
    loads = unique(table, "load")
    figure, axes = panels(1, len(loads), (2.1, 2.6), sharey=True)
    for axis, load in zip(axes[0], loads):
        for rule, (_, color, marker) in RULES.items():
            line(
                axis,
                table[(table["load"] == load) & (table["rule"] == rule)],
                "share",
                color=color,
                marker=marker,
            )
        shares = np.linspace(0, 0.5)
        axis.plot(shares, 1 - 2 * shares, color="0.6", linestyle=":")
        axis.set(title=f"P / N = {load:g}", xlabel="share of bits flipped", ylim=(-0.05, 1.05))
    axes[0, 0].set_ylabel("overlap reached")
    legend(
        figure,
        [*_rule_handles(), handle("overlap at the start", color="0.6", linestyle=":")],
        "bottom",
    )
    return figure


@styled
def margins(details, summary, maximum):
    """Margins while the couplings are trained (left), and the smallest one against the maximum margin (right).

    Args:
        details, summary: the tables of :func:`uddm_lib.theory.hopfield.course`.
        maximum: smallest margin of the maximum-margin solution of the same patterns.
    """
    need(details, ["step", "margin"])
    need(summary, ["step", "smallest"])
    figure, axes = panels(1, 2, (3.4, 2.7))
    stages = order(details["step"])
    edges = np.linspace(details["margin"].min(), details["margin"].quantile(0.999), 61)
    for step, (color, _) in stages.items():
        share, _ = np.histogram(details.loc[details["step"] == step, "margin"], edges)
        axes[0, 0].stairs(share / share.sum(), edges, color=color, linewidth=1.4)
    axes[0, 0].axvline(maximum, color="k", linestyle="--", linewidth=0.8)
    axes[0, 0].set(
        xlabel=r"margin $\xi_i h_i / \|J_i\|$", ylabel="share of (pattern, neuron) pairs"
    )
    axes[0, 1].plot(summary["step"], summary["smallest"], color=COLORS[0], marker="o")
    axes[0, 1].axhline(maximum, color="k", linestyle="--", linewidth=0.8)
    axes[0, 1].set(
        xlabel="training step", ylabel="smallest margin,\nmean over neurons", xscale="log"
    )
    handles = [handle(f"step {step}", color=color) for step, (color, _) in stages.items()]
    handles.append(
        handle("maximum margin (SVM),\nmean over neurons", color="k", linestyle="--", linewidth=0.8)
    )
    legend(figure, handles, "right")
    return figure


@styled
def gradient_parts(details, summary):
    """The gradient taken apart: the weight of each pattern's Hebbian term against its margin, and what that does.

    Args:
        details, summary: the tables of :func:`uddm_lib.theory.hopfield.course`.
    """
    need(details, ["step", "margin", "weight"])
    need(summary, ["step", "cosine", "patterns"])
    figure, axes = panels(1, 2, (3.4, 2.7))
    stages = order(details["step"])
    for step, (color, _) in stages.items():
        part = details[(details["step"] == step) & (details["neuron"] < 5)]
        axes[0, 0].plot(
            part["margin"], part["weight"].clip(lower=1e-12), ".", markersize=2, color=color
        )
    axes[0, 0].set(
        yscale="log",
        ylim=(1e-7, 1.5),
        xlabel=r"margin $\xi_i h_i / \|J_i\|$",
        ylabel="weight of the Hebbian term",
    )
    axes[0, 1].plot(summary["step"], summary["cosine"], color=COLORS[0], marker="o")
    axes[0, 1].set(xlabel="training step", xscale="log", ylim=(0, 1.05))
    axes[0, 1].set_ylabel("cosine with the Hebb rule", color=COLORS[0])
    right = axes[0, 1].twinx()
    right.plot(summary["step"], summary["patterns"], color=COLORS[1], marker="s")
    right.set(ylim=(0, None))
    right.set_ylabel("effective number of patterns", color=COLORS[1])
    right.grid(False)
    handles = [
        handle(f"step {step}", color=color, marker=".", linestyle="")
        for step, (color, _) in stages.items()
    ]
    legend(figure, handles, "right")
    return figure


@styled
def capacity(table):
    """Share of stable and of retrieved patterns against the load, with the two classical thresholds.

    Args:
        table: a row per load and rule, columns ``load, rule, stable, retrieved``.
    """
    need(table, ["load", "rule", "stable", "retrieved"])
    figure, axes = panels(1, 1, (4.8, 2.9))
    for rule, (_, color, marker) in RULES.items():
        part = table[table["rule"] == rule].sort_values("load")
        axes[0, 0].plot(part["load"], part["stable"], color=color, marker=marker)
        axes[0, 0].plot(
            part["load"],
            part["retrieved"],
            color=color,
            marker=marker,
            linestyle="--",
            markerfacecolor="white",
        )
    for threshold in (0.138, 2):
        axes[0, 0].axvline(threshold, color="0.4", linestyle=":")
        axes[0, 0].annotate(
            f"{threshold:g}", (threshold, 1.06), ha="center", annotation_clip=False, fontsize=8
        )
    axes[0, 0].set(
        xlabel="load P / N", xscale="log", ylabel="share of patterns", ylim=(-0.03, 1.03)
    )
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]
    axes[0, 0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0, 0].minorticks_off()
    legend(
        figure,
        [
            *_rule_handles(),
            handle("fixed points", color="0.2"),
            handle("ends at overlap >= 0.967", color="0.2", linestyle="--"),
        ],
        "right",
    )
    return figure


@styled
def generalization(table, floor=0.5):
    """Recovery of stored and of unseen examples against their number, a panel per source and rule.

    Args:
        table: summary with the columns ``source, rule, group, P, mean, low, high``.
        floor: what a random end recovers.
    """
    need(table, ["source", "rule", "group", "P", "mean", "low", "high"])
    groups = {
        "stored": ("stored examples", COLORS[0], "o", "-"),
        "unseen": ("unseen examples", COLORS[1], "s", "--"),
        "features": ("hidden features", COLORS[2], "^", "-."),
    }
    sources, rules = (
        unique(table, "source"),
        [rule for rule in reversed(RULES) if rule in set(table["rule"])],
    )
    figure, axes = panels(len(rules), len(sources), (3.3, 2.3), sharex="col", sharey=True)
    for row, rule in zip(axes, rules):
        for axis, source in zip(row, sources):
            part = table[table["source"] == source]
            for name, (_, color, marker, style) in groups.items():
                line(
                    axis,
                    part[(part["rule"] == rule) & (part["group"] == name)],
                    "P",
                    color=color,
                    marker=marker,
                    linestyle=style,
                    markerfacecolor="white" if name == "unseen" else color,
                )
            limit = part[(part["rule"] == "reference") & (part["group"] == "unseen")].sort_values(
                "P"
            )
            axis.plot(limit["P"], limit["mean"], color="k", linewidth=0.8)
            axis.axhline(floor, color="0.45", linestyle=":")
            axis.set(title=f"{source}, {RULES[rule][0]}", xscale="log", ylim=(0.2, 1.03))
        row[0].set_ylabel("recovered bits")
    for axis in axes[-1]:
        axis.set_xlabel("stored examples P")
    handles = [
        handle(label, color=color, marker=marker, linestyle=style)
        for name, (label, color, marker, style) in groups.items()
        if name in set(table["group"])
    ]
    if "reference" in set(table["rule"]):
        handles.append(handle("knows the source", color="k", linewidth=0.8))
    legend(figure, [*handles, handle("a random end", color="0.45", linestyle=":")], "right")
    return figure


@styled
def nelbo_integrands(table):
    """Integrand of the NELBO against t, a line per prediction; the area under each is its NELBO.

    Args:
        table: of :func:`uddm_lib.theory.exact.nelbo_integrands`.
    """
    need(table, ["t"])
    figure, axes = panels(1, 1, (4.8, 2.8))
    handles = []
    for name, style, color in zip(table.columns.drop("t"), ("-", "--", ":"), COLORS):
        axes[0, 0].plot(table["t"], table[name], color=color, linestyle=style)
        handles.append(handle(name, color=color, linestyle=style))
    high = table.loc[table["t"] > 0.01].drop(columns="t").max().max()
    axes[0, 0].set(
        xlabel="diffusion time t", ylabel="integrand of the NELBO (nats)", ylim=(0, 1.1 * high)
    )
    legend(figure, handles, "right")
    return figure


@styled
def condensation(path, weights, critical):
    """Energy of the memorizer between two stored sequences (left); its weight on the right one against t (right).

    Args:
        path: of :func:`uddm_lib.theory.exact.energy_path`.
        weights: of :func:`uddm_lib.theory.exact.condensation`.
        critical: condensation time of every n, a dictionary.
    """
    need(path, ["t", "step", "energy"])
    need(weights, ["n", "t", "weight", "error"])
    figure, axes = panels(1, 2, (3.4, 2.8))
    times, many = order(path["t"]), order(weights["n"])
    for t, (color, _) in times.items():
        part = path[path["t"] == t]
        axes[0, 0].plot(part["step"], part["energy"], color=color)
    axes[0, 0].set(
        xlabel="share of the first sequence replaced\nby the second",
        ylabel="energy (nats per token)",
    )
    for n, (color, marker) in many.items():
        part = weights[weights["n"] == n]
        axes[0, 1].errorbar(
            part["t"], part["weight"], part["error"], color=color, marker=marker, elinewidth=0.8
        )
        axes[0, 1].axvline(critical[n], color=color, linestyle="--", linewidth=0.8)
    axes[0, 1].set(xlabel="diffusion time t", ylabel="weight of the original", ylim=(-0.03, 1.03))
    handles = [handle(f"t = {t:g}", color=color) for t, (color, _) in times.items()]
    handles += [
        handle(f"n = {n:,}", color=color, marker=marker) for n, (color, marker) in many.items()
    ]
    legend(
        figure,
        [*handles, handle("condensation time", color="0.2", linestyle="--", linewidth=0.8)],
        "right",
    )
    return figure


@styled
def limits(recovery, entropy):
    """Recovery (left) and conditional entropy (right) of the two exact limits against t; a colour per n.

    Args:
        recovery: summary with the columns ``denoiser, n, set, t, mean, low, high``.
        entropy: likewise, nats per token.
    """
    for table in (recovery, entropy):
        need(table, ["denoiser", "n", "set", "t", "mean", "low", "high"])
    figure, axes = panels(1, 2, (3.5, 2.9))
    many = order(recovery.loc[recovery["denoiser"] == "memorizer", "n"])
    for axis, table in zip(axes[0], (recovery, entropy)):
        memory = table[table["denoiser"] == "memorizer"]
        for n, (color, marker) in many.items():
            for name, style in (("train", "-"), ("test", "--")):
                line(
                    axis,
                    memory[(memory["n"] == n) & (memory["set"] == name)],
                    "t",
                    color=color,
                    marker=marker,
                    linestyle=style,
                    markerfacecolor="white" if name == "test" else color,
                )
        line(
            axis,
            table[table["denoiser"] == "generalizer"],
            "t",
            color="k",
            linestyle="-.",
            marker="x",
        )
        axis.set(xlabel="diffusion time t")
    axes[0, 0].set(ylabel="token recovery rate", ylim=(-0.03, 1.03))
    axes[0, 1].set_ylabel("conditional entropy\n(nats per token)")
    handles = [
        handle(f"memorizer, n = {n:,}", color=color, marker=marker)
        for n, (color, marker) in many.items()
    ]
    legend(
        figure,
        [
            *handles,
            handle("stored sequences", color="0.2"),
            handle("unseen sequences", color="0.2", linestyle="--"),
            handle("generalizer", color="k", linestyle="-.", marker="x"),
        ],
        "right",
    )
    return figure


@styled
def duality(exact, drawn):
    """alpha(gamma) of the uniform-Gaussian duality, lines by quadrature, points by drawing Gaussians.

    Args:
        exact: columns ``vocab_size, gamma, alpha``.
        drawn: of :func:`uddm_lib.theory.exact.argmax_alpha`; the bars are two standard errors.
    """
    need(exact, ["vocab_size", "gamma", "alpha"])
    need(drawn, ["vocab_size", "gamma", "alpha", "error"])
    figure, axes = panels(1, 1, (4.8, 2.9))
    handles = []
    for i, vocab_size in enumerate(unique(exact, "vocab_size")):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        part = exact[exact["vocab_size"] == vocab_size]
        axes[0, 0].plot(part["gamma"], part["alpha"], color=color)
        part = drawn[drawn["vocab_size"] == vocab_size]
        axes[0, 0].errorbar(
            part["gamma"],
            part["alpha"],
            2 * part["error"],
            color=color,
            marker=marker,
            linestyle="",
            capsize=1.5,
            elinewidth=0.8,
            markerfacecolor="white",
        )
        handles.append(
            handle(f"V = {vocab_size:,}", color=color, marker=marker, markerfacecolor="white")
        )
    axes[0, 0].axvspan(-3.5, -1.75, color="0.92", zorder=0)
    axes[0, 0].set(
        xlabel=r"Gaussian noise level $\gamma$",
        ylabel=r"uniform-state $\alpha$",
        ylim=(-0.03, 1.03),
    )
    legend(
        figure, [*handles, handle("range of the curriculum", color="0.85", linewidth=6)], "right"
    )
    return figure


@styled
def curvature(wells):
    """Entropy of one well against the log-determinant of its Hessian, numerically and by the Laplace approximation.

    Args:
        wells: of :func:`uddm_lib.theory.exact.double_well`.
    """
    need(wells, ["log_det", "entropy", "laplace"])
    figure, axes = panels(1, 1, (4.2, 2.8))
    axes[0, 0].plot(wells["log_det"], wells["laplace"], color="0.2", linestyle="--")
    axes[0, 0].plot(wells["log_det"], wells["entropy"], color=COLORS[0], marker="o", linestyle="")
    axes[0, 0].set(xlabel="log determinant of the Hessian", ylabel="entropy of a well (nats)")
    legend(
        figure,
        [
            handle("by quadrature", color=COLORS[0], marker="o", linestyle=""),
            handle("Laplace, eq. (23)", color="0.2", linestyle="--"),
        ],
        "right",
    )
    return figure


@styled
def profile(table):
    """Entropy, variance and gap of the predictions along the reverse process, a line per denoiser.

    Args:
        table: of :func:`uddm_lib.probes.reverse_profile`, with a column ``denoiser``.
    """
    need(table, ["denoiser", "t", "entropy", "variance", "gap"])
    names = {
        "entropy": "conditional entropy\n(nats per token)",
        "variance": r"$\sum_v p_v (1 - p_v)$",
        "gap": r"$p_{(1)} - p_{(2)}$",
    }
    figure, axes = panels(1, 3, (2.6, 2.6))
    handles = []
    for i, (denoiser, part) in enumerate(table.groupby("denoiser", sort=False)):
        color = COLORS[i % len(COLORS)]
        for axis, name in zip(axes[0], names):
            axis.plot(
                part["t"], part[name], color=color, marker=MARKERS[i % len(MARKERS)], markersize=3
            )
        handles.append(
            handle(denoiser, color=color, marker=MARKERS[i % len(MARKERS)], markersize=3)
        )
    for axis, (name, label) in zip(axes[0], names.items()):
        axis.set(xlabel="diffusion time t", ylabel=label)
        axis.set_ylim(bottom=0)
        axis.invert_xaxis()
    legend(figure, handles, "right")
    return figure


def _rule_handles():
    return [handle(label, color=color, marker=marker) for label, color, marker in RULES.values()]
