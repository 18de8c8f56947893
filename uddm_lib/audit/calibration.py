"""From a model's measures to probabilities of the regimes, calibrated on models of eight sources.

The table beside this module has their measures; ``benchmarks/calibration.py`` made it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = [
    "CONFIDENT",
    "FILE",
    "GENERALIZING",
    "MEMORIZING",
    "REGIMES",
    "TRANSITION",
    "calibration_error",
    "judged",
    "labelled",
    "probabilities",
    "verdicts",
    "with_regime",
]

FILE = Path(__file__).with_name("calibration.csv")
# By token recovery at t = 0.1, of training minus unseen sequences. Fixed before the models were
# trained, as was CONFIDENT.
GENERALIZES, MEMORIZES = 0.1, 0.4
GENERALIZING, TRANSITION, MEMORIZING = REGIMES = ("generalizing", "in transition", "memorizing")
# Token recovery of training sequences below which a training has failed; set when one had.
LEARNED = 0.2
CONFIDENT = 0.7  # probability below which there is no verdict
# Chosen on five of the eight sources, before the others were trained. Entropies are not among them:
# what is low for one source is high for another, and with them more models were judged wrong.
WITHOUT_DATA = ["overconfidence", "twins"]
WITH_UNSEEN = [*WITHOUT_DATA, "unseen_overconfidence"]
REGULARIZATION = 10.0  # C of scikit-learn; chosen as the features were


def labelled(count: int) -> pd.DataFrame:
    """The calibration's models, measured on ``count`` generated sequences: a row a model.

    Columns are those of the file, ``gap`` (of token recovery) and ``regime``. Models whose training
    failed are left out.
    """
    table = pd.read_csv(FILE)
    return with_regime(table[table["count"] == count].reset_index(drop=True))


def with_regime(table: pd.DataFrame) -> pd.DataFrame:
    """Models with their ``gap`` and ``regime``, but those whose training failed.

    Args:
        table: with the columns ``recovery_train`` and ``recovery_test``, at t = 0.1.
    """
    table = table[table["recovery_train"] >= LEARNED].reset_index(drop=True)
    gap = table["recovery_train"] - table["recovery_test"]
    regime = np.select([gap < GENERALIZES, gap > MEMORIZES], [GENERALIZING, MEMORIZING], TRANSITION)
    return table.assign(gap=gap, regime=regime)


def probabilities(
    measured: pd.DataFrame, models: pd.DataFrame, unseen: bool = False
) -> pd.DataFrame:
    """Probability of each regime, by a logistic regression on the standardized features.

    Args:
        measured: the features of the models in question, a row a model.
        models: those to learn from, as :func:`labelled` gives them.
        unseen: whether ``unseen_overconfidence`` is a feature, too.

    Returns:
        A row a model and a column a regime.
    """
    features = WITH_UNSEEN if unseen else WITHOUT_DATA
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=REGULARIZATION))
    classifier.fit(models[features].to_numpy(), models["regime"])
    values = classifier.predict_proba(measured[features].to_numpy())
    table = pd.DataFrame(values, measured.index, classifier.classes_)
    return table.reindex(columns=REGIMES, fill_value=0.0)


def judged(models: pd.DataFrame, unseen: bool = False) -> pd.DataFrame:
    """Probabilities of the calibration's models, each from models of the other sources alone."""
    parts = [
        probabilities(group, models[models["source"] != source], unseen)
        for source, group in models.groupby("source")
    ]
    return pd.concat(parts).loc[models.index]


def verdicts(table: pd.DataFrame) -> pd.Series:
    """The likeliest regime, or ``cannot say`` where its probability is below 0.7."""
    return table.idxmax(axis=1).where(table.max(axis=1) >= CONFIDENT, "cannot say")


def calibration_error(table: pd.DataFrame, regimes: pd.Series, bins: int = 5) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over equal bins."""
    confidence = table.max(axis=1).to_numpy()
    right = table.idxmax(axis=1).to_numpy() == regimes.to_numpy()
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    distances = [abs(confidence[p].mean() - right[p].mean()) * len(p) for p in parts if len(p)]
    return float(sum(distances) / len(table))
