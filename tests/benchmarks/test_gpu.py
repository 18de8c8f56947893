"""The call for a GPU, on whatever device is there: its record, failures, time and memory limits."""

import importlib
import json
import sys
import time

import pytest
import torch

from helpers.paths import ROOT


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark as its own folder's scripts see each other."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield importlib.import_module
    folder = str(ROOT / "benchmarks")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
            del sys.modules[name]


@pytest.fixture
def run(script, monkeypatch, tmp_path):
    """Run the call at toy size; returns its exit status and its record."""

    def call(*parts, limits=None):
        gpu = script("gpu")
        if limits:
            monkeypatch.setattr(gpu, "LIMITS", limits)
        out = tmp_path / "made" / "gpu.json"
        status = gpu.main([*parts, "--toy", "--out", str(out)])
        return status, json.loads(out.read_text())

    return call


@pytest.mark.slow
def test_the_record_is_complete(run):
    status, record = run()
    assert status == 0, {name: part.get("log") for name, part in record["parts"].items()}
    assert record["toy"] and record["seconds"] < 450
    assert record["machine"].keys() >= {"cpu", "bf16_instructions", "gpu", "torch", "commit"}
    assert list(record["parts"]) == ["exactness", "resume", "loss", "step", "profile"]
    for part in record["parts"].values():
        assert part["error"] is None and 0 < part["seconds"] <= part["limit_s"]
        assert part["results"]
        assert not [row for row in part["results"] if "error" in row or "skipped" in row]
    rows = {row["piece"]: row for part in record["parts"].values() for row in part["results"]}
    (resumed,) = (row for name, row in rows.items() if name.startswith("killed"))
    assert resumed["holds"] and 20 <= resumed["killed_after_step"] < 80
    step = rows["pico, step: ours, fp32"]
    assert step["batch"] == step["batch_asked"] == 4 and step["mfu"] > 0 and step["faster"] > 0
    assert {"whole", "from"} <= {name.split()[1] for name in rows if name.startswith("pico, ")}
    assert {probe["set"] for probe in rows["pico, n = 64"]["probes"]} == {"train", "test"}


@pytest.mark.slow
def test_a_part_that_fails_is_reported_and_the_others_run(run, capsys):
    status, record = run(limits={"nothing": 60, "loss": 60})
    broken, loss = record["parts"]["nothing"], record["parts"]["loss"]
    assert status == 1 and not broken["results"]
    assert "exit status 2" in broken["error"] and "'nothing'" in broken["error"]
    assert loss["error"] is None and len(loss["results"]) == 8
    assert "failed: nothing" in capsys.readouterr().out


def test_a_part_is_killed_at_its_limit(run):
    started = time.perf_counter()
    status, record = run("resume", limits={"resume": 0.3})
    assert status == 1 and record["parts"]["resume"]["error"] == "killed after its 0 s"
    assert time.perf_counter() - started < 10


def test_without_a_gpu_the_toy_size_is_asked_for(script, monkeypatch, capsys):
    gpu = script("gpu")
    monkeypatch.setattr(script("measure"), "GPU", False)
    for arguments, message in (
        ([], "there is no GPU here; allowed without one: --toy"),
        (["los"], "PART=los is unknown; allowed: exactness, resume, loss, step, profile"),
    ):
        with pytest.raises(SystemExit, match="2"):
            gpu.main(arguments)
        assert message in capsys.readouterr().err


def test_the_batch_is_halved_until_it_fits(script):
    parts, tried = script("gpu_parts"), []

    def sides(batch):
        def prepare():
            tried.append(batch)
            if batch > fits:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return lambda: None

        return {"ours": prepare}

    fits = 1
    row = parts._timed("group", "ours", sides, parts.TOY, 128, None)
    assert tried == [4, 2, 1] and (row["batch_asked"], row["batch"]) == (4, 1)
    fits = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        parts._timed("group", "ours", sides, parts.TOY, 128, None)


def test_a_piece_that_fails_or_comes_too_late_says_so(script, capsys):
    parts = script("gpu_parts")
    row = parts.attempt(lambda: 1 / 0, 1e9)
    assert row["error"] == "ZeroDivisionError: division by zero" and row["seconds"] >= 0
    assert "Traceback" in capsys.readouterr().err
    assert parts.attempt(lambda: {}, 0) == {"skipped": "0 s of the part were over"}


@pytest.mark.parametrize(("name", "error"), [("exactness", "failed: late"), ("step", None)])
def test_a_check_that_was_skipped_is_not_met(script, monkeypatch, tmp_path, name, error):
    gpu, fake = script("gpu"), tmp_path / "part.py"
    row = '{"piece": "late", "skipped": "9 s of the part were over"}\n'
    fake.write_text(f"import sys; open(sys.argv[2], 'w').write({row!r})")
    monkeypatch.setattr(gpu, "SCRIPT", fake)
    assert gpu.run_part(name, 30, toy=True)["error"] == error


def test_a_bound_that_is_missed_fails_its_part(script, monkeypatch, tmp_path):
    gpu, fake = script("gpu"), tmp_path / "part.py"
    rows = '{"piece": "good", "holds": true}\n{"piece": "bad", "holds": false}\n{"half'
    fake.write_text(f"import sys; open(sys.argv[2], 'w').write({rows!r})")
    monkeypatch.setattr(gpu, "SCRIPT", fake)
    part = gpu.run_part("any", 30, toy=True)
    assert part["error"] == "failed: bad" and len(part["results"]) == 2
