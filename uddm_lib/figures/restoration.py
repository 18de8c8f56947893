"""The animation: one unseen text, restored token by token by one or two models."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from PIL import Image

from uddm_lib.figures._plotting import (
    BLUE,
    SETS,
    Figure,
    rows_of_corpus,
    styled,
    unique,
)
from uddm_lib.figures._restoration_scenes import Scene, scenes
from uddm_lib.figures._text_layout import Place, lay_out
from uddm_lib.figures._text_panel import Version, draw_tokens, kind_entries
from uddm_lib.results import atomic_write, file_name, resolve
from uddm_lib.statistics.summary import of_denoiser
from uddm_lib.statistics.transition import at_time

_SIZE = 800, 580  # width and height; all lengths here are in pixels at 100 dots an inch
_NARROW = 520  # width without the curve
_DPI = 120
_LEFT, _TEXT_WIDTH = 22, 474
_LINES, _LINE = 3, 29  # of a text; their distance
_LINE_GAP = 1.22  # the same in heights of a letter's cell
_LEAST_WIDTH = 30  # letters in a line
_LARGEST, _LARGE, _SMALL = 22, 18, 16  # letters of the text, headings, and the rest
_ADVANCE = 0.602  # width of a monospace letter in heights
_TOPS = 104, 236, 388  # of the headings of the original text and of the two models
_NAMES = ("A", "a memorizer"), ("B", "a generalizer")
_COLORS = 96  # of a frame: a few pure ones and their mixtures at the edges of letters

_Text = tuple[Version, list[Place]]


@styled
def restoration(
    table: pd.DataFrame, recovery: pd.DataFrame | None = None
) -> list[tuple[Figure, float]]:
    """The frames of the animation, and the seconds that each is shown.

    Args:
        table: the restorations of one text by one or two models of different n, with the columns
            ``corpus, size, n, step, t, position, original, nearest, token``. At step 0 there is a
            row for every position, with the perturbed token; later there is one for every token
            that changes. ``nearest`` is the token of the training sequence that is nearest to the
            end.
        recovery: as for :func:`figure2`; drawn beside the text at its time nearest to that of
            step 0. The models are then called a memorizer and a generalizer.

    Raises:
        ValueError: if a column or the corpus is missing.
    """
    film = scenes(table)
    curve = None if recovery is None else _curve(table, recovery)
    if curve is None:  # of other models nobody knows what they did to the text
        film[-1] = film[-1]._replace(caption="The end of the reverse process: t = 0")
    ns = sorted(film[0].versions)
    versions = [[film[0].versions[ns[0]]] * len(film)]
    versions += [[scene.versions[n] for scene in film] for n in ns]
    places = [_places([version.tokens for version in states]) for states in versions]
    texts = [list(zip(*pair)) for pair in zip(versions, places)]
    letters = max(_letters(*text) for states in texts for text in states)
    return [
        (_frame(scene, [states[i] for states in texts], letters, curve), scene.seconds)
        for i, scene in enumerate(film)
    ]


def _curve(table: pd.DataFrame, recovery: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``recovery`` at the time nearest to that of the corruption."""
    first, t = table.iloc[0], table.loc[table["step"] == 0, "t"].iloc[0]
    curve = rows_of_corpus(recovery, first["corpus"], ["size", "n", "set", "t", "mean"])
    curve = of_denoiser(curve[curve["size"] == first["size"]])
    return at_time(curve, min(unique(curve, "t"), key=lambda time: abs(time - t)))


def _letters(version: Version, places: Sequence[Place]) -> int:
    """Letters on the longest line."""
    return max(place.column + len(token) for token, place in zip(version.tokens, places))


def save_gif(
    frames: Sequence[tuple[matplotlib.figure.Figure, float]], folder: str | Path, name: str
) -> None:
    """Write ``<name>.gif``, which repeats for ever; the same frames give the same bytes.

    Raises:
        ValueError: if there is no frame.
        OSError: if the file cannot be written; an older one is left as it was.
    """
    atomic_write(resolve(folder) / f"{file_name(name)}.gif", _gif(frames, _DPI))


def gif_element(frames: Sequence[tuple[matplotlib.figure.Figure, float]], words: str) -> str:
    """An HTML element that holds the GIF itself, for a notebook and its page.

    ``words`` say what the picture shows where it can't be seen.

    Raises:
        ValueError: if there is no frame.
    """
    data = base64.b64encode(_gif(frames, 100)).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/gif;base64,{data}">'


def _gif(frames: Sequence[tuple[matplotlib.figure.Figure, float]], dpi: float) -> bytes:
    if not frames:
        raise ValueError("no frames")
    images = [_image(figure, dpi) for figure, _ in frames]
    palette = images[-1].quantize(_COLORS, dither=Image.Dither.NONE)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    flat[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=flat[1:],
        duration=[round(100 * seconds) * 10 for _, seconds in frames],  # GIF counts centiseconds
        loop=0,
        disposal=1,
        optimize=True,
    )
    return buffer.getvalue()


@styled
def _image(figure: matplotlib.figure.Figure, dpi: float) -> Image.Image:
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    return Image.frombytes("RGBA", (width, height), bytes(canvas.buffer_rgba())).convert("RGB")


def _places(states: Sequence[Sequence[str]]) -> list[list[Place]]:
    """Where the tokens of all states stand, on few lines.

    Words of the first and of the last state stay whole.
    """
    width = _LEAST_WIDTH
    while True:
        places = lay_out(states, [states[0], states[-1]], width, _LINES)
        if len(places[0]) == len(states[0]):
            return places
        width += 1


def _frame(
    scene: Scene, texts: Sequence[_Text], letters: int, curve: pd.DataFrame | None
) -> Figure:
    """One picture: ``texts`` are the original and those of the models, of ``letters`` a line."""
    ns = sorted(scene.versions)
    width = _SIZE[0] if curve is not None else _NARROW
    height = _SIZE[1] - (_TOPS[2] - _TOPS[1]) * (2 - len(ns))
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    page.set_axis_off()
    frame = Rectangle((1, 1), width - 2, height - 2, fill=False, edgecolor="0.8", linewidth=1)
    page.add_patch(frame)  # ends the picture where the page around it is dark, or white too
    models = "two models" if len(ns) > 1 else "a model"
    large, caption = (24, 19) if curve is not None else (20, 17)
    _write(page, 32, f"One unseen text, restored by {models}", large, weight="bold")
    _write(page, 66, scene.caption, caption)
    _write(page, _TOPS[0], "the text before", _LARGE, color="0.35")
    for top, text in zip(_TOPS, texts):
        _draw_text(figure, top + 16, text, letters)
    for top, n, (letter, name) in zip(_TOPS[1:], ns, _NAMES):
        _draw_badge(page, (_LEFT + 12, top), letter)
        heading = f"{n:,} training sequences" + (f": {name}" if curve is not None else "")
        _write(page, top, heading, _LARGE, _LEFT + 32, weight="bold")
        _write(page, top + 26 + _LINES * _LINE, _counts(scene, n), _SMALL, color="0.25")
    if curve is not None:
        _draw_curve(figure, scene, curve)
    figure.legend(
        handles=kind_entries(),
        loc="lower center",
        ncols=4 if curve is not None else 2,
        fontsize=_points(_SMALL),
        handlelength=1.2,
        handleheight=1,
        columnspacing=1.6,
        bbox_to_anchor=(0.5, 0.0),
    )
    return figure


def _points(pixels: float) -> float:
    return 0.72 * pixels


def _write(page: Axes, y: float, text: str, size: float, x: float = _LEFT, **style: Any) -> None:
    page.text(x, y, text, fontsize=_points(size), va="center", parse_math=False, **style)


def _counts(scene: Scene, n: int) -> str:
    back, corrupted = scene.count(n, "recovered"), scene.corrupted(n)
    changed, untouched = scene.count(n, "unstable"), len(scene.versions[n].kinds) - corrupted
    if scene.phase == "original":
        return ""
    return f"recovered {back} of {corrupted}; untouched, yet changed {changed} of {untouched}"


def _draw_text(figure: Figure, top: float, text: _Text, letters: int) -> None:
    """Draw the lines of a text; a letter is as high as a line but for the gap."""
    size = min(_LARGEST, _TEXT_WIDTH / letters / _ADVANCE)
    width, height = 100 * figure.get_size_inches()
    box = (_LEFT - 1, top, letters * size * _ADVANCE, _LINES * _LINE)
    axis = figure.add_axes(
        (box[0] / width, 1 - (box[1] + box[3]) / height, box[2] / width, box[3] / height),
        xlim=(0, letters),
        ylim=(_LINES * _LINE_GAP, 0),
    )
    axis.set_axis_off()
    tops = [line * _LINE_GAP for line in range(_LINES)]
    draw_tokens(axis, *text, tops, _points(size))


def _draw_badge(axis: Axes, place: tuple[float, float], letter: str) -> None:
    """A letter in a black circle, beside a text and beside its n."""
    style = {"boxstyle": "circle,pad=0.22", "facecolor": "black", "edgecolor": "none"}
    axis.text(
        *place,
        letter,
        fontsize=_points(15),
        weight="bold",
        color="white",
        ha="center",
        va="center",
        bbox=style,
        zorder=5,
    )


def _draw_curve(figure: Figure, scene: Scene, curve: pd.DataFrame) -> None:
    """Draw recovery against n, and this text's share at the two n as a point that moves."""
    axis = figure.add_axes((0.7, 0.24, 0.26, 0.5))
    for name, place in (("train", (0.3, 0.92)), ("test", (0.22, 0.1))):
        rows = curve[curve["set"] == name].sort_values("n")
        axis.plot(rows["n"], rows["mean"], SETS[name][1], color="0.2", linewidth=2)
        axis.fill_between(rows["n"], rows["low"], rows["high"], color="0.85", linewidth=0)
        label = "training set" if name == "train" else "unseen text"
        axis.text(*place, label, fontsize=_points(_SMALL), transform=axis.transAxes)
    for n, (letter, _) in zip(sorted(scene.versions), _NAMES):
        axis.axvline(n, color="0.2", linewidth=1, linestyle=":")
        _draw_badge(axis, (n, 1.07), letter)
        if scene.corrupted(n):
            share = scene.count(n, "recovered") / scene.corrupted(n)
            axis.plot([n], [share], "o", color=BLUE, markersize=10, clip_on=False, zorder=6)
    axis.set_xscale("log", base=2)
    ticks = _spread(curve["n"])
    axis.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axis.minorticks_off()
    axis.set_ylim(0, 1)
    axis.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    axis.tick_params(labelsize=_points(_SMALL - 1))
    axis.set_xlabel("training sequences n", fontsize=_points(_SMALL))
    title = f"tokens that come back (t = {curve['t'].iloc[0]:g})"
    axis.set_title(title, fontsize=_points(_SMALL), loc="right", pad=34)
    label = "blue: this text" if scene.corrupted(min(scene.versions)) else ""
    axis.text(0.38, 0.67, label, fontsize=_points(_SMALL), color=BLUE, transform=axis.transAxes)


def _spread(n: pd.Series) -> list[int]:
    """The smallest and the largest n, and those in between whose labels have room."""
    values = sorted(int(value) for value in n.unique())
    ticks = values[:1]
    for value in values[1:-1]:
        if value >= 8 * ticks[-1] and values[-1] >= 8 * value:
            ticks.append(value)
    return [*ticks, values[-1]]
