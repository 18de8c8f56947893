"""Figure 3: examples of restored text, and the entropy of their tokens."""

import pandas as pd

from uddm_lib.figures._plotting import Figure, rows_of_corpus, rows_with, styled, unique
from uddm_lib.figures._text_panel import draw_examples, select_examples, text_height
from uddm_lib.figures.token_entropy import draw_token_histograms


@styled
def figure3(
    examples: pd.DataFrame,
    token_entropy: pd.DataFrame,
    corpus: str,
    size: str | None = None,
    auc: pd.DataFrame | None = None,
) -> Figure:
    """Text examples and token entropies at the smallest and the largest n (paper figure 3).

    Args:
        examples: as for :func:`text_examples`.
        token_entropy: as for :func:`token_histograms`.
        corpus: the corpus to draw.
        size: the model size; the largest by default (the last in the table).
        auc: as for :func:`token_histograms`.
    """
    token_entropy = rows_of_corpus(token_entropy, corpus, ["size", "n", "set"])
    size = size or unique(token_entropy, "size")[-1]
    token_entropy = rows_with(token_entropy, "size", size)
    examples = select_examples(examples, corpus, "stochastic", size)
    heights = 0.4 + text_height(examples), 1.2 + 1.4 * token_entropy["n"].nunique()
    figure = Figure(figsize=(9.2, sum(heights)), layout="constrained")
    figure.subfigures(2, 1, height_ratios=heights)
    upper, lower = figure.subfigs
    draw_examples(upper, examples, corpus, "A  ")
    draw_token_histograms(lower, token_entropy, auc)
    lower.suptitle("B  Conditional entropy of corrupted tokens", x=0.01, ha="left", fontsize=10)
    return figure


@styled
def text_examples(examples: pd.DataFrame, corpus: str, process: str) -> Figure:
    """Original, perturbed and restored text, each token colored by its outcome (figures 1, 3A).

    Args:
        examples: a row per token, with the columns ``corpus, size, n, set, process, level,
            position, original, perturbed, restored``. The level is the diffusion time
            (stochastic) or the share of corrupted tokens (greedy).
        corpus: the corpus to draw.
        process: ``stochastic`` or ``greedy``.
    """
    table = select_examples(examples, corpus, process)
    figure = Figure(figsize=(9.2, 0.4 + text_height(table)), layout="constrained")
    draw_examples(figure, table, corpus)
    return figure
