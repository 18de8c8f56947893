"""Captions of a sweep's pictures: what is drawn, which n, how many trainings, what a bar is.

The numbers come from the tables that a picture is drawn from.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from uddm_lib.figures._plotting import corpus_title, unique
from uddm_lib.figures._text_panel import select_examples
from uddm_lib.figures.figure2_recovery import time_shown
from uddm_lib.statistics.summary import of_denoiser

__all__ = ["caption"]


class _Picture(NamedTuple):
    """What is true of every picture of a kind.

    Attributes:
        table: the table that it is drawn from.
        name: with the paper's numbers.
        title: what it shows.
        drawn: what is drawn; names in braces are those of ``_fields``.
        spread: what its values are over, a key of ``_SPREADS``.
        largest: it shows the largest size alone.
    """

    table: str
    name: str
    title: str
    drawn: str
    spread: str
    largest: bool = False


_SETS = "Solid: training sequences; dashed: unseen test sequences."
_MARKS = "Gray: corrupted; blue: recovered; orange: not recovered; framed: untouched, yet changed."
_OUTCOMES = "Filled: tokens that came back; line: tokens that did not."
_PICTURES = {
    "figure1": _Picture(
        "figure1_basins",
        "Figure 1",
        "basins of attraction",
        "Greedy recovery of training (A) and of unseen test sequences (B) against the share of "
        "corrupted tokens, a curve for each n. Gray dots: random sequences.{limits} C: one "
        "sequence of each at the smallest and at the largest n, with {share:.0f} % of the tokens "
        f"corrupted (seed {{seed}}). {_MARKS}",
        "bars",
        largest=True,
    ),
    "figure6_basins": _Picture(
        "figure1_basins",
        "Figures 6 to 8",
        "basins of attraction of every size",
        "Greedy recovery of training (left) and of unseen test sequences (right) against the share "
        "of corrupted tokens, a curve for each n. Gray dots: random sequences.{limits}",
        "bars",
    ),
    "figure2": _Picture(
        "figure2_recovery",
        "Figure 2",
        "token recovery against n, the number of training sequences, at t = {t:g}",
        f"{_SETS}{{single}}{{limits}}",
        "bands",
    ),
    "figure2_full": _Picture(
        "figure2_recovery",
        "Figure 2 at every t",
        "token recovery against n, the number of training sequences",
        f"{_SETS} Gray dots: random sequences.{{limits}}",
        "bars",
    ),
    "phase": _Picture(
        "figure2_recovery",
        "Phase diagram",
        "training minus test recovery over n and t (beyond the paper)",
        "Orange points: the n at which the difference falls below 0.3. Dashed, if the map reaches "
        "it: where a memory of n random sequences condenses.",
        "cells",
    ),
    "figure3": _Picture(
        "figure3_token_entropy",
        "Figure 3",
        "restored text, and how sure the model was",
        "A: a training and an unseen test sequence for each n, restored from t = {time:g} (seed "
        f"{{seed}}). {_MARKS} "
        f"B: conditional entropy of corrupted tokens. {_OUTCOMES}",
        "tokens",
        largest=True,
    ),
    "figure12_token_entropy": _Picture(
        "figure3_token_entropy",
        "Figures 12 to 14",
        "conditional entropy of corrupted tokens",
        _OUTCOMES,
        "tokens",
    ),
    "figure9_stability": _Picture(
        "figure3_examples",
        "Figures 9 to 11",
        "what stays of unseen text",
        "One unseen test sequence, more and more corrupted, and restored each time: greedily in "
        f"the upper row, stochastically in the lower one. {_MARKS}",
        "text",
        largest=True,
    ),
    "figure4": _Picture(
        "figure4_sequence_entropy",
        "Figure 4",
        "conditional entropy of whole sequences",
        "Filled: training sequences; line: generated sequences. Each panel is an n.",
        "sequences",
        largest=True,
    ),
    "figure15_sequence_entropy": _Picture(
        "figure4_sequence_entropy",
        "Figures 15 to 17",
        "conditional entropy of whole sequences",
        "Filled: training sequences; orange: generated sequences; gray: unseen test sequences.",
        "sequences",
    ),
    "figure5": _Picture(
        "figure5_entropy",
        "Figure 5",
        "mean conditional entropy against n, the number of training sequences",
        "Solid: training sequences; dashed: generated sequences.{single}{generalizer}{gap}",
        "bands",
    ),
    "perplexity": _Picture(
        "perplexity",
        "Validation perplexity",
        "against n, the number of training sequences (an extra figure of the released code)",
        "Level lines: a uniform guess{source}.",
        "nelbo",
    ),
}
_ONE = "one training"
_SPREADS = {  # over several trainings; over one
    "bars": (
        "A point is the mean of {trainings}, each on up to {sequences} sequences. Bars: its 95 % "
        "interval over trainings and sequences.",
        "A point is one training, on up to {sequences} sequences. Bars: 95 % over the sequences.",
    ),
    "bands": (
        "A point is the mean of {trainings}, each on up to {sequences} sequences. Bands: its 95 % "
        "interval over trainings and sequences.{lone}",
        "A point is one training, on up to {sequences} sequences; so there are no bands.",
    ),
    "cells": (
        "A cell is the mean of {trainings}, each on up to {sequences} sequences. Bars: the 95 % "
        "interval of a point over trainings and sequences.",
        "A cell is one training, on up to {sequences} sequences. Bars: 95 % over the sequences.",
    ),
    "nelbo": (
        "A point is the perplexity at the mean NELBO of {trainings}. Bands: its 95 % interval over "
        "the trainings.{lone}",
        "A point is one training; so there are no bands.",
    ),
    "tokens": ("A histogram counts the tokens of {trainings}.",) * 2,
    "sequences": ("A histogram counts {counted} sequences of {trainings}.",) * 2,
    "text": ("Each n has one training (seed {seed}).",) * 2,
}


def caption(name: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """The caption of a picture: a title, then a paragraph, in lines of at most 100 characters.

    Args:
        name: of the picture, ``<figure>_<corpus>``, as notebook 05 saves it.
        tables: those of :func:`uddm_lib.statistics.collect.figure_tables`.

    Raises:
        ValueError: if there is no such figure, or the tables have no such corpus.
    """
    corpora = unique(tables["corpora"], "corpus")
    named = {c: name.removesuffix(f"_{c}") for c in corpora if name.endswith(f"_{c}")}
    known = {corpus: kind for corpus, kind in named.items() if kind in _PICTURES}
    if not known:
        raise ValueError(
            f"name={name!r} must be <figure>_<corpus>, with a figure of {', '.join(_PICTURES)} "
            f"and a corpus of {', '.join(corpora)}"
        )
    ((corpus, kind),) = known.items()
    picture = _PICTURES[kind]
    fields = _fields(picture, corpus, tables)
    spread = _SPREADS[picture.spread][fields["trainings"] == _ONE]
    title = f"{picture.name}, {{corpus}}: {picture.title}."
    text = f"{{sizes}}; n = {{n}}. {picture.drawn} {spread}"
    parts = (part.format(**fields) for part in (title, text))
    return "\n\n".join(textwrap.fill(part, 100, break_on_hyphens=False) for part in parts) + "\n"


def _fields(picture: _Picture, corpus: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What the sentences of a picture say of the corpus's tables."""
    rows = {name: table[table["corpus"] == corpus] for name, table in tables.items()}
    table = rows[picture.table]
    sizes = unique(table, "size")[-1:] if picture.largest else unique(table, "size")
    table = table[table["size"].isin(sizes)]
    # Histograms don't tell their trainings; exact limits have none.
    means = table if "seeds" in table else rows["figure5_entropy"]
    seeds = (of_denoiser(means) if "denoiser" in means else means)["seeds"]
    fewest, most = (max(1, int(count)) for count in (seeds.min(), seeds.max()))
    fields = {
        "corpus": corpus_title(corpus),
        "sizes": f"{'Sizes' if len(sizes) > 1 else 'Size'} {_listed(sizes)}",
        "n": _listed([f"{n:,}" for n in sorted(table["n"].unique())]),
        "trainings": _ONE if most == 1 else f"{_range(fewest, most)} trainings",
        "single": " Thin: single trainings." if len(sizes) == 1 < most else "",
        "gap": " Lower panel: generated minus training." if len(rows["entropy_gap"]) else "",
        "lone": " A point of one training has no band." if fewest == 1 else "",
        **_known_source(table, rows["corpora"]),
        **_examples(rows["figure3_examples"], corpus),
    }
    if "t" in table:
        fields["t"] = time_shown(table)
    if "sequences" in table:
        each = table["sequences"] / table["seeds"].clip(lower=1)
        fields["sequences"] = f"{int(each.max()):,}"
    if "count" in table:
        counts = table.groupby(["size", "n", "set"])["count"].sum()
        fields["counted"] = _range(int(counts.min()), int(counts.max()))
    return fields


def _known_source(table: pd.DataFrame, corpora: pd.DataFrame) -> dict[str, str]:
    """Sentences on lines that need a known source; empty without it."""
    limits = [] if "denoiser" not in table else unique(table, "denoiser")
    both = "memorizer" in limits and "generalizer" in limits
    return {
        "limits": " Thin lines: the exact memorizer and the exact generalizer." if both else "",
        "generalizer": " Gray: the exact generalizer." if "generalizer" in limits else "",
        "source": ", and the source" if corpora["entropy"].notna().any() else "",
    }


def _examples(examples: pd.DataFrame, corpus: str) -> dict[str, Any]:
    """The training that restored the text, and from which share and time in the middle."""
    fields = {"seed": examples["seed"].min()}
    for process, name in (("greedy", "share"), ("stochastic", "time")):
        if (examples["process"] == process).any():
            fields[name] = select_examples(examples, corpus, process)["level"].iloc[0]
    if "share" in fields:
        fields["share"] *= 100
    return fields


def _range(fewest: int, most: int) -> str:
    return f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _listed(words: Sequence[str]) -> str:
    """Words with commas, and "and" before the last."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
