"""What the figures share: the style, panels, lines, legends, and saving."""

import functools
import io

import matplotlib
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from uddm_lib.results import atomic_write, resolve
from uddm_lib.summary import need

STYLE = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "0.9", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.4,
    "lines.markersize": 4.5, "legend.frameon": False, "figure.dpi": 110, "savefig.dpi": 180, "pdf.fonttype": 42,
    "axes.prop_cycle": matplotlib.cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7"]), "svg.hashsalt": "uddm",
}
MARKERS = "os^Dv<>PX*"
TITLES = {"markov": "Markov chain", "kjv": "King James Bible"}


def styled(draw):
    """A figure function that draws in the one style, and leaves matplotlib's settings alone."""
    @functools.wraps(draw)
    def styled(*arguments, **options):
        with matplotlib.rc_context(STYLE):
            return draw(*arguments, **options)
    return styled


@styled
def save(figure, folder, name):
    """Write ``<name>.png`` and ``<name>.pdf``; the same figure gives the same bytes.

    Raises:
        OSError: if a file can't be written; an older one is left as it was.
    """
    for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "Producer": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        atomic_write(resolve(folder) / f"{name}.{suffix}", buffer.getvalue())


def panels(rows, columns, size, **shared):
    figure = Figure(figsize=(columns * size[0] + 1.6, rows * size[1] + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def of(frame, corpus, columns):
    """The corpus's rows, or an error that says what the table holds."""
    need(frame, ["corpus", *columns])
    table = frame[frame["corpus"] == corpus]
    if table.empty:
        raise ValueError(f"corpus={corpus!r} is not in the table; it holds {', '.join(map(str, unique(frame, 'corpus')))}")
    return table


def unique(frame, column):
    return list(frame[column].unique())


def order(values):
    """Colour and marker of each of the ordered values: viridis without its palest end."""
    values = sorted(values.unique())
    step = 0.88 / max(1, len(values) - 1)
    return {v: (colormaps["viridis"](i * step), MARKERS[i % len(MARKERS)]) for i, v in enumerate(values)}


def line(axis, rows, x, **style):
    rows = rows.sort_values(x)
    errors = [(rows["mean"] - rows["low"]).clip(lower=0), (rows["high"] - rows["mean"]).clip(lower=0)]
    axis.errorbar(rows[x], rows["mean"], errors, elinewidth=0.8, capsize=1.5, **style)


def log_n(axis, n):
    ticks = sorted(n.unique())
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=45, ha="right")
    axis.minorticks_off()
    axis.set_xlabel("training sequences n")


def stairs(axis, rows, color, fill):
    edges = [*rows["low"], rows["high"].iloc[-1]]
    axis.stairs(rows["share"], edges, color=color, fill=fill, alpha=0.45 if fill else 1, linewidth=1.4)


def handle(label, **style):
    return Line2D([], [], label=label, **style)


def legend(figure, handles, where):
    if where == "right":
        figure.legend(handles=handles, loc="outside right upper", handlelength=2.6)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=2.6)


def titled(figure, what, corpus):
    figure.suptitle(f"{what}: {TITLES.get(corpus, corpus)}", x=0.01, ha="left", fontsize=10)
    return figure
