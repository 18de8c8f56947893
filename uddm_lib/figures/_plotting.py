"""What the figures share: style, panels, curves, legends, and saving."""

import functools
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib
import matplotlib.figure
import matplotlib.style
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from uddm_lib.results import atomic_write, file_name, resolve
from uddm_lib.statistics.summary import require_columns

BLUE, ORANGE, GREEN, PINK = COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
GRAY = "0.45"
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.dpi": 180,
    "pdf.fonttype": 42,
    "axes.prop_cycle": cycler(color=COLORS),
    "svg.hashsalt": "uddm",
}
MARKERS = "os^Dv<>PX*"
SETS = {  # set -> label, line style
    "train": ("training sequences", "-"),
    "test": ("unseen test sequences", "--"),
    "generated": ("generated sequences", "--"),
    "random": ("control: random sequences", ":"),
}
LIMITS: dict[str, Any] = {"memorizer": (0, (1, 1)), "generalizer": "-."}  # limit -> line style
TITLES = {"markov": "Markov chain", "kjv": "King James Bible"}

Shared = bool | Literal["none", "all", "row", "col"]
P = ParamSpec("P")
T = TypeVar("T")


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Make a function draw in the one style, and leave matplotlib's settings alone."""

    @functools.wraps(draw)
    def draw_in_style(*arguments: P.args, **options: P.kwargs) -> T:
        # On matplotlib's own style: a user's matplotlibrc does not count.
        with matplotlib.style.context(["default", STYLE]):
            return draw(*arguments, **options)

    return draw_in_style


class Figure(matplotlib.figure.Figure):
    """A figure that keeps the style until it is drawn.

    Matplotlib makes ticks only then, from the settings of that moment.
    """

    @styled
    def draw(self, renderer: Any) -> None:  # RendererBase, or MixedModeRenderer, which is none
        super().draw(renderer)


@styled
def save(
    figure: matplotlib.figure.Figure, folder: str | Path, name: str, caption: str = ""
) -> None:
    """Write ``<name>.png`` and ``<name>.pdf``, and the caption, if there is one, to ``<name>.txt``.

    What belongs in no file's name becomes a hyphen. The same figure gives the same PNG bytes. A PDF
    may differ in the last digit of a coordinate.

    Raises:
        OSError: if a file cannot be written; an older one is left as it was.
    """
    kinds: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Producer": None},
    }
    path = resolve(folder) / file_name(name)
    for suffix, metadata in kinds.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        atomic_write(f"{path}.{suffix}", buffer.getvalue())
    if caption:
        atomic_write(f"{path}.txt", caption)


def panels(
    rows: int,
    columns: int,
    size: tuple[float, float],
    below: float = 0,
    sharex: Shared = False,
    sharey: Shared = False,
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (rows, columns), each panel of ``size`` inches.

    With room for a second part of ``below`` inches the figure has two subfigures, and the axes
    are in the first.
    """
    heights = rows * size[1] + 0.4, below
    figure = Figure(figsize=(columns * size[0] + 1.6, sum(heights)), layout="constrained")
    part: FigureBase = figure
    if below:
        figure.subfigures(2, 1, height_ratios=heights)
        part = figure.subfigs[0]
    return figure, part.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)


def wrapped_panels(
    count: int, size: tuple[float, float], labels: tuple[str, str], sharey: Shared = False
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, three in a row at most, all with the same x.

    ``labels`` are those of x and y, at the edge of the figure.
    """
    columns = min(3, count)
    figure, axes = panels(-(-count // columns), columns, size, sharex=True, sharey=sharey)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    for axis in axes.flat[count - columns : count]:
        axis.tick_params(labelbottom=True)
    for axis in axes[-1]:  # a label under a panel of an upper row would push the rows apart
        axis.set_xlabel(labels[0])
    for row in axes:
        row[0].set_ylabel(labels[1])
    return figure, list(axes.flat[:count])


def rows_of_corpus(frame: pd.DataFrame, corpus: str, columns: Iterable[str]) -> pd.DataFrame:
    """The corpus's rows.

    Raises:
        ValueError: naming what the table holds, if a column or the corpus is missing.
    """
    require_columns(frame, ["corpus", *columns])
    return rows_with(frame, "corpus", corpus)


def rows_with(frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    """The rows with a value in a column.

    Raises:
        ValueError: naming what the column holds, if there are none.
    """
    rows = frame[frame[column] == value]
    if rows.empty:
        present = ", ".join(unique(frame, column))
        raise ValueError(f"{column}={value!r} is not in the table; it holds {present}")
    return rows


def unique(frame: pd.DataFrame, column: str) -> list[Any]:
    """The values of a column, in their order of appearance."""
    return list(frame[column].unique())


def ordered_styles(values: pd.Series) -> dict[Any, tuple[Any, str]]:
    """Color and marker of each value, in increasing order: viridis without its palest end."""
    ordered = sorted(values.unique())
    step = 0.88 / max(1, len(ordered) - 1)
    return {
        value: (colormaps["viridis"](i * step), MARKERS[i % len(MARKERS)])
        for i, value in enumerate(ordered)
    }


def evenly_spaced(items: Mapping[Any, T], at_most: int = 9) -> dict[Any, T]:
    """At most so many of the items, evenly spaced, with the first and the last: for a legend."""
    keys, count = list(items), min(at_most, len(items))
    picked = {round(i * (len(keys) - 1) / max(1, count - 1)) for i in range(count)}
    return {key: items[key] for i, key in enumerate(keys) if i in picked}


def draw_means(axis: Axes, rows: pd.DataFrame, x: str, **style: Any) -> None:
    """Draw means with the bars of their intervals; rows with columns ``x, mean, low, high``."""
    rows = rows.sort_values(x)
    below = (rows["mean"] - rows["low"]).clip(lower=0)
    above = (rows["high"] - rows["mean"]).clip(lower=0)
    axis.errorbar(rows[x], rows["mean"], [below, above], elinewidth=0.8, capsize=1.5, **style)


def draw_limit(axis: Axes, rows: pd.DataFrame, x: str, color: Any) -> None:
    """Draw the curve of one exact limit as a thin line, if there are rows of it."""
    if len(rows):
        rows = rows.sort_values(x)
        style = LIMITS[rows["denoiser"].iloc[0]]
        axis.plot(
            rows[x],
            rows["mean"],
            color=color,
            linewidth=0.8,
            alpha=0.9,
            linestyle=style,
            zorder=1.5,
        )


def draw_histogram(axis: Axes, rows: pd.DataFrame, color: str, fill: bool) -> None:
    """Draw a histogram from rows with the columns ``low, high, share``."""
    edges = [*rows["low"], rows["high"].iloc[-1]]
    axis.stairs(
        rows["share"], edges, color=color, fill=fill, alpha=0.45 if fill else 1, linewidth=1.4
    )


def set_log_n_axis(axis: Axes, n: pd.Series) -> None:
    """Make x a logarithmic axis of training-set sizes, labeled at the values that occur."""
    values = sorted(n.unique(), reverse=True)
    distance = (values[0] / values[-1]) ** 0.06
    ticks = values[:1]  # from the largest n down; a label must not touch the one before
    for value in values[1:]:
        if value * distance <= ticks[-1]:
            ticks.append(value)
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=45, ha="right")
    axis.minorticks_off()
    axis.set_xlabel("training sequences n")


def set_plain_log_axis(axis: Axes) -> None:
    """Make y a logarithmic axis with plain numbers, also at 2, 3 and 5 if the range is short."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(10, (1, 2, 3, 5) if high < 100 * low else (1,)))
    axis.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if value < 1e5 else f"{value:.0e}")
    )
    axis.yaxis.set_minor_formatter(NullFormatter())


def legend_entry(label: str, **style: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **style)


def limit_entries(
    table: pd.DataFrame, memorizer: str, generalizer: str | None = None
) -> list[Line2D]:
    """Legend entries of the limits that the table has.

    ``memorizer`` and ``generalizer`` say what the colors of each mean; one text serves both.
    """
    meanings = memorizer, generalizer or memorizer
    present = set(table["denoiser"])
    return [
        legend_entry(f"exact {name}\n({meaning})", color="0.2", linewidth=0.8, linestyle=style)
        for (name, style), meaning in zip(LIMITS.items(), meanings)
        if name in present
    ]


def interval_entry(rows: pd.DataFrame, what: str, sequences: bool = True) -> Line2D:
    """A legend entry that says what an interval is over: trainings, or sequences alone.

    Args:
        rows: a summary with the column ``seeds``.
        what: ``bars``, which every point has, or ``bands``, which points of one training lack.
        sequences: whether the interval is also over sequences.
    """
    few, many = int(rows["seeds"].min()), int(rows["seeds"].max())
    if many <= 1:
        text = "no bands" if what == "bands" else f"{what}: 95 % over sequences"
        text = f"one training a point,\n{text}"
    else:
        count = f"{many}" if few == many else f"up to {many}"
        text = f"{what}: 95 % over {count} trainings\na point"
        text += " and their sequences" if sequences else ""
        text += ";\nno band at one training" if what == "bands" and few == 1 else ""
    return legend_entry(text, linestyle="none")


def add_legend(
    figure: FigureBase, entries: Sequence[Line2D], where: str, columns: int | None = None
) -> None:
    """Add a legend outside the panels, at the ``right`` or the ``bottom``.

    At the bottom it has so many ``columns``, by default one for each entry.
    """
    if where == "right":
        figure.legend(handles=entries, loc="outside right upper", handlelength=2.6)
    else:
        columns = columns or len(entries)
        figure.legend(handles=entries, loc="outside lower center", ncols=columns, handlelength=2.6)


def add_title(figure: FigureBase, what: str, corpus: str) -> None:
    """Give a figure its title, with the corpus's full name."""
    title = f"{what}: {corpus_title(corpus)}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, parse_math=False)


def corpus_title(corpus: str) -> str:
    """The corpus's full name; of a text of one's own that of its file or folder."""
    kind, _, path = corpus.partition(":")
    return Path(path).name if kind == "text" and path else TITLES.get(corpus, corpus)
