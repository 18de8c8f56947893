"""The figures, drawn from tables alone, in one style: the paper's here, those of notebook 1 in ``theory_figures``."""

from uddm_lib.figures._plotting import STYLE, save
from uddm_lib.figures.paper import (
    figure1,
    figure2,
    figure3,
    figure4,
    figure5,
    perplexity,
    recovery_against_time,
    text_examples,
    token_histograms,
    training_curve,
)

__all__ = [
    "STYLE",
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "figure5",
    "perplexity",
    "recovery_against_time",
    "save",
    "text_examples",
    "token_histograms",
    "training_curve",
]
