"""What is done and what is left, from records that each job keeps for itself."""

import pytest

from helpers.fake_sweep import profile_with, write_profile
from uddm_lib.results import package_digest
from uddm_lib.sweep import status
from uddm_lib.sweep.jobs import jobs_of


@pytest.fixture
def folder(checkout):
    """The folder of profile tiny, whose sweep has just started."""
    path = checkout / "runs" / "tiny"
    status.write_sweep(path, jobs_of("tiny", checkout))
    return path


def end(folder, target, state, seconds):
    status.write_record(folder, target, state, [package_digest()], seconds)


def test_time_left_follows_from_the_share_that_is_done(folder, checkout):
    theory, first, *_ = jobs_of("tiny", checkout)
    assert status.progress(folder) == (0, 8, 0.0, None)  # nothing is known yet
    assert status.opening_line(folder) == "tiny: notebooks to run: 8"

    end(folder, theory, "done", 4.0)
    end(folder, "runs/tiny/gone/02_training.ipynb", "done", 100.0)  # no longer listed
    status.write_record(folder, first, "running", [package_digest()])
    now = status.read_sweep(folder)["time"] + 60
    assert status.progress(folder, now) == (1, 8, 1 / 8, pytest.approx(7 * 60))
    end(folder, first, "failed", 60.0)
    assert status.progress(folder, now) == (2, 8, 2 / 8, pytest.approx(3 * 60))


def test_records(folder):
    target = "runs/tiny/01_theory.ipynb"
    assert status.read_record(folder, target) is None
    end(folder, target, "done", 4.0)
    end(folder, target, "stopped", 1.0)
    record = status.read_record(folder, target)
    assert (record["state"], record["seconds"]) == ("stopped", 1)
    assert status.records(folder) == {target: record}


def test_ended_jobs_are_one_line(folder, checkout, monkeypatch):
    theory, *_ = jobs_of("tiny", checkout)
    end(folder, theory, "done", 60.0)
    monkeypatch.setattr(status.time, "time", lambda: status.read_sweep(folder)["time"] + 60)
    line = status.ended_line(folder, "theory", "done", 61.0)
    assert line == f"[1/8] {'theory':<36}   1:01  about 7 min left"
    assert status.ended_line(folder, "theory", "failed", 1, "why").endswith("left\nwhy")
    assert "  FAILED  about" in status.ended_line(folder, "theory", "failed", 1)


def test_a_training_that_continues_names_all_versions(folder):
    run = "runs/tiny/markov-pico-n000001-s1"
    target, current = f"{run}/02_training.ipynb", package_digest()
    status.write_record(folder, target, "stopped", ["old"])
    assert status.code_versions(folder, target) == ["old", current]
    status.write_record(folder, f"{run}/03_recovery.ipynb", "stopped", ["old"])
    assert status.code_versions(folder, f"{run}/03_recovery.ipynb") == [current]  # begins anew
    status.remove_record(folder, target)
    assert status.code_versions(folder, target) == [current]


def test_the_share_of_a_sweep_counts_the_runs_in_its_notebooks(checkout):
    profile = profile_with(n=[1, 2], seeds=[1, 2])
    write_profile(checkout, profile | {"group": "size"})
    jobs, folder = jobs_of("tiny", checkout), checkout / "runs" / "tiny"
    before, new = (folder / f"markov-pico-n000001-s{seed}" for seed in (1, 2))
    for run in (before, new):
        run.mkdir(parents=True)
    (before / "log.csv").touch()
    status.write_sweep(folder, jobs)
    assert status.progress(folder).share == 0
    end(folder, "runs/tiny/01_theory.ipynb", "done", 4.0)
    (new / "log.csv").touch()
    assert status.progress(folder).share == 2 / (1 + 3 * 4 - 1 + 1)


def test_durations_in_words():
    durations = [status.duration_in_words(seconds) for seconds in (1, 44, 95, 3000, 8000)]
    assert durations == ["10 s", "40 s", "2 min", "50 min", "2.2 h"]
