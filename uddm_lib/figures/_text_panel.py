"""Text as a picture: tokens in a monospace grid, marked by what corruption and restoration did to them.

The three versions of a sequence stand under each other, token under token, and wrap together.
"""

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch, Rectangle

from uddm_lib.figures._plotting import TITLES, of, of_size, unique

KEY = {"rows": ("original", "perturbed", "restored")}
WIDTHS = 40, 76  # characters a line, least and most
BLOCKS = 6  # lines of text shown of a sequence, at most
_MARKS = {  # kind of token -> fill, edge, text colour, what the key calls it; fills differ in lightness as well
    "untouched": (None, None, "black", None),
    "corrupted": ("0.85", None, "black", "corrupted"),
    "recovered": ("#0072B2", None, "white", "recovered"),
    "failed": ("#F5B97F", "#D55E00", "black", "not recovered"),
    "unstable": (None, "black", "black", "untouched, yet changed"),
}
_SIGNS = {" ": "\u00b7", "\n": "\u00b6", "\r": "\u00b6", "\t": "\u2192", "</s>": "\u00b6"}
_ROW, _GAP = 1.25, 0.7  # distance of rows, and of blocks beyond that, in line heights


def examples_of(examples, corpus, process, size=None):
    """The examples of one process, and of one size (the largest by default)."""
    table = of(examples, corpus, ["size", "n", "set", "process", "level", "position", *KEY["rows"]])
    table = of_size(table, size or unique(table, "size")[-1])
    if process not in set(table["process"]):
        raise ValueError(
            f"process={process!r} is not in the table; it holds {', '.join(unique(table, 'process'))}"
        )
    return table[table["process"] == process]


def draw_examples(figure, table, corpus, letter=""):
    """Draw the examples of one process, under a title that says how they were made."""
    draw_text(figure, table)
    level, size = table["level"].iloc[0], table["size"].iloc[0]
    what = (
        f"restored from t = {level:g}"
        if table["process"].iloc[0] == "stochastic"
        else f"with {level:.0%} of the tokens corrupted, restored greedily"
    )
    figure.suptitle(
        f"{letter}Text {what}: {TITLES.get(corpus, corpus)}, {size}", x=0.01, ha="left", fontsize=10
    )


def draw_text(figure, table):
    """Draw the sequences of ``table`` (a row a token): a row of panels per n, columns train and test."""
    rows = _panels(table)
    heights = [max(panel.height for panel in row) for row in rows]
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False, height_ratios=heights)
    for line, row, height in zip(axes, rows, heights):
        for axis, panel in zip(line, row):
            axis.set_title(panel.title, loc="left", fontsize=8)
            panel.draw(axis, height)
    keys = [
        Patch(facecolor=fill or "white", edgecolor=edge or fill, label=label)
        for fill, edge, _, label in _MARKS.values()
        if label
    ]
    figure.legend(
        handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8, frameon=False
    )


def text_height(table):
    """Inches that :func:`draw_text` needs, with titles and key."""
    return 0.6 + sum(0.3 + max(panel.height for panel in row) for row in _panels(table))


def _panels(table):
    many, sets = (
        sorted(table["n"].unique()),
        [name for name in ("train", "test") if name in set(table["set"])],
    )
    return [
        [
            _Panel(
                table[(table["n"] == n) & (table["set"] == name)].sort_values("position"), n, name
            )
            for name in sets
        ]
        for n in many
    ]


class _Panel:
    """One sequence, laid out: which tokens stand on which line, and how large."""

    def __init__(self, part, n, name):
        self.tokens = {row: [_visible(token) for token in part[row]] for row in KEY["rows"]}
        changed, right = part["original"] != part["perturbed"], part["original"] == part["restored"]
        outcome = {
            (True, True): "recovered",
            (True, False): "failed",
            (False, False): "unstable",
            (False, True): "untouched",
        }
        self.kinds = {
            "original": ["untouched"] * len(part),
            "perturbed": ["corrupted" if each else "untouched" for each in changed],
            "restored": [outcome[pair] for pair in zip(changed, right)],
        }
        cells = [min(max(map(len, column)), WIDTHS[1]) for column in zip(*self.tokens.values())]
        self.width = min(max(WIDTHS[0], sum(cells)), WIDTHS[1])
        self.size = min(9, 6 * WIDTHS[1] / self.width)
        self.places, column, block = (
            [],
            0,
            0,
        )  # block, column and width of every token that is shown
        for cell in cells:
            if column + cell > self.width:
                column, block = 0, block + 1
            if block == BLOCKS:
                break
            self.places.append((block, column, cell))
            column += cell
        self.blocks = 1 + (self.places[-1][0] if self.places else 0)
        self.title = f"n = {n:,}, {'training' if name == 'train' else 'unseen test'} sequence"
        if len(self.places) < len(cells):
            self.title += f" (first {len(self.places)} of {len(cells)} tokens)"

    @property
    def line(self):
        """Height of a line in inches."""
        return 1.25 * self.size / 72

    @property
    def height(self):
        return self.line * (self.blocks * (len(KEY["rows"]) * _ROW + _GAP))

    def draw(self, axis, height):
        for block in range(self.blocks):
            for row, name in enumerate(KEY["rows"]):
                y = (block * len(KEY["rows"]) + row) * _ROW + block * _GAP
                axis.text(-1, y + 0.5, name, ha="right", va="center", fontsize=6.5, color="0.35")
                for i, (where, column, cell) in enumerate(self.places):
                    if where == block:
                        _draw_token(
                            axis,
                            column,
                            y,
                            cell,
                            self.tokens[name][i],
                            self.kinds[name][i],
                            self.size,
                        )
        axis.set(xlim=(-0.13 * self.width, self.width + 0.5), ylim=(height / self.line, -0.2))
        axis.set_axis_off()


def _draw_token(axis, column, y, cell, token, kind, size):
    fill, edge, color, _ = _MARKS[kind]
    if fill or edge:
        axis.add_patch(
            Rectangle(
                (column + 0.06, y),
                cell - 0.12,
                1,
                facecolor=fill or "none",
                edgecolor=edge or "none",
                linewidth=0.8,
            )
        )
    start = column + (cell - min(len(token), cell)) / 2
    for i, letter in enumerate(token[:cell]):
        axis.text(
            start + i + 0.5,
            y + 0.52,
            letter,
            family="monospace",
            fontsize=size,
            ha="center",
            va="center",
            color=color,
            parse_math=False,
        )


def _visible(token):
    """The token with white space and the end of a document as signs, and a box for every letter that the font lacks."""
    font = _letters()
    signs = (_SIGNS.get(letter, letter) for letter in ([token] if token in _SIGNS else token))
    return "".join(sign if ord(sign) in font else "\u25a1" for sign in signs) or "\u00d8"


@cache
def _letters():
    """Code points that the monospace font can draw."""
    font = get_font(findfont(FontProperties(family="monospace")))
    return frozenset(
        code for code in font.get_charmap() if chr(code).isprintable() and not chr(code).isspace()
    )
