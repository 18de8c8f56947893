"""Captions: one for every picture that ships, with the numbers of its table."""

import inspect
import re

import pytest

from helpers.paths import ROOT
from helpers.tables import run_tables
from uddm_lib import figures
from uddm_lib.statistics import collect, transition

FOLDERS = ["desktop", "laptop"]
LARGEST = {
    "figure1",
    "figure3",
    "figure4",
    "figure9_stability",
}  # these show the largest size alone
ENDS = {"figure3", "figure9_stability", "figure12_token_entropy"}  # the smallest and the largest n


def tables(*seeds):
    return collect.figure_tables(run_tables(sequences=4, seeds=seeds))


ONE, THREE = tables(1), tables(1, 2, 3)


def numbers(text):
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\b", text)]


@pytest.fixture(scope="module", params=FOLDERS)
def shipped(request):
    """The pictures of a folder, as (figure, corpus, caption), and its tables."""
    folder = ROOT / "paper_figures" / request.param
    pictures = sorted(path.stem for path in folder.glob("*.png"))
    assert pictures == sorted(path.stem for path in folder.glob("*.txt"))
    captions = {name: (folder / f"{name}.txt").read_text(encoding="utf-8") for name in pictures}
    return captions, collect.read_figure_tables(folder)


def test_every_picture_that_ships_has_the_caption_of_its_tables(shipped):
    captions, of_folder = shipped
    assert len(captions) == 12 * of_folder["corpora"]["corpus"].nunique()
    assert captions == {name: figures.caption(name, of_folder) for name in captions}


def test_captions_name_the_n_the_sizes_and_the_trainings(shipped):
    captions, of_folder = shipped
    recovery, trainings = of_folder["figure2_recovery"], of_folder["figure2_trainings"]
    for name, caption in captions.items():
        figure, _, corpus = name.rpartition("_")
        rows = recovery[recovery["corpus"] == corpus]
        sizes, counts = list(rows["size"].unique()), sorted(rows["n"].unique())
        text = " ".join(caption.split())
        named, listed = re.search(r"Sizes? ([^;]+); n = ([^.]+)\.", text).groups()
        shown = sizes[-1:] if figure in LARGEST else sizes
        assert re.findall(r"\w+", named.replace(" and ", ",")) == shown
        assert numbers(listed) == (counts[:: len(counts) - 1] if figure in ENDS else counts)
        seeds = trainings[trainings["corpus"] == corpus]["seed"].unique()
        assert f"{len(seeds)} trainings" in text or f"seed {seeds.min()}" in text
        assert max(map(len, caption.splitlines())) <= 100 and "{" not in caption


def test_what_a_band_is_hangs_on_the_trainings():
    one, three = (" ".join(figures.caption("figure2_markov", t).split()) for t in (ONE, THREE))
    assert "A point is one training, on up to 4 sequences; so there are no bands." in one
    assert "A point is the mean of 3 trainings, each on up to 4 sequences. Bands:" in three
    assert "one training" in figures.caption("figure4_markov", ONE)
    assert "the tokens of 3 trainings" in figures.caption("figure3_markov", THREE)


def test_some_points_of_one_training():
    runs = {
        name: table.query("seed == 1 or n == 8") if "seed" in table else table
        for name, table in run_tables(sequences=4, seeds=(1, 2)).items()
    }
    text = " ".join(figures.caption("figure2_markov", collect.figure_tables(runs)).split())
    assert "the mean of 1 to 2 trainings" in text
    assert text.endswith("A point of one training has no band.")


def test_lines_of_a_known_source_are_named_where_they_are_drawn():
    networks = {
        name: table.query("denoiser == 'network'") if "denoiser" in table else table
        for name, table in ONE.items()
    }
    for figure in ("figure1", "figure2", "figure2_full", "figure5", "figure6_basins"):
        words = [" ".join(figures.caption(f"{figure}_markov", t).split()) for t in (ONE, networks)]
        assert ["the exact generalizer" in text for text in words] == [True, False], figure


def test_the_transition_has_the_threshold_of_the_caption():
    threshold = inspect.signature(transition.transition_intervals).parameters["threshold"].default
    assert f"falls below {threshold}" in " ".join(figures.caption("phase_markov", ONE).split())


@pytest.mark.parametrize("name", ["figure2_kjv", "figure7_markov", "figure2", "markov"])
def test_an_unknown_picture_is_named(name):
    with pytest.raises(ValueError, match=f"name='{name}' must be <figure>_<corpus>.*of markov"):
        figures.caption(name, ONE)
