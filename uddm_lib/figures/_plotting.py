"""What the figures share: the style, panels, lines, legends, and saving."""

import functools
import io

import matplotlib
import matplotlib.figure
from matplotlib import colormaps
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from uddm_lib.results import atomic_write, resolve
from uddm_lib.statistics.summary import need

COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
STYLE = {
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
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "svg.hashsalt": "uddm",
}
MARKERS = "os^Dv<>PX*"
LIMITS = {"memorizer": (0, (1, 1)), "generalizer": "-."}  # exact limit -> line style
TITLES = {"markov": "Markov chain", "kjv": "King James Bible"}


def styled(draw):
    """A figure function that draws in the one style, and leaves matplotlib's settings alone."""

    @functools.wraps(draw)
    def styled(*arguments, **options):
        with matplotlib.rc_context(STYLE):
            return draw(*arguments, **options)

    return styled


class Figure(matplotlib.figure.Figure):
    """A figure that keeps the style until it is drawn: matplotlib makes ticks only then, from its settings."""

    @styled
    def draw(self, renderer):
        super().draw(renderer)


@styled
def save(figure, folder, name):
    """Write ``<name>.png`` and ``<name>.pdf``; the same figure gives the same bytes.

    Raises:
        OSError: if a file can't be written; an older one is left as it was.
    """
    for suffix, metadata in (
        ("png", {"Software": None}),
        ("pdf", {"CreationDate": None, "Producer": None}),
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        atomic_write(resolve(folder) / f"{name}.{suffix}", buffer.getvalue())


def panels(rows, columns, size, below=0, **shared):
    """A figure and its axes; with room for a second part of ``below`` inches, two subfigures in place of the figure."""
    heights = rows * size[1] + 0.4, below
    figure = Figure(figsize=(columns * size[0] + 1.6, sum(heights)), layout="constrained")
    part = figure.subfigures(2, 1, height_ratios=heights)[0] if below else figure
    return figure, part.subplots(rows, columns, squeeze=False, **shared)


def of(frame, corpus, columns):
    """The corpus's rows, or an error that says what the table holds."""
    need(frame, ["corpus", *columns])
    table = frame[frame["corpus"] == corpus]
    if table.empty:
        raise ValueError(
            f"corpus={corpus!r} is not in the table; it holds {', '.join(unique(frame, 'corpus'))}"
        )
    return table


def of_size(table, size):
    """The rows of one model size, or an error that says which there are."""
    if size not in set(table["size"]):
        raise ValueError(
            f"size={size!r} is not in the table; it holds {', '.join(unique(table, 'size'))}"
        )
    return table[table["size"] == size]


def unique(frame, column):
    """The values of a column, in their order of appearance."""
    return list(frame[column].unique())


def order(values):
    """Colour and marker of each of the ordered values: viridis without its palest end."""
    values = sorted(values.unique())
    step = 0.88 / max(1, len(values) - 1)
    return {
        v: (colormaps["viridis"](i * step), MARKERS[i % len(MARKERS)]) for i, v in enumerate(values)
    }


def spread(items, most=9):
    """At most ``most`` of the dictionary's items, evenly spread, the first and the last among them: for a key."""
    keys, count = list(items), min(most, len(items))
    picked = {round(i * (len(keys) - 1) / max(1, count - 1)) for i in range(count)}
    return {key: items[key] for i, key in enumerate(keys) if i in picked}


def line(axis, rows, x, **style):
    """A curve of means with the bars of their intervals; rows with the columns ``x, mean, low, high``."""
    rows = rows.sort_values(x)
    errors = [
        (rows["mean"] - rows["low"]).clip(lower=0),
        (rows["high"] - rows["mean"]).clip(lower=0),
    ]
    axis.errorbar(rows[x], rows["mean"], errors, elinewidth=0.8, capsize=1.5, **style)


def limit_line(axis, rows, x, color):
    """The curve of one exact limit, if the rows have any."""
    if len(rows):
        rows = rows.sort_values(x)
        axis.plot(
            rows[x],
            rows["mean"],
            color=color,
            linewidth=0.8,
            alpha=0.9,
            linestyle=LIMITS[rows["denoiser"].iloc[0]],
            zorder=1.5,
        )


def limit_handles(table, memorizer, generalizer=None):
    """Keys of the limits that the table has; the arguments say what their colours mean (the same if one is given)."""
    colours = memorizer, generalizer or memorizer
    return [
        handle(f"exact {name}\n({colour})", color="0.2", linewidth=0.8, linestyle=style)
        for (name, style), colour in zip(LIMITS.items(), colours)
        if name in set(table["denoiser"])
    ]


def log_n(axis, n):
    """A logarithmic axis of training-set sizes, labelled at the values that occur."""
    values = sorted(n.unique(), reverse=True)
    apart = (values[0] / values[-1]) ** 0.06
    ticks = values[
        :1
    ]  # from the largest n down, without those whose label would touch the one before
    for value in values[1:]:
        if value * apart <= ticks[-1]:
            ticks.append(value)
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=45, ha="right")
    axis.minorticks_off()
    axis.set_xlabel("training sequences n")


def plain_log(axis):
    """A log y axis with plain numbers, also at 2, 3 and 5 where the range is short."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(10, (1, 2, 3, 5) if high < 100 * low else (1,)))
    axis.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if value < 1e5 else f"{value:.0e}")
    )
    axis.yaxis.set_minor_formatter(NullFormatter())


def stairs(axis, rows, color, fill):
    """A histogram from rows with the columns ``low, high, share``."""
    edges = [*rows["low"], rows["high"].iloc[-1]]
    axis.stairs(
        rows["share"], edges, color=color, fill=fill, alpha=0.45 if fill else 1, linewidth=1.4
    )


def handle(label, **style):
    """An entry of a key."""
    return Line2D([], [], label=label, **style)


def legend(figure, handles, where):
    """A key outside the panels, at the ``right`` or the ``bottom``."""
    if where == "right":
        figure.legend(handles=handles, loc="outside right upper", handlelength=2.6)
    else:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.6
        )


def titled(figure, what, corpus):
    """Give a figure its title, with the corpus's full name; returns the figure."""
    figure.suptitle(f"{what}: {TITLES.get(corpus, corpus)}", x=0.01, ha="left", fontsize=10)
    return figure
