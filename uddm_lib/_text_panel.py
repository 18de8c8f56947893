"""Text as a picture: tokens in a monospace grid, marked by what corruption and restoration did to them."""

from matplotlib.patches import Patch, Rectangle

KEY = {"rows": ("original", "perturbed", "restored")}
WIDTH = 76  # characters a line
_MARKS = {  # kind of token -> fill, edge, text colour, what the key calls it; fills differ in lightness as well
    "untouched": (None, None, "black", None),
    "corrupted": ("0.85", None, "black", "corrupted"),
    "recovered": ("#0072B2", None, "white", "recovered"),
    "failed": ("#F5B97F", "#D55E00", "black", "not recovered"),
    "unstable": (None, "black", "black", "untouched, yet changed"),
}


def draw_text(figure, table):
    """Draw the sequences of ``table`` (a row a token): a row of panels per n, columns train and test."""
    many, sets = sorted(table["n"].unique()), [name for name in ("train", "test") if name in set(table["set"])]
    axes = figure.subplots(len(many), len(sets), squeeze=False)
    for row, n in zip(axes, many):
        for axis, name in zip(row, sets):
            part = table[(table["n"] == n) & (table["set"] == name)].sort_values("position")
            axis.set_title(f"n = {n:,}, {'training' if name == 'train' else 'unseen test'} sequence", loc="left",
                           fontsize=8)
            _draw_sequence(axis, part)
    keys = [Patch(facecolor=fill or "white", edgecolor=edge or fill, label=label)
            for fill, edge, _, label in _MARKS.values() if label]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8, frameon=False)


def _draw_sequence(axis, part):
    changed = part["original"] != part["perturbed"]
    right = part["original"] == part["restored"]
    kinds = {"original": ["untouched"] * len(part),
             "perturbed": ["corrupted" if c else "untouched" for c in changed],
             "restored": [{(True, True): "recovered", (True, False): "failed", (False, False): "unstable",
                           (False, True): "untouched"}[pair] for pair in zip(changed, right)]}
    line = 0
    for name in KEY["rows"]:
        axis.text(-1, line + 0.5, name, ha="right", va="center", fontsize=6.5, color="0.35")
        line = _draw_line(axis, part[name], kinds[name], line) + 1.4
    axis.set(xlim=(-10, WIDTH), ylim=(line, -0.3))
    axis.set_axis_off()


def _draw_line(axis, tokens, kinds, line):
    """Draw tokens from the left of ``line`` on, wrapping; returns the last line used."""
    column = 0
    for token, kind in zip(tokens, kinds):
        token = token.replace(" ", "\u00b7").replace("\n", "\u00b6") or "\u00d8"
        if column + len(token) > WIDTH:
            column, line = 0, line + 1.1
        fill, edge, color, _ = _MARKS[kind]
        if fill or edge:
            axis.add_patch(Rectangle((column, line), len(token), 1, facecolor=fill or "none", edgecolor=edge or "none",
                                     linewidth=0.8))
        for i, letter in enumerate(token):
            axis.text(column + i + 0.5, line + 0.55, letter, family="monospace", fontsize=6, ha="center", va="center",
                      color=color)
        column += len(token)
    return line
