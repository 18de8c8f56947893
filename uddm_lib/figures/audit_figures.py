"""What an audit finds: a model among those of the calibration, and scores of texts."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from uddm_lib.figures._plotting import BLUE, GRAY, GREEN, ORANGE, Figure, panels, styled
from uddm_lib.statistics.summary import require_columns

__all__ = ["regime_measures", "score_distributions"]

BINS = 30  # of a histogram of scores
COLORS = {"memorizing": BLUE, "in transition": GREEN, "generalizing": ORANGE}
LABELS = {
    "overconfidence": "overconfidence,\nown sequences",
    "twins": "share of sequences\nwith a twin",
    "unseen_overconfidence": "overconfidence,\nunseen text",
}


@styled
def regime_measures(models: pd.DataFrame, measured: Mapping[str, float]) -> Figure:
    """Draw a model's measures as lines over those of the calibration's models, a panel a measure.

    Args:
        models: a row a model, with the column ``regime`` and one a measure.
        measured: the model's own: any of ``overconfidence``, ``twins``, ``unseen_overconfidence``.
    """
    require_columns(models, ["regime", *measured])
    figure, axes = panels(1, len(measured), (1.7, 1.5), sharey=True)
    for axis, (feature, value) in zip(axes[0], measured.items()):
        _strip(axis, models, feature, value)
        axis.set_xlabel(LABELS[feature])
    axes[0, 0].set_yticks(range(len(COLORS)), [*COLORS])
    return figure


def _strip(axis: Axes, models: pd.DataFrame, feature: str, value: float) -> None:
    generator = np.random.default_rng(0)  # points of equal values should not hide each other
    for row, (regime, color) in enumerate(COLORS.items()):
        values = models.loc[models["regime"] == regime, feature]
        heights = row + generator.uniform(-0.25, 0.25, len(values))
        axis.plot(values, heights, "o", color=color, alpha=0.6, markeredgewidth=0)
    axis.axvline(value, color=GRAY, linewidth=2)
    axis.set_xlim(-0.05, 1.05)


@styled
def score_distributions(texts: pd.DataFrame, unseen: pd.DataFrame, score: str = "log_p") -> Figure:
    """Draw the histograms of a score of texts and of unseen texts, as shares of each.

    Args:
        texts: a row a text, with the column ``score``.
        unseen: the same of the reference.
        score: a column's name.
    """
    for table in (texts, unseen):
        require_columns(table, [score])
    edges = np.histogram_bin_edges(np.concatenate([texts[score], unseen[score]]), BINS)
    figure, axes = panels(1, 1, (4.0, 1.8))
    axis = axes[0, 0]
    for table, color, label in ((unseen, ORANGE, "unseen texts"), (texts, BLUE, "texts")):
        weights = np.full(len(table), 1 / len(table))
        axis.hist(
            table[score], edges, weights=weights, color=color, alpha=0.6,
            label=f"{label} ({len(table)})",
        )  # fmt: skip
    known = score.endswith("log_p")  # other scores have other units
    axis.set_xlabel("mean log-probability of a token (nats)" if known else score)
    axis.set_ylabel("share")
    axis.legend()
    return figure
