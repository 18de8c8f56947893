"""The command ``reproduce``: a derived sweep beside the first, and the report."""

import shutil

import pandas as pd
import pytest

from helpers.fake_sweep import NOTEBOOKS, PROFILE, finish, start, write_checkout
from helpers.paths import ROOT
from uddm_lib.__main__ import main
from uddm_lib.results import write_table
from uddm_lib.sweep import paths, reproduce, runner
from uddm_lib.sweep.jobs import jobs_of
from uddm_lib.sweep.profiles import SweepError, read_profile


def table(mean=0.5, count=10):
    columns = {"n": range(count), "mean": mean, "low": 0.4, "high": 0.6, "seeds": 3}
    return pd.DataFrame(columns)


def claims(verdict="holds"):
    columns = {"corpus": "kjv", "size": "nano", "name": "apart", "verdict": verdict}
    return pd.DataFrame([columns])


@pytest.fixture
def committed(checkout, monkeypatch):
    """The checkout with figures of the profile ``tiny``, as the root of the command."""
    monkeypatch.setattr(paths, "repository_root", lambda: checkout)
    for name, frame in {"figure2": table(), "claims": claims()}.items():
        write_table(frame, checkout / "paper_figures" / "tiny" / f"{name}.csv", {})
    return checkout


def other(folder, **tables):
    for name, frame in tables.items():
        write_table(frame, folder / f"{name}.csv", {})
    return str(folder)


def test_a_derived_profile_differs_in_what_was_asked(checkout):
    content = reproduce.derived(PROFILE, [4, 5], "fp32")
    assert PROFILE["assert_claims"] and content["assert_claims"] == []
    (experiment,) = content["experiments"]
    assert experiment["seeds"] == [4, 5] and "seeds" not in PROFILE["experiments"][0]
    assert experiment["training"] == {"steps": 3, "precision": "fp32"}
    assert experiment["entropy"] == {"precision": "fp32"}
    path = reproduce.write_derived("tiny", "tiny-again", checkout, [4, 5], None)
    assert path == checkout / "runs" / "tiny-again" / "profile.yaml"
    places = {target.split("/")[1] for target in jobs_of("tiny-again", checkout)}
    assert places == {"tiny-again"}


def test_a_derived_profile_replaces_no_other(checkout):
    for _ in range(2):
        reproduce.write_derived("tiny", "tiny-again", checkout, [4], None)
    with pytest.raises(SweepError, match="runs/tiny-again holds a sweep with other parameters"):
        reproduce.write_derived("tiny", "tiny-again", checkout, [5], None)
    assert read_profile("tiny-again", checkout)["experiments"][0]["seeds"] == [4]
    for name in ("tiny", "../tiny"):
        with pytest.raises(SweepError, match="must be the name of a new folder"):
            reproduce.write_derived("tiny", name, checkout, None, None)


def test_a_comparison_alone(committed, tmp_path, capsys):
    folder = other(tmp_path / "new", figure2=table(0.55, 11), claims=claims())
    assert main(["reproduce", "tiny", "--compare", folder]) == 0
    text = capsys.readouterr().out
    assert "Points that only the new sweep has: 1" in text and "farthest" not in text
    assert "Claims that turned from one verdict to the other: 0" in text
    assert text.splitlines()[-1] == (
        "reproduced: 100.0% of 10 points inside the bands of a second sweep, at least 90% asked"
    )


def test_too_few_points_inside(committed, tmp_path, capsys):
    moved = table().assign(mean=[0.5] * 8 + [0.62, 0.7])
    folder = other(tmp_path / "new", figure2=moved)
    assert main(["reproduce", "tiny", "--compare", folder, "--share", "0.95"]) == 1
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines()]
    assert ["all", "10", "0.8", "0.9"] in rows
    worst = [row for row in rows if row[:1] == ["figure2"] and len(row) == 7]
    assert [row[1] for row in worst] == ["9", "8"] and worst[0][-1] == "0.5"
    assert "not reproduced: 90.0% of 10" in text and "of one training" not in text
    assert main(["reproduce", "tiny", "--compare", folder, "--share", "0.9"]) == 0


def test_a_verdict_that_turns_is_no_reproduction(committed, tmp_path, capsys):
    write_table(table().assign(seeds=1), committed / "paper_figures" / "tiny" / "figure2.csv", {})
    folder = other(tmp_path / "new", figure2=table(), claims=claims("does not hold"))
    assert main(["reproduce", "tiny", "--compare", folder]) == 1
    text = capsys.readouterr().out
    assert "not reproduced: 100.0% of 10" in text and "Each point is of one training" in text


@pytest.mark.parametrize(
    "words, message",
    [
        (["--share", "2"], "--share 2 is outside [0, 1]"),
        (["--compare", "nowhere"], "nowhere holds no tables of figures (*.csv)"),
    ],
)
def test_bad_options_are_named(committed, capsys, words, message):
    assert main(["reproduce", "tiny", *words]) == 2
    assert message in capsys.readouterr().err


def test_seeds_are_a_list_of_integers(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["reproduce", "tiny", "--seeds", "4;5"])
    assert "'4;5' is no list of integers such as 4,5,6" in capsys.readouterr().err


def test_nothing_runs_without_figures_to_compare_with(committed, capsys, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda options: pytest.fail("a sweep began"))
    shutil.rmtree(committed / "paper_figures")
    assert main(["reproduce", "tiny"]) == 2
    assert "paper_figures/tiny holds no tables" in capsys.readouterr().err
    assert main(["reproduce", "tinny"]) == 2
    assert "no profile 'tinny'" in capsys.readouterr().err


def test_sweeps_without_a_point_in_common(committed, tmp_path, capsys):
    folder = other(tmp_path / "new", figure2=table().assign(n=99).head(1))
    assert main(["reproduce", "tiny", "--compare", folder]) == 2
    assert "the two sweeps have no points in common" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_is_run_again_beside_the_first(tmp_path):
    draw = (
        "import pandas as pd\nfrom uddm_lib.results import write_table\n"
        "point = {'n': [1], 'mean': [0.5], 'low': [0.4], 'high': [0.6]}\n"
        "write_table(pd.DataFrame(point), f'{output}/figure2.csv', {})"
    )
    notebooks = NOTEBOOKS | {"05_scaling": [*NOTEBOOKS["05_scaling"], draw]}
    write_checkout(tmp_path, notebooks)
    package = ROOT / "uddm_lib" / "statistics"
    shutil.copytree(package, tmp_path / "uddm_lib" / "statistics")
    options = ("--cores", "2", "--threads", "1")
    text, status = finish(start(tmp_path, "-m", "uddm_lib", "sweep", "tiny", *options))
    assert status == 0, text
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/tiny/**/*")}
    command = ("-m", "uddm_lib", "reproduce", "tiny", "--seeds", "2,3", *options)
    for repeated in (False, True):
        text, status = finish(start(tmp_path, *command))
        assert status == 0, text
        assert "\nreproduced: 100.0% of 1 points" in text
        assert ("nothing to do" in text) == repeated
    assert (tmp_path / "runs" / "tiny-reproduced" / "markov-pico-n000002-s3" / "run.json").exists()
    assert first == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/tiny/**/*")}
