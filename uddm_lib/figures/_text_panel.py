"""Text as a picture: lines of monospace letters, tokens marked by corruption and restoration.

The versions of a sequence stand under each other, word under word, and wrap together.
"""

import re
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
from uddm_lib.figures._text_layout import BLANKS, Place, lay_out
from uddm_lib.statistics.summary import first_seeds

VERSIONS = ("original", "perturbed", "restored")
# Characters in a line: large letters for what two lines hold, smaller ones for more.
NARROW, WIDE = 50, 76
MOST_BLOCKS = 6  # lines of text of a sequence that are shown
_MARKS = {  # kind of token -> fill, edge, text color, legend; fills also differ in lightness
    "untouched": (None, None, "black", None),
    "corrupted": ("0.85", None, "black", "corrupted"),
    "recovered": (BLUE, None, "white", "recovered"),
    "failed": ("#F5B97F", ORANGE, "black", "not recovered"),
    "unstable": (None, "black", "black", "untouched, yet changed"),
}
OUTCOMES = {  # corrupted?, restored as in the original? -> kind of token
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
    entries = kind_entries()
    figure.legend(
        handles=entries, loc="outside lower center", ncols=len(entries), fontsize=8, frameon=False
    )


def kind_entries() -> list[Patch]:
    """Legend entries of the kinds of tokens."""
    return [
        Patch(facecolor=fill or "white", edgecolor=edge or fill, label=label)
        for fill, edge, _, label in _MARKS.values()
        if label
    ]


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


def versions(
    sequence: pd.DataFrame, names: Sequence[str] = ("original", "corrupted", "restored")
) -> list[Version]:
    """A sequence (a row per token) as it was, perturbed, and restored, under such ``names``."""
    original, perturbed, restored = (list(sequence[version]) for version in VERSIONS)
    kinds = (
        ["untouched"] * len(sequence),
        ["untouched" if a == b else "corrupted" for a, b in zip(original, perturbed)],
        outcomes(original, perturbed, restored),
    )
    tokens = ([visible(token) for token in sequence[version]] for version in VERSIONS)
    return [Version(*row) for row in zip(names, tokens, kinds)]


def mark(kind: str) -> dict[str, Any]:
    """How tokens of a kind are drawn: ``fill`` and ``edge``, which may be None, and ``color``."""
    return dict(zip(("fill", "edge", "color"), _MARKS[kind]))


def outcomes(
    original: Sequence[str], perturbed: Sequence[str], restored: Sequence[str]
) -> list[str]:
    """What became of every token of a restored sequence: the kind of its mark."""
    return [OUTCOMES[a != b, a == c] for a, b, c in zip(original, perturbed, restored)]


class TextPanel:
    """Versions of one sequence, laid out: which tokens stand on which line, and how large."""

    def __init__(self, title: str, rows: Sequence[Version], most_blocks: int = MOST_BLOCKS) -> None:
        widest = sum(max(map(len, column)) for column in zip(*(row.tokens for row in rows)))
        self.width = NARROW if widest <= 2 * NARROW else WIDE
        self.font_size = min(9, 6 * WIDE / self.width)
        self.rows = [
            Version(row.name, [token[: self.width] for token in row.tokens], row.kinds)
            for row in rows
        ]
        tokens = [row.tokens for row in self.rows]
        # Perturbed text is not read: where it has lost the space between two words, they are two.
        read = [row.tokens for row in self.rows if "corrupted" not in row.kinds]
        self.places = lay_out(tokens, read, self.width, most_blocks)
        shown = self.places[0]
        self.blocks = 1 + (shown[-1].line if shown else 0)
        self.title = title
        if len(shown) < len(tokens[0]):
            self.title += f" (first {len(shown)} of {len(tokens[0])})"

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
        for i, (row, places) in enumerate(zip(self.rows, self.places)):
            tops = [self._top(block, i) for block in range(self.blocks)]
            for top in tops:
                axis.text(
                    -1, top + 0.5, row.name, ha="right", va="center", fontsize=6.5, color="0.35"
                )
            draw_tokens(axis, row, places, tops, self.font_size)
        axis.set(
            xlim=(-0.13 * self.width, self.width + 0.5), ylim=(height / self.line_height, -0.2)
        )
        axis.set_axis_off()

    def _top(self, block: int, row: int) -> float:
        """Top of a row of letters, in line heights."""
        return (block * len(self.rows) + row) * _ROW + block * _GAP


def _panels(table: pd.DataFrame) -> list[list[TextPanel]]:
    sets = {"train": "training", "test": "unseen test"}
    sets = {name: text for name, text in sets.items() if name in set(table["set"])}
    rows = []
    for n in sorted(map(int, table["n"].unique())):
        parts = {text: table[(table["n"] == n) & (table["set"] == s)] for s, text in sets.items()}
        rows.append([_panel(n, text, part.sort_values("position")) for text, part in parts.items()])
    return rows


def _panel(n: int, text: str, sequence: pd.DataFrame) -> TextPanel:
    rows = versions(sequence)
    back, failed = (rows[2].kinds.count(kind) for kind in ("recovered", "failed"))
    return TextPanel(f"n = {n:,}, {text} sequence: {back} of {back + failed} came back", rows)


def draw_tokens(
    axis: Axes, row: Version, places: Sequence[Place], tops: Sequence[float], font_size: float
) -> None:
    """Draw a version's tokens with the marks of their kinds.

    Args:
        axis: one letter is one unit wide and one high; y points down.
        row: the version.
        places: of its first tokens.
        tops: y of every line.
        font_size: points.
    """
    for place, width, kind in _cells(row, places):
        _draw_cell(axis, place.column, tops[place.line], width, kind)
    for token, kind, place in zip(row.tokens, row.kinds, places):
        for i, letter in enumerate(token):
            is_plain_blank = kind == "untouched" and letter in BLANKS
            axis.text(
                place.column + i + 0.5,
                tops[place.line] + 0.52,
                letter,
                family="monospace",
                fontsize=font_size,
                ha="center",
                va="center",
                color="0.6" if is_plain_blank else _MARKS[kind][2],
                parse_math=False,
            )


def _cells(row: Version, places: Sequence[Place]) -> list[tuple[Place, int, str]]:
    """Places, widths and kinds of the marks.

    A token has one of its own, but frames of neighbors are joined: they would hide the words.
    """
    cells: list[tuple[Place, int, str]] = []
    for token, kind, place in zip(row.tokens, row.kinds, places):
        if cells and kind == cells[-1][2] == "unstable":
            start, width, _ = cells[-1]
            if (start.line, start.column + width) == place:
                cells[-1] = start, width + len(token), kind
                continue
        cells.append((place, len(token), kind))
    return cells


def _draw_cell(axis: Axes, column: float, top: float, width: int, kind: str) -> None:
    fill, edge, _, _ = _MARKS[kind]
    if fill or edge:
        cell = Rectangle(
            (column + 0.06, top),
            width - 0.12,
            1,
            facecolor=fill or "none",
            edgecolor=edge or "none",
            linewidth=0.8,
        )
        axis.add_patch(cell)


def visible(token: str) -> str:
    """The token with signs for white space and the end of a document.

    A letter that the font lacks becomes a box. A token that is part of a letter is one sign, of
    however many bytes.
    """
    font = _letters()
    signs = (_SIGNS.get(letter, letter) for letter in ([token] if token in _SIGNS else token))
    text = "".join(sign if ord(sign) in font else "\u25a1" for sign in signs) or "\u00d8"
    return re.sub("\ufffd+", "\ufffd", text)


@cache
def _letters() -> frozenset[int]:
    """Code points that the monospace font can draw."""
    font = get_font(findfont(FontProperties(family="monospace")))
    return frozenset(
        code for code in font.get_charmap() if chr(code).isprintable() and not chr(code).isspace()
    )
