"""Figures of the binary associative memory: basins, training, capacity, unseen examples."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from uddm_lib.figures._plotting import (
    COLORS,
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

RULES = {
    "hebbian": ("Hebbian", COLORS[1], "s"),
    "pseudo-likelihood": ("pseudo-likelihood", COLORS[0], "o"),
}
GROUPS = {
    "stored": ("stored examples", COLORS[0], "o", "-"),
    "unseen": ("unseen examples", COLORS[1], "s", "--"),
    "features": ("hidden features", COLORS[2], "^", "-."),
}
GUIDE = {"color": "k", "linestyle": "--", "linewidth": 0.8}
FLOOR = {"color": "0.45", "linestyle": ":"}


@styled
def basins(table: pd.DataFrame) -> Figure:
    """Overlap reached against the share of flipped bits, a panel per load, a line per rule.

    Args:
        table: summary with the columns ``load, rule, share, mean, low, high``.
    """
    require_columns(table, ["load", "rule", "share", "mean", "low", "high"])
    loads = unique(table, "load")
    figure, axes = panels(1, len(loads), (2.1, 2.6), sharey=True)
    for axis, load in zip(axes[0], loads):
        for rule, (_, color, marker) in RULES.items():
            rows = table[(table["load"] == load) & (table["rule"] == rule)]
            draw_means(axis, rows, "share", color=color, marker=marker)
        shares = np.linspace(0, 0.5)
        axis.plot(shares, 1 - 2 * shares, color="0.6", linestyle=":")
        axis.set(title=f"P / N = {load:g}", xlabel="share of bits flipped", ylim=(-0.05, 1.05))
    axes[0, 0].set_ylabel("overlap reached")
    start = legend_entry("overlap at the start", color="0.6", linestyle=":")
    add_legend(figure, [*_rule_handles(), start], "bottom")
    return figure


@styled
def margins(details: pd.DataFrame, summary: pd.DataFrame, maximum: float) -> Figure:
    """Margins during training (left), and the smallest against the maximum margin (right).

    Args:
        details, summary: tables of :func:`uddm_lib.theory.memory_experiments.training_history`.
        maximum: smallest margin of the maximum-margin solution of the same patterns.
    """
    require_columns(details, ["step", "margin"])
    require_columns(summary, ["step", "smallest"])
    figure, axes = panels(1, 2, (3.4, 2.7))
    left, right = axes[0]
    stages = ordered_styles(details["step"])
    edges = np.linspace(details["margin"].min(), details["margin"].quantile(0.999), 61)
    lines = {step: "--" if step == max(stages) else "-" for step in stages}  # the last may coincide
    for step, (color, _) in stages.items():
        share, _ = np.histogram(details.loc[details["step"] == step, "margin"], edges)
        left.stairs(share / share.sum(), edges, color=color, linewidth=1.4, linestyle=lines[step])
    left.axvline(maximum, **GUIDE)
    left.set(xlabel=r"margin $\xi_i h_i / \|J_i\|$", ylabel="share of (pattern, neuron) pairs")
    right.plot(summary["step"], summary["smallest"], color=COLORS[0], marker="o")
    right.axhline(maximum, **GUIDE)
    right.set(xlabel="training step", ylabel="smallest margin,\nmean over neurons", xscale="log")
    handles = [
        legend_entry(f"step {step}", color=color, linestyle=lines[step])
        for step, (color, _) in stages.items()
    ]
    add_legend(
        figure,
        [*handles, legend_entry("maximum margin (SVM),\nmean over neurons", **GUIDE)],
        "right",
    )
    return figure


@styled
def gradient_parts(details: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """The weight of each pattern's Hebbian term against its margin, and what follows of it.

    The middle panel holds the direction of descent, the right one the effective number of patterns.

    Args:
        details, summary: tables of :func:`uddm_lib.theory.memory_experiments.training_history`.
    """
    require_columns(details, ["step", "margin", "weight"])
    require_columns(summary, ["step", "cosine", "patterns"])
    figure, axes = panels(1, 3, (2.5, 2.6))
    stages = ordered_styles(details["step"])
    for step, (color, _) in stages.items():
        rows = details[(details["step"] == step) & (details["neuron"] < 5)]
        weight = rows["weight"].clip(lower=1e-12)
        axes[0, 0].plot(rows["margin"], weight, ".", markersize=2, color=color)
    axes[0, 0].set(
        yscale="log",
        ylim=(1e-7, 0.3),
        xlabel=r"margin $\xi_i h_i / \|J_i\|$",
        ylabel="share of a pattern in\na neuron's gradient",
    )
    labels = {"cosine": "cosine with the Hebb rule", "patterns": "effective number of patterns"}
    for axis, (name, label) in zip(axes[0, 1:], labels.items()):
        axis.plot(summary["step"], summary[name], color=COLORS[0], marker="o")
        axis.set(xlabel="training step", xscale="log", ylabel=label)
        axis.set_ylim(0, 1.05 * summary[name].max())
    handles = [
        legend_entry(f"step {step}", color=color, marker=".", linestyle="")
        for step, (color, _) in stages.items()
    ]
    add_legend(figure, handles, "right")
    return figure


@styled
def relaxation(paths: pd.DataFrame, runs: int = 2) -> Figure:
    """Energy along the flips of a few runs, a color per couplings; dots end flips that raise it.

    Args:
        paths: of :func:`uddm_lib.theory.asymmetry.relaxation`, with a column ``couplings``.
        runs: so many are drawn.
    """
    require_columns(paths, ["couplings", "run", "flip", "energy"])
    figure, axes = panels(1, 1, (4.8, 2.7))
    handles = []
    looks = (COLORS[0], "--"), (COLORS[3], "-"), (COLORS[2], "-.")
    for name, (color, line) in zip(unique(paths, "couplings"), looks):
        style = {"color": color, "linestyle": line, "linewidth": 1.1}
        rows = paths[(paths["couplings"] == name) & (paths["run"] < runs)]
        for _, path in rows.groupby("run"):
            energy = path["energy"] / abs(path["energy"].iloc[-1])
            axes[0, 0].plot(path["flip"], energy, **style)
            up = energy.diff() > 1e-12
            axes[0, 0].plot(path["flip"][up], energy[up], "o", color=color, markersize=3.5)
        handles.append(legend_entry(str(name), **style))
    rise = legend_entry("a flip that raises it", color="0.2", marker="o", markersize=3.5, ls="")
    axes[0, 0].set(xlabel="flips", ylabel="energy, in units of\nits size at the end")
    add_legend(figure, [*handles, rise], "right")
    return figure


@styled
def capacity(table: pd.DataFrame) -> Figure:
    """Share of stable and of retrieved patterns against the load, with the classical thresholds.

    The left panel holds small loads and the right one, from a load of 0.5 on, large ones.

    Args:
        table: a row per load and rule, columns ``load, rule, stable, retrieved``; of neurons that
            hold all patterns ``separated``, and ``possible``, their largest share (NaN: not drawn).
    """
    require_columns(table, ["load", "rule", "stable", "retrieved", "separated", "possible"])
    figure, axes = panels(1, 2, (3.2, 2.6), sharey=True)
    small = table["load"] < 0.5
    for axis, part, threshold in zip(axes[0], (table[small], table[~small]), (0.138, 2)):
        _held_patterns(axis, part)
        axis.axvline(threshold, color="0.4", linestyle=":")
        place = (threshold, 1.06)
        axis.annotate(f"{threshold:g}", place, ha="center", annotation_clip=False, fontsize=8)
        axis.set(xlabel="load P / N", ylim=(-0.03, 1.03))
    known = table[~small].dropna(subset=["possible"]).sort_values("load")
    neurons = {"separated": (":", COLORS[0]), "possible": ("-.", "k")}
    for name, (line, color) in neurons.items():
        axes[0, 1].plot(known["load"], known[name], color=color, linestyle=line)
    axes[0, 0].set_ylabel("share of patterns, of neurons")
    lines = [
        legend_entry("fixed points", color="0.2"),
        legend_entry("ends at overlap >= 0.967", color="0.2", linestyle="--"),
        legend_entry("neurons that hold all patterns", color=COLORS[0], linestyle=":"),
        legend_entry("neurons that could (Cover)", color="k", linestyle="-."),
    ]
    add_legend(figure, [*_rule_handles(), *lines], "right")
    return figure


def _held_patterns(axis: Axes, table: pd.DataFrame) -> None:
    """Stable (solid) and retrieved (dashed) patterns against the load, a color per rule."""
    for rule, (_, color, marker) in RULES.items():
        rows = table[table["rule"] == rule].sort_values("load")
        style: dict[str, Any] = {"color": color, "marker": marker}
        axis.plot(rows["load"], rows["stable"], **style)
        axis.plot(rows["load"], rows["retrieved"], **style, linestyle="--", markerfacecolor="white")


@styled
def generalization(table: pd.DataFrame, random_recovery: float = 0.5) -> Figure:
    """Recovery of stored and of unseen examples against the number of stored ones.

    There is a row of panels per rule and a column per source.

    Args:
        table: summary with the columns ``source, rule, group, P, mean, low, high``.
        random_recovery: share of the bits that a random end recovers.
    """
    require_columns(table, ["source", "rule", "group", "P", "mean", "low", "high"])
    sources = unique(table, "source")
    rules = [rule for rule in reversed(RULES) if rule in set(table["rule"])]
    figure, axes = panels(len(rules), len(sources), (3.3, 2.3), sharex="col", sharey=True)
    for row, rule in zip(axes, rules):
        for axis, source in zip(row, sources):
            _groups_against_count(axis, table[table["source"] == source], rule)
            axis.axhline(random_recovery, **FLOOR)
            axis.set(title=f"{source}, {RULES[rule][0]}", xscale="log", ylim=(0.45, 1.03))
        row[0].set_ylabel("recovered bits")
    for axis in axes[-1]:
        axis.set_xlabel("stored examples P")
    handles = [
        legend_entry(label, color=color, marker=marker, linestyle=style)
        for name, (label, color, marker, style) in GROUPS.items()
        if name in set(table["group"])
    ]
    if "reference" in set(table["rule"]):
        handles.append(legend_entry("knows the source", color="k", linewidth=0.8))
    add_legend(figure, [*handles, legend_entry("a random end", **FLOOR)], "right")
    return figure


def _groups_against_count(axis: Axes, rows: pd.DataFrame, rule: str) -> None:
    """A line per group of examples under one rule, and one of the network that knows the source."""
    for group, (_, color, marker, style) in GROUPS.items():
        draw_means(
            axis,
            rows[(rows["rule"] == rule) & (rows["group"] == group)],
            "P",
            color=color,
            marker=marker,
            linestyle=style,
            markerfacecolor="white" if group == "unseen" else color,
        )
    reference = rows[(rows["rule"] == "reference") & (rows["group"] == "unseen")].sort_values("P")
    axis.plot(reference["P"], reference["mean"], color="k", linewidth=0.8)


def _rule_handles() -> list[Line2D]:
    return [
        legend_entry(label, color=color, marker=marker) for label, color, marker in RULES.values()
    ]
