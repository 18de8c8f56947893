"""The reverse process as a film strip: rows are times, columns tokens, a strip for every model."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from uddm_lib.figures._plotting import PINK, Figure, add_title, rows_of_corpus, styled
from uddm_lib.figures._text_panel import OUTCOMES, kind_entries, mark, visible

_WIDTH, _LEAST_WIDTH = 7.2, 5.4  # inches, of the figure
_SIDE = 0.72  # inches, of the names of the rows
_POINTS = 8  # of a letter
_ROW, _LETTER = 1.45 * _POINTS / 72, 0.602 * _POINTS / 72  # inches
_GAP = 0.35  # letters between two columns
_LONGEST = 6  # letters of a token that are shown
_UNSURE = LinearSegmentedColormap.from_list("unsure", ["white", PINK])
_COLORS = ("outcome", "entropy")
_LABELS = ["size", "n", "seed"]
_COLUMNS = ["t", "position", "original", "token", "corrupted", "right", "moved", "entropy"]


@styled
def film_strip(
    table: pd.DataFrame, corpus: str, color: str = "outcome", vocab_size: int | None = None
) -> Figure:
    """One sequence on its way back, as every model restores it.

    The title of a strip counts all tokens of the sequence, also those that find no room.

    Args:
        table: a row a token with the columns ``corpus, size, n, seed, t, position, original,
            token, corrupted, right, moved, entropy``, as :func:`uddm_lib.experiments.film_table`
            describes them.
        corpus: the corpus to draw.
        color: ``outcome``: what became of a token so far. ``entropy``: how unsure the model is of
            it; a frame then marks what differs from the original.
        vocab_size: V, whose logarithm ends the scale of entropies; needed for ``entropy`` alone.

    Raises:
        ValueError: if a column, the corpus, or ``vocab_size`` is missing, or ``color`` unknown.
    """
    if color not in _COLORS:
        raise ValueError(f"color={color!r} is not allowed; it must be one of {', '.join(_COLORS)}")
    if color == "entropy" and vocab_size is None:
        raise ValueError("vocab_size=None is not allowed with color='entropy'; give V")
    table = rows_of_corpus(table, corpus, _LABELS + _COLUMNS)
    table = table.assign(original=table["original"].map(_short), token=table["token"].map(_short))
    strips = [strip for _, strip in table.groupby(_LABELS, sort=False)]
    edges = _edges(table)
    rows = 1 + max(strip["t"].nunique() for strip in strips)
    height = len(strips) * (rows * _ROW + 0.32) + 0.75
    width = max(_LEAST_WIDTH, _SIDE + edges[-1] * _LETTER)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(len(strips), 1, squeeze=False)[:, 0])
    scale = Normalize(0, math.log(vocab_size or 2))
    for axis, strip in zip(axes, strips):
        _draw_strip(axis, strip, edges, scale if color == "entropy" else None)
    _add_key(figure, axes, scale if color == "entropy" else None)
    shown, count = len(edges) - 1, table["position"].nunique()
    part = f", first {shown} of {count} tokens" if shown < count else ""
    add_title(figure, f"Restored from t = {table['t'].max():.2g}{part}", corpus)
    return figure


def _short(token: str) -> str:
    shown = visible(token)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "\u2026"


def _edges(table: pd.DataFrame) -> list[float]:
    """Left edges of the columns that find room, and the right one of the last, in letters.

    A column is as wide as its longest token, in all strips.
    """
    room = (_WIDTH - _SIDE) / _LETTER
    lengths = table[["original", "token"]].map(len).max(axis=1)
    widths = lengths.groupby(table["position"]).max().sort_index() + _GAP
    return [0.0, *(edge for edge in accumulate(widths) if edge <= room)]


def _draw_strip(
    axis: Axes, strip: pd.DataFrame, edges: Sequence[float], scale: Normalize | None
) -> None:
    times = sorted(strip["t"].unique().tolist(), reverse=True)
    states = [strip[strip["t"] == t].sort_values("position") for t in times]
    _draw_row(axis, 0, "original", list(states[0]["original"]), [{}] * len(states[0]), edges)
    for place, (t, state) in enumerate(zip(times, states), 1):
        kinds = _kinds(state, is_over=t == 0)
        if scale is None:
            styles = [mark(kind) for kind in kinds]
        else:
            styles = [
                {"fill": _UNSURE(scale(h)), "edge": None if right else "black"}
                for h, right in zip(state["entropy"], state["right"])
            ]
        _draw_row(axis, place, f"t = {t:.2g}", list(state["token"]), styles, edges)
    side = edges[-1] * _SIDE / (_WIDTH - _SIDE)
    axis.set(xlim=(-side, edges[-1] + 0.1), ylim=(len(times) + 1, -0.05))
    axis.set_axis_off()
    back, failed = kinds.count("recovered"), kinds.count("failed") + kinds.count("corrupted")
    kept, changed = kinds.count("untouched"), kinds.count("unstable")
    first = strip.iloc[0]
    axis.set_title(
        f"{first['size']}, n = {first['n']:,}: {back} of {back + failed} corrupted tokens "
        f"recovered, {changed} of {kept + changed} untouched ones changed",
        loc="left",
        fontsize=_POINTS,
    )


def _kinds(state: pd.DataFrame, is_over: bool) -> list[str]:
    """What became of every token; what has not moved may come back until the process is over."""
    kinds = [OUTCOMES[place] for place in zip(state["corrupted"], state["right"])]
    waits = state["corrupted"] & ~state["moved"] & (not is_over)
    return ["corrupted" if wait else kind for kind, wait in zip(kinds, waits)]


def _draw_row(
    axis: Axes,
    place: int,
    name: str,
    tokens: Sequence[str],
    styles: Sequence[dict[str, Any]],
    edges: Sequence[float],
) -> None:
    x, y = -0.01 * edges[-1], place + 0.5
    axis.text(x, y, name, ha="right", va="center", fontsize=7, color="0.35")
    for token, style, left, right in zip(tokens, styles, edges, edges[1:]):
        fill, edge = style.get("fill"), style.get("edge")
        if fill or edge:
            cell = Rectangle(
                (left + 0.05, place + 0.06),
                right - left - 0.1,
                0.88,
                facecolor=fill or "none",
                edgecolor=edge or "none",
                linewidth=0.8,
            )
            axis.add_patch(cell)
        axis.text(
            (left + right) / 2,
            place + 0.53,
            token,
            family="monospace",
            fontsize=_POINTS,
            ha="center",
            va="center",
            color=style.get("color", "black"),
            parse_math=False,
        )


def _add_key(figure: Figure, axes: Sequence[Axes], scale: Normalize | None) -> None:
    if scale is None:
        entries = kind_entries()
        figure.legend(handles=entries, loc="outside lower center", ncols=len(entries))
        return
    colors = ScalarMappable(scale, _UNSURE)
    bar = figure.colorbar(colors, ax=axes, location="bottom", aspect=40, shrink=0.6, pad=0.01)
    label = "conditional entropy (nats), up to log V; framed: not as in the original"
    bar.set_label(label, fontsize=_POINTS)
