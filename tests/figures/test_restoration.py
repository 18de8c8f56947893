import base64
import io

import pandas as pd
import pytest
from PIL import Image

from helpers.tables import run_tables
from uddm_lib import figures
from uddm_lib.figures._restoration_scenes import scenes
from uddm_lib.results import read_table
from uddm_lib.statistics import collect

ORIGINAL, PERTURBED = "ab cd", "xb cy"
CHANGES = {  # n -> (step, position, token): the memorizer writes "qrs t", the generalizer "ab cz"
    8: [(1, 1, "r"), (2, 0, "q"), (2, 2, "s"), (3, 3, " "), (3, 4, "t")],
    4096: [(2, 0, "a"), (4, 4, "z")],
}


@pytest.fixture(scope="module")
def table():
    rows = []
    for n, changes in CHANGES.items():
        for step, i, token in [(0, i, token) for i, token in enumerate(PERTURBED)] + changes:
            place = {"step": step, "t": 0.1 - step / 50, "position": i}
            texts = {"original": ORIGINAL[i], "nearest": "qrs t"[i], "token": token}
            rows.append({"corpus": "markov", "size": "nano", "n": n, "seed": 1, **place, **texts})
    return pd.DataFrame(rows)


def test_scenes_follow_the_tokens_and_count_them(table):
    film = scenes(table)
    assert [scene.phase for scene in film] == ["original", "corrupted", *["running"] * 4, "end"]
    assert film[1].caption == "2 of its 5 tokens, replaced at random"
    assert film[1].versions[8].kinds == ["corrupted", *["untouched"] * 3, "corrupted"]
    second = film[3]
    assert second.versions[4096].kinds == ["recovered", *["untouched"] * 3, "corrupted"]
    assert second.versions[8].kinds == ["failed", "unstable", "unstable", "untouched", "corrupted"]
    assert [scene.count(4096, "recovered") for scene in film[1:]] == [0, 0, 1, 1, 1, 1]
    assert all(scene.corrupted(8) == 2 for scene in film[1:])
    assert "".join(film[-1].versions[8].tokens) == "qrs\u00b7t"
    assert film[-1].caption == (
        "A wrote a training text over it; B kept it and brought back 1 of 2"
    )
    assert film[-1].seconds > 3


def test_what_never_moved_has_failed_only_at_the_end(table):
    still = table[table["step"] <= 1]
    *_, running, end = scenes(still)
    assert running.versions[4096].kinds[0] == "corrupted"
    assert end.versions[4096].kinds[0] == "failed"
    assert end.caption.startswith("A wrote over it;")


def test_a_text_without_its_start_is_refused(table):
    with pytest.raises(ValueError, match="step 0"):
        scenes(table[(table["step"] > 0) | (table["n"] == 8)])


def test_the_animation_has_a_frame_per_scene_repeats_and_is_the_same_again(table, tmp_path):
    recovery = collect.figure_tables(run_tables())["figure2_recovery"]
    frames = figures.restoration(table[table["step"] <= 2], recovery)
    end = frames[-1][0]
    shown = [text.get_text() for axis in end.axes for text in axis.texts]
    assert "recovered 1 of 2; untouched, yet changed 0 of 3" in shown
    points = [line.get_ydata()[0] for line in end.axes[-1].lines if line.get_marker() == "o"]
    assert points == [0, 0.5]
    few = [frames[0], frames[-1]]
    figures.save_gif(few, tmp_path, "one")
    figures.save_gif(few, tmp_path, "two")
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()
    with Image.open(tmp_path / "one.gif") as image:
        assert image.n_frames == 2 and image.info["loop"] == 0
        image.seek(1)
        assert image.info["duration"] == 1000 * frames[-1][1]
    with pytest.raises(ValueError, match="no frames"):
        figures.save_gif([], tmp_path, "none")


def test_other_models_get_no_names_no_curve_and_no_verdict(table):
    frames = figures.restoration(table)
    end = frames[-1][0]
    assert len(end.axes) == 4  # the page and three texts
    words = [text.get_text() for text in end.axes[0].texts]
    assert "8 training sequences" in words and "4,096 training sequences" in words
    assert "The end of the reverse process: t = 0" in words


def test_one_model_is_drawn_alone(table):
    start = figures.restoration(table[table["n"] == 8])[0][0]
    assert len(start.axes) == 3
    assert "A text that the model has not seen" in [t.get_text() for t in start.axes[0].texts]


def test_an_element_of_a_page_holds_the_animation(table):
    frames = figures.restoration(table)[-2:]
    element = figures.gif_element(frames, 'a "text"')
    assert element.startswith('<img alt="a &quot;text&quot;" src="data:image/gif;base64,')
    data = base64.b64decode(element.partition("base64,")[2].partition('"')[0])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "GIF" and image.n_frames == 2


def test_the_shipped_table_is_drawn():
    film = scenes(read_table("paper_figures/restoration.csv"))
    assert sorted(film[0].versions) == [16, 52640]
    assert film[-1].corrupted(16) == film[-1].corrupted(52640) > 0
