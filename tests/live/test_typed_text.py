"""The widget of notebook 3 without a browser: its fields are set, and what it shows is read."""

import importlib.util
import io

import matplotlib.figure
import pytest
import torch

from uddm_lib import experiments
from uddm_lib.live import typed_text

TEXT = "ABCABCAB"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of three steps each."""
    parameters = {"corpus": "markov", "length": 8, "vocab_size": 8, "size": "pico", "n": [4, 12]}
    parameters |= {"steps": 3, "batch_size": 4, "warmup_steps": 0}
    folder = tmp_path_factory.mktemp("runs")
    return experiments.train_runs(experiments.prepare_runs(parameters), folder)


def shown(figure):
    """The words of a picture: titles of its strips, and all letters."""
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]
    return titles, "".join(text.get_text() for axis in figure.axes for text in axis.texts)


def test_the_fields_choose_what_is_drawn(runs):
    *fields, message, picture = typed_text.view(runs, TEXT, 0.5, 1, interactive=True).children
    assert [field.description for field in fields] == ["text", "model", "t", "seed"]
    chosen = [TEXT, runs, 0.5, 1]
    changes = ["HGFEDCBA", [runs[1]], 0.9, 2]
    for place, value in [(0, TEXT), *enumerate(changes)]:
        chosen[place] = fields[place].value = value
        text, models, t, seed = chosen
        buffer = io.BytesIO()
        typed_text.restored_text(models, text, t, seed).savefig(buffer, format="png")
        assert picture.value == buffer.getvalue()
    fields[0].value = "b c!"
    assert message.value.startswith("text='b c!' has a character that the corpus lacks")
    assert picture.value == buffer.getvalue()  # the last that could be drawn
    fields[0].value = TEXT
    assert message.value == ""


def test_the_picture_shows_the_text_for_every_model(runs):
    titles, letters = shown(typed_text.restored_text(runs, TEXT, 0.5, 1))
    assert [title.partition(":")[0] for title in titles] == ["pico, n = 4", "pico, n = 12"]
    assert letters.count(f"original{TEXT}t = 0.5") == 2


@pytest.mark.parametrize("interactive, installed", [(False, True), (True, False)])
def test_without_a_person_or_ipywidgets_it_is_a_picture(runs, monkeypatch, interactive, installed):
    if not installed:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    view = typed_text.view(runs, TEXT, 0.5, 1, interactive)
    assert isinstance(view, matplotlib.figure.Figure)
    assert len(shown(view)[0]) == 2


def test_a_text_is_filled_up_or_cut_and_the_run_keeps_its_own():
    run = experiments.load_run("runs/pretrained/kjv-nano-n000016-s1", "cpu")
    unseen = run.test.clone()
    for text in ("And God said", "In the beginning God created the heaven" * 3):
        x = typed_text.tokens_of_text(run, text)
        ids = run.tokenizer(text, add_special_tokens=False).input_ids
        filled = [*ids, run.tokenizer.eos_token_id, *unseen[-1, run.scored].tolist()]
        assert x.shape == (1, run.model.length)
        assert x[0, run.scored].tolist() == filled[: int(run.scored.sum())]
        assert torch.equal(x[0, ~run.scored], unseen[-1, ~run.scored])
    assert torch.equal(run.test, unseen)
