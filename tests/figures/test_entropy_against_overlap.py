import pandas as pd
import pytest

from uddm_lib import figures

GENERATED = pd.DataFrame(
    {
        "corpus": "markov",
        "size": ["pico"] * 3 + ["nano"] * 2,
        "n": [8, 8, 64, 8, 64],
        "overlap": [1.0, 0.5, 0.2, 1.0, 0.3],
        "nats": [0.0, 0.1, 0.9, 0.0, 0.8],
    }
)


def test_every_generated_sequence_is_a_point():
    figure = figures.entropy_against_overlap(GENERATED, "markov")
    assert [axis.get_title() for axis in figure.axes] == ["pico", "nano"]
    points = [marks.get_offsets().tolist() for marks in figure.axes[0].collections]
    assert points == [[[1.0, 0.0], [0.5, 0.1]], [[0.2, 0.9]]]
    colors = [tuple(marks.get_facecolor()[0][:3]) for marks in figure.axes[0].collections]
    assert len(set(colors)) == 2


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="nats"):
        figures.entropy_against_overlap(GENERATED.drop(columns="nats"), "markov")
