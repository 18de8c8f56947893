"""Figures 9 to 11: what stays of unseen text as more and more of it is perturbed."""

import pandas as pd

from uddm_lib.figures._plotting import Figure, add_title, rows_of_corpus, styled, unique
from uddm_lib.figures._text_panel import (
    TextPanel,
    Version,
    all_levels,
    draw_panels,
    panels_height,
    versions,
)

_MOST_BLOCKS = 2  # lines of text that are shown of a sequence


@styled
def figure9_stability(examples: pd.DataFrame, corpus: str, size: str | None = None) -> Figure:
    """One unseen sequence, perturbed at several levels and restored (paper figures 9 to 11).

    Rows are the processes, columns the smallest and the largest n. The title of a panel counts the
    untouched tokens of the whole sequence that the process changed, level by level.

    Args:
        examples: as for :func:`text_examples`, with one or more levels for each process.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).

    Raises:
        ValueError: if a column, the corpus or the size is missing.
    """
    present = set(rows_of_corpus(examples, corpus, ["process"])["process"])
    rows = []
    for process in [name for name in ("greedy", "stochastic") if name in present]:
        table = all_levels(examples, corpus, process, size)
        table = table[table["set"] == "test"].sort_values("position")
        ends = sorted({table["n"].min(), table["n"].max()})
        rows.append([_panel(table[table["n"] == n], process) for n in ends])
        size = unique(table, "size")[0]
    figure = Figure(figsize=(9.2, 0.4 + panels_height(rows)), layout="constrained")
    draw_panels(figure, rows)
    add_title(figure, f"Stability of unseen text, {size}", corpus)
    return figure


def _panel(table: pd.DataFrame, process: str) -> TextPanel:
    """The sequence as it was, then perturbed and restored at each level."""
    rows: list[Version] = []
    changed = []
    for level, sequence in table.groupby("level"):
        name = f"{level:.0%}" if process == "greedy" else f"t = {level:g}"
        found = versions(sequence, ("original", name, "restored"))
        rows += found if not rows else found[1:]
        kept = [kind for kind in found[2].kinds if kind in ("untouched", "unstable")]
        changed.append(f"{kept.count('unstable')} of {len(kept)}")
    n = table["n"].iloc[0]
    title = f"n = {n:,}, {process}; changed: {', '.join(changed)}"
    return TextPanel(title, rows, _MOST_BLOCKS)
