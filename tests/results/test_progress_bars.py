"""Progress: on the screen when enabled, else in a file when a runner wants one."""

import json

from uddm_lib.results import progress


def test_progress_is_silent_unless_enabled(capfd, monkeypatch):
    monkeypatch.delenv("UDDM_PROGRESS", raising=False)
    assert list(progress(range(3))) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    assert list(progress(range(3), description="training", enabled=True)) == [0, 1, 2]
    assert "training" in capfd.readouterr().err


def test_progress_file_says_how_far_it_is(capfd, monkeypatch, tmp_path):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("UDDM_PROGRESS", str(path))
    bar = progress(iter(range(4)), total=4, description="training")
    next(iter(bar))
    assert json.loads(path.read_text()) == {
        "description": "training",
        "done": 0,
        "total": 4,
        "seconds_left": None,
    }
    bar.close()
    assert list(progress(range(4), description="recovery")) == [0, 1, 2, 3]
    state = json.loads(path.read_text())
    assert (state["description"], state["done"], state["total"]) == ("recovery", 4, 4)
    assert capfd.readouterr() == ("", "")


def test_lost_progress_file_does_not_stop_the_work(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UDDM_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert list(progress(range(3))) == [0, 1, 2]


def test_progress_without_an_iterable_is_counted_by_hand(monkeypatch, tmp_path):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("UDDM_PROGRESS", str(path))
    with progress(total=5, description="generation") as bar:
        bar.update(2)
        bar.update(3)
    assert json.loads(path.read_text())["done"] == 5
