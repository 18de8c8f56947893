"""Text as a picture: a monospace grid of tokens, marked by corruption and restoration.

The versions of a sequence stand under each other, token under token, and wrap together.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch, Rectangle

from uddm_lib.figures._plotting import (
    BLUE,
    ORANGE,
    corpus_title,
    rows_of_corpus,
    rows_with,
    unique,
)
from uddm_lib.statistics.summary import first_seeds

VERSIONS = ("original", "perturbed", "restored")
LEAST_WIDTH, MOST_WIDTH = 40, 76  # characters in a line
MOST_BLOCKS = 6  # lines of text of a sequence that are shown
_MARKS = {  # kind of token -> fill, edge, text color, legend; fills also differ in lightness
    "untouched": (None, None, "black", None),
    "corrupted": ("0.85", None, "black", "corrupted"),
    "recovered": (BLUE, None, "white", "recovered"),
    "failed": ("#F5B97F", ORANGE, "black", "not recovered"),
    "unstable": (None, "black", "black", "untouched, yet changed"),
}
_OUTCOMES = {  # corrupted?, restored as in the original? -> kind of token
    (True, True): "recovered",
    (True, False): "failed",
    (False, False): "unstable",
    (False, True): "untouched",
}
_SIGNS = {" ": "\u00b7", "\n": "\u00b6", "\r": "\u00b6", "\t": "\u2192", "</s>": "\u00b6"}
_ROW, _GAP = 1.25, 0.7  # distance of rows, and of blocks beyond that, in line heights


def select_examples(
    examples: pd.DataFrame, corpus: str, process: str, size: str | None = None
) -> pd.DataFrame:
    """The examples of one process and size (the largest by default), at the middle level.

    Where an n has several trainings, they are those of its smallest seed.
    """
    table = all_levels(examples, corpus, process, size)
    levels = sorted(table["level"].unique())
    return table[table["level"] == levels[len(levels) // 2]]


def all_levels(
    examples: pd.DataFrame, corpus: str, process: str, size: str | None = None
) -> pd.DataFrame:
    """As :func:`select_examples`, at every level."""
    columns = ["size", "n", "set", "process", "level", "position", *VERSIONS]
    table = rows_of_corpus(examples, corpus, columns)
    table = rows_with(table, "size", size or unique(table, "size")[-1])
    return first_seeds(rows_with(table, "process", process))


def draw_examples(figure: FigureBase, table: pd.DataFrame, corpus: str, letter: str = "") -> None:
    """Draw the examples of one process, under a title that says how they were made."""
    draw_text(figure, table)
    level, size = table["level"].iloc[0], table["size"].iloc[0]
    if table["process"].iloc[0] == "stochastic":
        process = f"restored from t = {level:g}"
    else:
        process = f"with {level:.0%} of the tokens corrupted, restored greedily"
    title = f"{letter}Text {process}: {corpus_title(corpus)}, {size}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, parse_math=False)


def draw_text(figure: FigureBase, table: pd.DataFrame) -> None:
    """Draw sequences (a row per token): a row of panels per n, columns train and test."""
    draw_panels(figure, _panels(table))


def draw_panels(figure: FigureBase, rows: Sequence[Sequence["TextPanel"]]) -> None:
    """Draw rows of panels, and the key."""
    heights = [max(panel.height for panel in row) for row in rows]
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False, height_ratios=heights)
    for row_axes, row, height in zip(axes, rows, heights):
        for axis, panel in zip(row_axes, row):
            axis.set_title(panel.title, loc="left", fontsize=8)
            panel.draw(axis, height)
    entries = [
        Patch(facecolor=fill or "white", edgecolor=edge or fill, label=label)
        for fill, edge, _, label in _MARKS.values()
        if label
    ]
    figure.legend(
        handles=entries, loc="outside lower center", ncols=len(entries), fontsize=8, frameon=False
    )


def text_height(table: pd.DataFrame) -> float:
    """Inches that :func:`draw_text` needs, with titles and legend."""
    return panels_height(_panels(table))


def panels_height(rows: Sequence[Sequence["TextPanel"]]) -> float:
    """Inches that :func:`draw_panels` needs, with titles and legend."""
    return 0.6 + sum(0.3 + max(panel.height for panel in row) for row in rows)


class Version(NamedTuple):
    """A row of text: its name, its tokens, and the kind of each."""

    name: str
    tokens: list[str]
    kinds: list[str]


def versions(sequence: pd.DataFrame, names: Sequence[str] = VERSIONS) -> list[Version]:
    """A sequence (a row per token) as it was, perturbed, and restored, under such ``names``."""
    corrupted = sequence["original"] != sequence["perturbed"]
    restored = sequence["original"] == sequence["restored"]
    kinds = (
        ["untouched"] * len(sequence),
        ["corrupted" if changed else "untouched" for changed in corrupted],
        [_OUTCOMES[outcome] for outcome in zip(corrupted, restored)],
    )
    tokens = ([_visible(token) for token in sequence[version]] for version in VERSIONS)
    return [Version(*row) for row in zip(names, tokens, kinds)]


class TextPanel:
    """Versions of one sequence, laid out: which tokens stand on which line, and how large."""

    def __init__(self, title: str, rows: Sequence[Version], most_blocks: int = MOST_BLOCKS) -> None:
        self.rows, self.most_blocks = rows, most_blocks
        columns = zip(*(row.tokens for row in rows))
        widths = [min(max(map(len, column)), MOST_WIDTH) for column in columns]
        self.width = min(max(LEAST_WIDTH, sum(widths)), MOST_WIDTH)
        self.font_size = min(9, 6 * MOST_WIDTH / self.width)
        self.places = self._wrapped(widths)
        self.blocks = 1 + (self.places[-1][0] if self.places else 0)
        self.title = title
        if len(self.places) < len(widths):
            self.title += f" (first {len(self.places)} of {len(widths)} tokens)"

    def _wrapped(self, widths: list[int]) -> list[tuple[int, int, int]]:
        """Block, column and width of every token that is shown."""
        places, column, block = [], 0, 0
        for width in widths:
            if column + width > self.width:
                column, block = 0, block + 1
            if block == self.most_blocks:
                break
            places.append((block, column, width))
            column += width
        return places

    @property
    def line_height(self) -> float:
        """Height of a line in inches."""
        return 1.25 * self.font_size / 72

    @property
    def height(self) -> float:
        """Height of the panel in inches."""
        return self.line_height * (self.blocks * (len(self.rows) * _ROW + _GAP))

    def draw(self, axis: Axes, height: float) -> None:
        """Draw the tokens on an axis of ``height`` inches."""
        for block in range(self.blocks):
            for i, row in enumerate(self.rows):
                y = (block * len(self.rows) + i) * _ROW + block * _GAP
                style: dict[str, Any] = {
                    "ha": "right",
                    "va": "center",
                    "fontsize": 6.5,
                    "color": "0.35",
                }
                axis.text(-1, y + 0.5, row.name, **style)
                for token, kind, place in zip(row.tokens, row.kinds, self.places):
                    token_block, column, width = place
                    if token_block == block:
                        _draw_token(axis, (column, y), width, token, kind, self.font_size)
        axis.set(
            xlim=(-0.13 * self.width, self.width + 0.5), ylim=(height / self.line_height, -0.2)
        )
        axis.set_axis_off()


def _panels(table: pd.DataFrame) -> list[list[TextPanel]]:
    sets = {"train": "training", "test": "unseen test"}
    sets = {name: text for name, text in sets.items() if name in set(table["set"])}
    rows = []
    for n in sorted(table["n"].unique()):
        parts = {text: table[(table["n"] == n) & (table["set"] == s)] for s, text in sets.items()}
        rows.append(
            [
                TextPanel(f"n = {n:,}, {text} sequence", versions(part.sort_values("position")))
                for text, part in parts.items()
            ]
        )
    return rows


def _draw_token(
    axis: Axes,
    place: tuple[float, float],
    width: int,
    token: str,
    kind: str,
    font_size: float,
) -> None:
    """Draw one token in the middle of a cell, with the mark of its kind."""
    column, y = place
    fill, edge, color, _ = _MARKS[kind]
    if fill or edge:
        cell = Rectangle(
            (column + 0.06, y),
            width - 0.12,
            1,
            facecolor=fill or "none",
            edgecolor=edge or "none",
            linewidth=0.8,
        )
        axis.add_patch(cell)
    start = column + (width - min(len(token), width)) / 2
    for i, letter in enumerate(token[:width]):
        axis.text(
            start + i + 0.5,
            y + 0.52,
            letter,
            family="monospace",
            fontsize=font_size,
            ha="center",
            va="center",
            color=color,
            parse_math=False,
        )


def _visible(token: str) -> str:
    """The token with signs for white space and the end of a document.

    A letter that the font lacks becomes a box.
    """
    font = _letters()
    signs = (_SIGNS.get(letter, letter) for letter in ([token] if token in _SIGNS else token))
    return "".join(sign if ord(sign) in font else "\u25a1" for sign in signs) or "\u00d8"


@cache
def _letters() -> frozenset[int]:
    """Code points that the monospace font can draw."""
    font = get_font(findfont(FontProperties(family="monospace")))
    return frozenset(
        code for code in font.get_charmap() if chr(code).isprintable() and not chr(code).isspace()
    )
