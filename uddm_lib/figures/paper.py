"""The paper's figures, one function each, drawn from tables alone (see :mod:`uddm_lib.statistics.collect`); one style.

Every function returns a :class:`matplotlib.figure.Figure` made without pyplot: nothing global changes, and a
notebook shows it with ``display``. Order (n, t) is drawn in viridis, which also reads in grey, with a marker
of its own; kinds of data differ by line style: training solid, test or generated dashed, the control dotted.
Where the source is known, thin lines without markers show the two exact limits that trained networks move between:
the memorizer of the training set, and the generalizer, which knows the source (dash-dotted).
"""

import math

from uddm_lib.figures._plotting import (
    COLORS,
    MARKERS,
    Figure,
    handle,
    legend,
    limit_handles,
    limit_line,
    line,
    log_n,
    of,
    of_size,
    order,
    panels,
    plain_log,
    spread,
    stairs,
    styled,
    titled,
    unique,
)
from uddm_lib.figures._text_panel import draw_examples, examples_of, text_height
from uddm_lib.statistics.summary import need, of_denoiser

__all__ = [
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "figure5",
    "perplexity",
    "recovery_against_time",
    "text_examples",
    "token_histograms",
    "training_curve",
]

_SETS = {  # set -> label, line style
    "train": ("training sequences", "-"),
    "test": ("unseen test sequences", "--"),
    "generated": ("generated sequences", "--"),
    "random": ("control: random sequences", ":"),
}


@styled
def figure1(basins, corpus, examples=None):
    """Basins of attraction: greedy recovery against the share of corrupted tokens, a curve per n (paper figure 1).

    Args:
        basins: summary with the columns ``corpus, size, n, denoiser, set, share, mean, low, high``.
        corpus: the corpus to draw.
        examples: as for :func:`text_examples`; the greedy ones of the largest size are shown below.
    """
    every = of(basins, corpus, ["size", "n", "set", "share", "mean", "low", "high"])
    table = of_denoiser(every)
    sizes, colors = unique(table, "size"), order(table["n"])
    text = None if examples is None else examples_of(examples, corpus, "greedy", sizes[-1])
    below = 0 if text is None else 0.4 + text_height(text)
    figure, axes = panels(len(sizes), 2, (3.8, 2.5), below, sharex=True, sharey=True)
    top, bottom = figure.subfigs or (figure, None)
    for row, size in zip(axes, sizes):
        for axis, name, letter in zip(row, ("train", "test"), "AB"):
            part = table[table["size"] == size]
            for n, (color, marker) in colors.items():
                line(
                    axis,
                    part[(part["set"] == name) & (part["n"] == n)],
                    "share",
                    color=color,
                    marker=marker,
                )
            control = part[(part["set"] == "random") & (part["n"] == max(colors))]
            line(axis, control, "share", color="0.45", linestyle=":")
            limits = every[(every["size"] == size) & (every["set"] == name)]
            for n, (color, _) in colors.items():
                limit_line(
                    axis, of_denoiser(limits[limits["n"] == n], "memorizer"), "share", color=color
                )
            limit_line(
                axis,
                of_denoiser(limits[limits["n"] == max(colors)], "generalizer"),
                "share",
                color="k",
            )
            axis.set_title(f"{letter}  {_SETS[name][0]}, {size}", loc="left")
            axis.set_ylim(-0.03, 1.03)
        row[0].set_ylabel("token recovery rate\n(greedy)")
    for axis in axes[-1]:
        axis.set_xlabel("share of tokens corrupted")
    handles = [handle(f"n = {n:,}", color=c, marker=m) for n, (c, m) in spread(colors).items()]
    handles.append(handle(f"{_SETS['random'][0]},\nlargest n", color="0.45", linestyle=":"))
    legend(top, handles + limit_handles(every, "colour of n", "black"), "right")
    titled(top, "Basins of attraction", corpus)
    if bottom:
        draw_examples(bottom, text, corpus, "C  ")
    return figure


@styled
def figure2(recovery, corpus):
    """Stochastic recovery against n, training and test, a colour per t, a panel per size (paper figure 2).

    Args:
        recovery: summary with the columns ``corpus, size, n, denoiser, set, t, mean, low, high``.
        corpus: the corpus to draw.
    """
    every = of(recovery, corpus, ["size", "n", "set", "t", "mean", "low", "high"])
    table = of_denoiser(every)
    sizes, colors = unique(table, "size"), order(table["t"])
    figure, axes = panels(1, len(sizes), (3.0 if len(sizes) > 1 else 4.6, 3.0), sharey=True)
    for axis, size in zip(axes[0], sizes):
        part = table[table["size"] == size]
        for t, (color, marker) in colors.items():
            for name in ("train", "test"):
                rows = part[(part["set"] == name) & (part["t"] == t)]
                line(
                    axis,
                    rows,
                    "n",
                    color=color,
                    marker=marker,
                    linestyle=_SETS[name][1],
                    markerfacecolor="white" if name == "test" else color,
                )
                limits = every[(every["size"] == size) & (every["set"] == name) & (every["t"] == t)]
                limit_line(axis, of_denoiser(limits, "memorizer"), "n", color=color)
                if name == "test":  # the same for both but for the draw of the sequences
                    limit_line(axis, of_denoiser(limits, "generalizer"), "n", color=color)
        control = part[(part["set"] == "random") & (part["t"] == min(colors))]
        line(axis, control, "n", color="0.45", linestyle=":")
        log_n(axis, part["n"])
        axis.set(title=size, ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("token recovery rate")
    handles = [handle(f"t = {t:g}", color=c, marker=m) for t, (c, m) in spread(colors).items()]
    handles += [
        *_set_handles("train", "test"),
        handle(f"{_SETS['random'][0]},\nt = {min(colors):g}", color="0.45", linestyle=":"),
    ]
    legend(figure, handles + limit_handles(every, "colour of t"), "right")
    return titled(figure, "Token recovery", corpus)


@styled
def recovery_against_time(recovery, corpus):
    """Stochastic recovery against t, a panel per trained model (size and n): figure 2 seen for single models."""
    every = of(recovery, corpus, ["size", "n", "set", "t", "mean", "low", "high"])
    table = of_denoiser(every)
    models = list(table.groupby(["size", "n"], sort=False))
    figure, axes = panels(1, len(models), (3.2, 2.8), sharey=True)
    for axis, ((size, n), part) in zip(axes[0], models):
        for name, color in (("train", "C0"), ("test", "C1"), ("random", "0.45")):
            line(
                axis,
                part[part["set"] == name],
                "t",
                color=color,
                marker="o" if name != "random" else None,
                linestyle=_SETS[name][1],
            )
            limits = every[(every["size"] == size) & (every["n"] == n) & (every["set"] == name)]
            limit_line(axis, of_denoiser(limits, "memorizer"), "t", color=color)
            limit_line(axis, of_denoiser(limits, "generalizer"), "t", color=color)
        axis.set(title=f"{size}, n = {n:,}", xlabel="diffusion time t", ylim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("token recovery rate")
    handles = [
        handle(_SETS[name][0], color=color, linestyle=_SETS[name][1])
        for name, color in (("train", "#0072B2"), ("test", "#D55E00"), ("random", "0.45"))
    ]
    legend(figure, handles + limit_handles(every, "colour of the set"), "bottom")
    return titled(figure, "Token recovery", corpus)


@styled
def figure3(examples, token_entropy, corpus, size=None):
    """Text example and token entropies at the smallest and the largest n of one size (paper figure 3).

    Args:
        examples: as for :func:`text_examples`.
        token_entropy: as for :func:`token_histograms`.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
    """
    token_entropy = of(token_entropy, corpus, ["size", "n", "set"])
    size = size or unique(token_entropy, "size")[-1]
    examples, token_entropy = (
        examples_of(examples, corpus, "stochastic", size),
        of_size(token_entropy, size),
    )
    heights = 0.4 + text_height(examples), 1.2 + 1.1 * token_entropy["n"].nunique()
    figure = Figure(figsize=(9.2, sum(heights)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=heights)
    draw_examples(top, examples, corpus, "A  ")
    _token_panels(bottom, token_entropy)
    bottom.suptitle("B  Conditional entropy of corrupted tokens", x=0.01, ha="left", fontsize=10)
    return figure


@styled
def text_examples(examples, corpus, process):
    """Original, perturbed and restored text, its tokens coloured by what became of them (paper figures 1 and 3A).

    Args:
        examples: a row a token, columns ``corpus, size, n, set, process, level, position, original, perturbed,
            restored``; the level is the diffusion time (stochastic) or the share of corrupted tokens (greedy).
        corpus: the corpus to draw.
        process: ``stochastic`` or ``greedy``.
    """
    table = examples_of(examples, corpus, process)
    figure = Figure(figsize=(9.2, 0.4 + text_height(table)), layout="constrained")
    draw_examples(figure, table, corpus)
    return figure


@styled
def token_histograms(token_entropy, corpus):
    """Conditional entropy of recovered and of unrecovered tokens, a panel per n and set (paper figure 3B).

    Args:
        token_entropy: histogram with the columns ``corpus, size, n, set, outcome, low, high, share``.
        corpus: the corpus to draw.
    """
    table = of(token_entropy, corpus, ["n", "set", "outcome", "low", "high", "share"])
    figure = Figure(figsize=(8, 1.2 + 1.7 * table["n"].nunique()), layout="constrained")
    _token_panels(figure, table)
    return titled(figure, "Conditional entropy of corrupted tokens", corpus)


@styled
def figure4(sequence_entropy, corpus, size=None):
    """Conditional entropy of training and of generated sequences, a panel per n (paper figure 4).

    Args:
        sequence_entropy: histogram with the columns ``corpus, size, n, set, low, high, share``.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
    """
    table = of(sequence_entropy, corpus, ["size", "n", "set", "low", "high", "share"])
    size = size or unique(table, "size")[-1]
    table = of_size(table, size)
    many = sorted(table["n"].unique())
    columns = min(3, len(many))
    figure, axes = panels(-(-len(many) // columns), columns, (2.8, 2.1), sharex=True)
    for axis, n in zip(axes.flat, many):
        for name, color, fill in (("train", "#0072B2", True), ("generated", "#D55E00", False)):
            stairs(axis, table[(table["n"] == n) & (table["set"] == name)], color, fill)
        axis.set_title(f"n = {n:,}")
    for axis in axes.flat[len(many) :]:
        axis.set_axis_off()
    for row in axes:
        row[0].set_ylabel("share of sequences")
    for axis in axes.flat[max(0, len(many) - columns) : len(many)]:
        axis.tick_params(labelbottom=True)
    for axis in axes[-1]:  # a label under a panel of an upper row would push the rows apart
        axis.set_xlabel("conditional entropy\n(nats per sequence)")
    handles = [
        handle("training sequences", color="#0072B2", linewidth=6, alpha=0.45),
        handle("generated sequences", color="#D55E00"),
    ]
    legend(figure, handles, "right")
    return titled(figure, f"Sequence entropy, {size}", corpus)


@styled
def figure5(entropy, corpus):
    """Mean conditional entropy of training, generated and test sequences against n, by size (paper figure 5).

    Args:
        entropy: summary with the columns ``corpus, size, n, denoiser, set, mean, low, high``, nats per token.
        corpus: the corpus to draw.
    """
    every = of(entropy, corpus, ["size", "n", "set", "mean", "low", "high"])
    table = of_denoiser(every)
    sizes = unique(table, "size")
    figure, axes = panels(1, len(sizes), (3.0 if len(sizes) > 1 else 4.6, 2.9), sharey=True)
    styles = {
        "train": ("#0072B2", "o", "-"),
        "generated": ("#D55E00", "s", "--"),
        "test": ("0.45", None, ":"),
    }
    for axis, size in zip(axes[0], sizes):
        part = table[table["size"] == size]
        for name, (color, marker, style) in styles.items():
            line(axis, part[part["set"] == name], "n", color=color, marker=marker, linestyle=style)
            limits = every[(every["size"] == size) & (every["set"] == name)]
            limit_line(axis, of_denoiser(limits, "memorizer"), "n", color=color)
            limit_line(axis, of_denoiser(limits, "generalizer"), "n", color=color)
        log_n(axis, part["n"])
        axis.set(title=size)
        axis.set_ylim(bottom=-0.02 * table["high"].max())
    axes[0, 0].set_ylabel("mean conditional entropy\n(nats per token)")
    handles = [
        handle(_SETS[name][0], color=c, marker=m, linestyle=style)
        for name, (c, m, style) in styles.items()
    ]
    legend(figure, handles + limit_handles(every, "colour of the set"), "right")
    return titled(figure, "Conditional entropy", corpus)


@styled
def perplexity(validation, corpus):
    """Validation perplexity against n, a line per size (the released code's extra figure).

    Args:
        validation: columns ``corpus, size, n, perplexity``.
        corpus: the corpus to draw.
    """
    table = of(validation, corpus, ["size", "n", "perplexity"])
    figure, axes = panels(1, 1, (4.6, 2.9))
    handles = []
    for i, (size, part) in enumerate(table.groupby("size", sort=False)):
        color, marker, part = (
            COLORS[i % len(COLORS)],
            MARKERS[i % len(MARKERS)],
            part.sort_values("n"),
        )
        axes[0, 0].plot(part["n"], part["perplexity"], color=color, marker=marker)
        handles.append(handle(size, color=color, marker=marker))
    log_n(axes[0, 0], table["n"])
    axes[0, 0].set_ylabel("validation perplexity\nper token")
    plain_log(axes[0, 0])
    legend(figure, handles, "right")
    return titled(figure, "Validation perplexity", corpus)


@styled
def training_curve(log):
    """Training loss and validation NELBO against the step, with the perplexity, their exponential, on the right.

    Args:
        log: columns ``step, loss, validation_nelbo``, nats per token.
    """
    need(log, ["step", "loss", "validation_nelbo"])
    figure, axes = panels(1, 1, (4.6, 2.8))
    held_out = log[log["validation_nelbo"].notna()]
    axes[0, 0].plot(log["step"], log["loss"], color="#0072B2")
    axes[0, 0].plot(
        held_out["step"], held_out["validation_nelbo"], color="#D55E00", marker="s", linestyle="--"
    )
    axes[0, 0].set(xlabel="optimizer step", ylabel="NELBO (nats per token)", ylim=(0, None))
    right, top = axes[0, 0].twinx(), axes[0, 0].get_ylim()[1]
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000) if math.log(tick) <= top]
    right.set(ylim=(0, top))
    right.set_yticks([math.log(tick) for tick in ticks], [f"{tick:,}" for tick in ticks])
    right.grid(False)
    right.set_ylabel("perplexity per token")
    held_out = handle(
        "held-out blocks,\naveraged weights", color="#D55E00", marker="s", linestyle="--"
    )
    legend(figure, [handle("training loss", color="#0072B2"), held_out], "right")
    return figure


def _token_panels(figure, table):
    """Histograms of recovered and failed tokens: a row per n, columns train and test."""
    many = sorted(table["n"].unique())
    axes = figure.subplots(len(many), 2, squeeze=False, sharex=True, sharey=True)
    for row, n in zip(axes, many):
        for axis, name in zip(row, ("train", "test")):
            part = table[(table["n"] == n) & (table["set"] == name)]
            for outcome, color, fill in (
                ("recovered", "#0072B2", True),
                ("failed", "#D55E00", False),
            ):
                if len(rows := part[part["outcome"] == outcome]):
                    stairs(axis, rows, color, fill)
            axis.set_title(f"n = {n:,}, {_SETS[name][0]}", loc="left")
            axis.set_yscale("symlog", linthresh=0.01)
            axis.set_yticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
            axis.set_ylim(0, 1.2)
        row[0].set_ylabel("share of tokens")
    for axis in axes[-1]:
        axis.set_xlabel("conditional entropy (nats)")
    legend(
        figure,
        [
            handle("recovered tokens", color="#0072B2", linewidth=6, alpha=0.45),
            handle("tokens not recovered", color="#D55E00"),
        ],
        "bottom",
    )


def _set_handles(*names):
    return [handle(_SETS[name][0], color="0.2", linestyle=_SETS[name][1]) for name in names]
