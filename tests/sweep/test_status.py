"""What is done and what is left, from records that each job keeps for itself."""

import time

import pytest

from helpers.fake_sweep import profile_with, write_profile
from uddm_lib.results import package_digest
from uddm_lib.sweep import status
from uddm_lib.sweep.jobs import jobs_of

TRAINING = ["training", "markov", "pico"]


@pytest.fixture
def folder(checkout):
    """The folder of profile tiny, whose sweep has just started."""
    path = checkout / "runs" / "tiny"
    status.write_sweep(path, jobs_of("tiny", checkout), workers=2)
    return path


def end(folder, target, kind, state, seconds):
    status.write_record(folder, target, kind, state, [package_digest()], seconds)


def test_time_left_is_that_of_jobs_of_the_same_kind(folder, checkout):
    theory, first, *_ = jobs_of("tiny", checkout)
    assert status.progress(folder) == (0, 8, None)  # nothing is known yet
    assert status.opening_line(folder) == "tiny: notebooks to run: 8, 2 at a time"

    end(folder, theory, ["theory"], "done", 4.0)
    assert status.progress(folder) == (1, 8, 7 * 4 / 2)  # the mean of all
    gone = "runs/tiny/gone/02_training.ipynb"  # a run that is no longer listed
    end(folder, gone, TRAINING, "done", 100.0)
    end(folder, gone, TRAINING, "failed", 1.0)
    ended, planned, left = status.progress(folder)
    assert (ended, planned) == (1, 8)
    # Two trainings, and five of kinds that are not known: the mean of all.
    assert left == (2 * 100 + 5 * (104 / 2)) / 2

    status.write_record(folder, first, TRAINING, "running", [package_digest()])
    now = time.time() + 60
    assert status.progress(folder, now).seconds_left == pytest.approx(left - 30, abs=1)
    end(folder, first, TRAINING, "failed", 60.0)
    assert status.progress(folder).ended == 2


def test_a_record_keeps_the_duration_of_the_last_success(folder):
    target = "runs/tiny/01_theory.ipynb"
    assert status.read_record(folder, target) is None
    end(folder, target, ["theory"], "done", 4.0)
    end(folder, target, ["theory"], "stopped", 1.0)
    record = status.read_record(folder, target)
    assert (record["state"], record["seconds"], record["seconds_when_done"]) == ("stopped", 1, 4)
    assert status.records(folder) == {target: record}


def test_ended_jobs_are_one_line(folder, checkout):
    theory, *_ = jobs_of("tiny", checkout)
    end(folder, theory, ["theory"], "done", 60.0)
    line = status.ended_line(folder, "theory", "done", 61.0)
    assert line == f"[1/8] {'theory':<36}   1:01  about 4 min left"
    assert status.ended_line(folder, "theory", "failed", 1, "why").endswith("left\nwhy")
    assert "  FAILED  about" in status.ended_line(folder, "theory", "failed", 1)


def test_a_training_that_continues_names_all_versions(folder):
    target = "runs/tiny/markov-pico-n000001-s1/02_training.ipynb"
    current = package_digest()
    status.write_record(folder, target, TRAINING, "stopped", ["old"])
    assert status.code_versions(folder, target, TRAINING) == ["old", current]
    recovery = ["recovery", "markov", "pico"]
    assert status.code_versions(folder, target, recovery) == [current]  # begins anew
    status.remove_record(folder, target)
    assert status.code_versions(folder, target, TRAINING) == [current]


def test_the_share_of_a_sweep_counts_the_runs_in_its_notebooks(checkout):
    profile = profile_with(n=[1, 2], seeds=[1, 2])
    write_profile(checkout, profile | {"group": "size"})
    jobs, folder = jobs_of("tiny", checkout), checkout / "runs" / "tiny"
    assert status.share_done(folder) == 0  # of no sweep
    status.write_sweep(folder, jobs, workers=1)
    assert status.share_done(folder) == 0
    end(folder, "runs/tiny/01_theory.ipynb", ["theory"], "done", 4.0)
    run = folder / "markov-pico-n000001-s2"
    run.mkdir()
    (run / "validation.csv").touch()
    assert status.share_done(folder) == 2 / (2 + 3 * 4)


def test_durations_in_words():
    durations = [status.duration_in_words(seconds) for seconds in (1, 44, 95, 3000, 8000)]
    assert durations == ["10 s", "40 s", "2 min", "50 min", "2.2 h"]
