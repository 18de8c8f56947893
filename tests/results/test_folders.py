"""Run folders: names, parameters, refusals."""

import pytest

from uddm_lib.results import open_run, read_run, run_name


def test_run_names():
    assert run_name("markov", "pico", 16) == "markov-pico-n000016-s1"
    assert run_name("kjv", "micro", "all", 3) == "kjv-micro-nall-s3"
    assert run_name("text:/some/book.txt", "nano", 3) == "text-some-book.txt-nano-n000003-s1"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("n", [0, -1, 1.5, True, "many", "16", None])
def test_run_names_need_a_positive_n_or_all(n):
    with pytest.raises(ValueError, match=f"n={n!r} is not a positive integer or 'all'"):
        run_name("markov", "pico", n)


def test_run_folder_is_entered_again_with_the_same_parameters(tmp_path):
    parameters = {"n": 64, "levels": (0.1, 0.2), "nested": {"a": None}}
    folder = open_run(tmp_path / "run", parameters)
    assert read_run(folder) == {"n": 64, "levels": [0.1, 0.2], "nested": {"a": None}}
    before = (folder / "run.json").read_bytes()
    assert open_run(folder, parameters) == folder
    assert (folder / "run.json").read_bytes() == before


def test_results_of_other_parameters_are_not_mixed(tmp_path):
    folder = open_run(tmp_path / "run", {"n": 64, "steps": 10, "old": None})
    before = (folder / "run.json").read_bytes()
    with pytest.raises(ValueError) as error:
        open_run(folder, {"n": 128, "steps": 10, "new": "x"})
    for difference in (
        "n 64 there, 128 requested",
        "old None there, not set requested",
        "new not set there, 'x' requested",
    ):
        assert difference in str(error.value)
    assert "steps" not in str(error.value)
    assert (folder / "run.json").read_bytes() == before


def test_what_is_no_run_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"parameters": {"n"')
    with pytest.raises(ValueError, match="run.json"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match="run.json"):
        open_run(tmp_path, {"n": 1})
