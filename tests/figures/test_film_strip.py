import math

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from uddm_lib import figures
from uddm_lib.figures._plotting import BLUE, PINK
from uddm_lib.figures.film_strip import film_strip

STATES = {  # n -> t -> tokens; the text is "ab cd", perturbed to "xb cy"
    8: {0.5: "xb cy", 0.2: "xq cy", 0.0: "xq cz"},
    4096: {0.5: "xb cy", 0.2: "ab cy", 0.0: "ab cy"},
}


def table(repeats=1, corpus="markov"):
    rows = []
    for n, states in STATES.items():
        for t, tokens in states.items():
            for i, token in enumerate(tokens * repeats):
                original, perturbed = "ab cd"[i % 5], "xb cy"[i % 5]
                place = {"t": t, "position": i, "entropy": math.log(8) if n > 8 else 0.0}
                place |= {"original": original, "token": token, "right": token == original}
                place |= {"corrupted": original != perturbed, "moved": token != perturbed}
                rows.append({"corpus": corpus, "size": "nano", "n": n, "seed": 1, **place})
    return pd.DataFrame(rows)


def fills(axis):
    return [to_hex(patch.get_facecolor()) for patch in axis.patches if isinstance(patch, Rectangle)]


def test_a_strip_counts_and_colors_what_became_of_the_tokens():
    figure = film_strip(table(), "markov")
    few, many = figure.axes
    assert few.get_title(loc="left") == (
        "nano, n = 8: 0 of 2 corrupted tokens recovered, 1 of 3 untouched ones changed"
    )
    assert many.get_title(loc="left") == (
        "nano, n = 4,096: 1 of 2 corrupted tokens recovered, 0 of 3 untouched ones changed"
    )
    assert fills(many).count(BLUE.lower()) == 2 and BLUE.lower() not in fills(few)
    rows = [text.get_text() for text in many.texts if text.get_ha() == "right"]
    assert rows == ["original", "t = 0.5", "t = 0.2", "t = 0"]


def test_what_has_not_moved_is_gray_until_the_end():
    colors = fills(film_strip(table(), "markov").axes[1])
    assert colors.count(to_hex("0.85")) == 3  # two at the start, one later, none at the end


def test_entropy_is_a_color_and_a_frame_marks_what_differs():
    figure = film_strip(table(), "markov", "entropy", vocab_size=8)
    few, many, bar = figure.axes
    assert set(fills(few)) == {"#ffffff"} and set(fills(many)) == {PINK.lower()}
    framed = [patch for patch in many.patches if patch.get_edgecolor()[3] > 0]
    assert len(framed) == 2 + 1 + 1
    assert bar.get_xlim() == (0, math.log(8))


def test_columns_without_room_are_left_out_and_counted():
    figure = film_strip(table(repeats=30), "markov")
    assert "of 150 tokens" in figure._suptitle.get_text()
    assert "30 of 60 corrupted tokens" in figure.axes[1].get_title(loc="left")


def test_one_model_makes_one_strip():
    one = table()
    assert len(figures.film_strip(one[one["n"] == 8], "markov").axes) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"color": "rainbow"}, "color='rainbow' is not allowed; it must be one of outcome"),
        ({"color": "entropy"}, "vocab_size=None is not allowed with color='entropy'"),
    ],
)
def test_unknown_colors_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        film_strip(table(), "markov", **options)
