"""How the sweep shares out the cores: by measurement, once."""

import json
import subprocess
import sys

import pytest

from helpers.paths import ROOT


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """(workers, profiles, the shapes and counts that were measured), with rates that favour two threads."""
    monkeypatch.syspath_prepend(ROOT / "runs")
    import profiles
    import workers

    measured = []

    def rates(shapes, threads, count):
        measured.append((shapes, threads, count))
        return [{1: 10.0, 2: 30.0, 4: 50.0}[threads]] * count

    monkeypatch.setattr(workers, "_rates", rates)
    monkeypatch.setattr(workers, "CACHE", tmp_path / "cache" / "workers.json")
    return workers, profiles, measured


def test_the_faster_way_is_chosen_and_kept(runs, capsys):
    workers, profiles, measured = runs
    plan = profiles.jobs("laptop")
    assert workers.threads_each(plan, 4) == 2  # 4 x 10, 2 x 30, 1 x 50
    assert [counts for _, *counts in measured] == [[1, 4], [2, 2], [4, 1]]
    assert [shape["size"] for shape in measured[0][0]] == ["pico", "nano", "micro", "nano"]
    assert "2 x 2 threads 60" in capsys.readouterr().out
    assert workers.threads_each(plan, 4) == 2 and len(measured) == 3 and not capsys.readouterr().out
    assert (
        workers.threads_each(plan, 2) == 2 and len(measured) == 5
    )  # of another number of cores nothing is known


def test_one_core_or_nothing_to_train_needs_no_measurement(runs):
    workers, profiles, measured = runs
    plan = profiles.jobs("laptop")
    assert workers.threads_each(plan, 1) == 1
    assert (
        workers.threads_each(
            {target: job for target, job in plan.items() if job.stage == "theory"}, 4
        )
        == 1
    )
    assert not measured


def test_a_gpu_takes_one_notebook_at_a_time(runs, monkeypatch):
    workers, profiles, measured = runs
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert workers.threads_each(profiles.jobs("laptop"), 4) == 4 and not measured


def test_a_damaged_cache_is_measured_again(runs):
    workers, profiles, measured = runs
    workers.CACHE.parent.mkdir()
    workers.CACHE.write_text("{")
    assert workers.threads_each(profiles.jobs("smoke"), 2) == 2
    assert json.loads(workers.CACHE.read_text())


def test_workers_measure_when_told():
    shapes = [
        {"size": "pico", "length": 8, "vocab_size": 16, "batch_size": 4},
        {"size": "pico", "length": 4, "vocab_size": 16, "batch_size": 4},
    ]
    worker = subprocess.Popen(
        [sys.executable, "runs/workers.py", json.dumps(shapes)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout.readline() == "ready\n"
    rest, _ = worker.communicate("go\n", timeout=120)
    assert worker.returncode == 0 and float(rest.split()[-1]) > 100


def test_a_failed_measurement_says_what_to_do(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "runs")
    import profiles
    import workers

    with pytest.raises(profiles.ProfileError, match="exit status 1.*THREADS=1"):
        workers._rates([{"size": "unheard of"}], 1, 1)
