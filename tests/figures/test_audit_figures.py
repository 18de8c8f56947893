"""The figures of the audit draw what they are given."""

import numpy as np
import pandas as pd
import pytest

from uddm_lib import figures


def test_a_model_among_those_of_the_calibration():
    models = pd.DataFrame(
        {
            "regime": ["memorizing", "memorizing", "generalizing"],
            "twins": [1.0, 0.8, 0.0],
            "unseen_overconfidence": [1.0, 0.9, 0.0],
        }
    )
    figure = figures.regime_measures(models, {"twins": 0.5, "unseen_overconfidence": 0.3})
    first, second = figure.axes
    assert [line.get_xdata().tolist() for line in first.lines[:3]] == [[1.0, 0.8], [], [0.0]]
    assert set(first.lines[3].get_xdata()) == {0.5} and set(second.lines[3].get_xdata()) == {0.3}
    assert [tick.get_text() for tick in first.get_yticklabels()] == [
        "memorizing",
        "in transition",
        "generalizing",
    ]
    with pytest.raises(ValueError, match="no column overconfidence"):
        figures.regime_measures(models, {"overconfidence": 0.5})


def test_scores_of_texts_and_of_unseen_ones():
    texts, unseen = pd.DataFrame({"log_p": [-1.0, -2.0]}), pd.DataFrame({"log_p": np.arange(-9, 0)})
    (axis,) = figures.score_distributions(texts, unseen).axes
    heights = np.array([patch.get_height() for patch in axis.patches])
    assert heights.sum() == pytest.approx(2)  # shares of each
    assert axis.get_xlabel() == "mean log-probability of a token (nats)"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "unseen texts (9)",
        "texts (2)",
    ]
    others = [table.rename(columns={"log_p": "recovery"}) for table in (texts, unseen)]
    assert figures.score_distributions(*others, "recovery").axes[0].get_xlabel() == "recovery"
