"""The sweep: its graph, what it repeats, how it survives failures, kills and changes."""

import os
import re
import shutil
import signal

import nbformat
import pytest
import yaml

from helpers.fake_sweep import (
    finish,
    profile_with,
    start,
    start_sweep,
    wait_for,
    write_profile,
    write_sources,
)
from helpers.paths import ROOT
from uddm_lib.sweep import runner
from uddm_lib.sweep.profiles import SweepError


def sweep(checkout, profile="tiny", *options):
    return finish(start_sweep(checkout, profile, *options))


@pytest.mark.parametrize("profile", ["smoke", "laptop", "desktop", "gpu", "paper"])
def test_dry_run_has_the_expected_jobs(tmp_path, profile):
    write_sources(tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", dirs_exist_ok=True)
    content = yaml.safe_load((ROOT / "runs" / f"{profile}.yaml").read_text())
    runs = content.get("group", "run") == "run"
    number = sum(
        len(experiment["sizes"])
        * (len(experiment.get("n") or experiment["fractions"]) if runs else 1)
        for experiment in content["experiments"]
    )
    command = ("-m", "snakemake", "-s", "runs/Snakefile", "--config", f"profile={profile}")
    text, code = finish(start(tmp_path, *command, "--dry-run", "--quiet", "rules"))
    assert code == 0, text
    counts = dict(re.findall(r"^(\w+) +(\d+)$", text, re.M))
    assert counts == {
        "theory": "1",
        "training": str(number),
        "recovery": str(number),
        "entropy": str(number),
        "scaling": "1",
        "report": "1",
        "total": str(3 * number + 3),
    }


@pytest.mark.slow
def test_sweep_survives_failure_and_kill_and_repeats_nothing(checkout):
    folder = checkout / "runs" / "tiny"
    (checkout / "fail-2").touch()
    text, code = sweep(checkout)
    assert code == 1
    assert "RuntimeError: no luck with 2" in text and "notebooks failed: 1" in text
    # Independent jobs went on.
    assert (folder / "markov-pico-n000001-s1" / "04_entropy.ipynb").exists()
    assert not (folder / "05_scaling.ipynb").exists()

    (checkout / "fail-2").unlink()
    (checkout / "wait").touch()
    killed = start_sweep(checkout, start_new_session=True)
    wait_for((folder / "markov-pico-n000002-s1" / ".02_training.running.ipynb").exists)
    text, code = sweep(checkout)
    assert code == 2 and "another sweep of profile tiny is running" in text
    os.killpg(killed.pid, signal.SIGKILL)
    finish(killed)
    (checkout / "wait").unlink()

    done = (folder / "markov-pico-n000001-s1" / "02_training.ipynb").stat().st_mtime_ns
    text, code = sweep(checkout)
    assert code == 0, text
    assert "notebooks to run: 4" in text and re.search(r"\[4/4\] scaling", text)
    assert "figures: paper_figures/tiny/" in text and "report:  runs/tiny/index.html" in text
    assert (folder / "markov-pico-n000001-s1" / "02_training.ipynb").stat().st_mtime_ns == done
    page = (folder / "index.html").read_text()
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(links) == 2 + 2 * 3 + 1
    for link in links:
        assert (folder / link).exists(), link
    scaling = nbformat.read(folder / "05_scaling.ipynb", 4)
    assert scaling.cells[-1].outputs[0].text == "['stored'] []\n"

    text, code = sweep(checkout)
    assert code == 0 and "nothing to do" in text

    write_profile(checkout, profile_with(recovery={"levels": [0.2]}))
    text, code = sweep(checkout)
    assert code == 0 and "notebooks to run: 3" in text  # two recoveries and the scaling

    write_profile(checkout, profile_with(n=[1], recovery={"levels": [0.2]}))
    text, code = sweep(checkout)
    assert code == 0, text
    assert "not in the profile, left out of figures: markov-pico-n000002-s1" in text
    assert "notebooks to run: 1" in text  # the scaling
    scaling = nbformat.read(folder / "05_scaling.ipynb", 4)
    assert scaling.cells[-1].outputs[0].text == "['stored'] ['markov-pico-n000002-s1']\n"


@pytest.mark.slow
def test_a_changed_library_stops_the_sweep_until_the_reader_decides(checkout):
    write_profile(checkout, profile_with(n=[1]))
    folder = checkout / "runs" / "tiny"
    text, code = sweep(checkout, "tiny", "--until", "entropy")
    assert code == 0, text
    (checkout / "uddm_lib" / "model.py").write_text("SIZES = {'pico': 1}  # another version\n")
    text, code = sweep(checkout)
    assert code == 2
    assert "made by another version of uddm_lib (2 notebooks)" in text
    assert "OPTIONS=--keep" in text and "OPTIONS=--again" in text

    done = folder / "markov-pico-n000001-s1" / "02_training.ipynb"
    before = done.stat().st_mtime_ns
    text, code = sweep(checkout, "tiny", "--keep")
    assert code == 0 and "notebooks to run: 3" in text, text
    assert done.stat().st_mtime_ns == before
    text, code = sweep(checkout)
    assert code == 2 and "(2 notebooks)" in text  # still of two versions

    text, code = sweep(checkout, "tiny", "--again")
    assert code == 0 and "notebooks to run: 4" in text, text  # all but the theory
    text, code = sweep(checkout)
    assert code == 0 and "nothing to do" in text


@pytest.mark.slow
def test_a_group_of_runs_does_what_is_new_alone(checkout):
    profile = profile_with(n=[1, 2], seeds=[1]) | {"group": "size"}
    write_profile(checkout, profile)
    (checkout / "fail-2").touch()
    text, code = sweep(checkout)
    assert code == 1 and "no luck with 2" in text, text
    (checkout / "fail-2").unlink()
    text, code = sweep(checkout)
    assert code == 0 and "notebooks to run: 4" in text, text  # all but the theory

    folder = checkout / "runs" / "tiny"
    (folder / "markov-pico-n000002-s1" / "recovery.csv").unlink()
    text, code = sweep(checkout)
    assert code == 0 and "notebooks to run: 2" in text, text  # its recovery and the scaling
    assert (folder / "markov-pico-n000002-s1" / "recovery.csv").exists()

    profile["experiments"][0]["seeds"] = [1, 2]
    write_profile(checkout, profile)
    text, code = sweep(checkout)
    assert code == 0 and "notebooks to run: 4" in text, text
    assert (folder / "markov-pico-n000001-s2" / "samples.csv").exists()
    page = (folder / "index.html").read_text()
    assert "<td>1, 2</td><td>1, 2</td>" in page and page.count("<tr>") == 2
    text, code = sweep(checkout)
    assert code == 0 and "nothing to do" in text, text


@pytest.mark.slow
def test_the_name_of_a_profile_may_have_a_space(checkout):
    write_profile(checkout, profile_with(n=[1]), "my sweep")
    text, code = sweep(checkout, "my sweep")
    assert code == 0, text
    assert "report:  runs/my sweep/index.html" in text
    assert (checkout / "paper_figures" / "my sweep" / "figure1.png").exists()


@pytest.mark.parametrize("options", [{"cores": 0}, {"threads": 3}, {"threads": -1}])
def test_wrong_cores_and_threads_are_refused(checkout, monkeypatch, options):
    monkeypatch.setattr(runner.paths, "checkout", lambda: checkout)
    monkeypatch.setattr(runner, "check_names", lambda jobs: None)
    words = [f"--{name}={value}" for name, value in options.items()]
    with pytest.raises(SweepError, match="threads from 1 to as many as there are cores"):
        runner.run(options_of("tiny", *words))


@pytest.mark.parametrize(("device", "threads"), [("cpu", 1), ("cuda", 2)])
def test_a_gpu_gets_one_notebook_at_a_time(monkeypatch, device, threads):
    import torch

    from uddm_lib import devices

    monkeypatch.setattr(devices, "default_device", lambda: torch.device(device))
    assert runner.notebook_threads(options_of("tiny", "--cores=2")) == threads
    assert runner.notebook_threads(options_of("tiny", "--cores=2", "--threads=2")) == 2


def options_of(*words):
    from uddm_lib.__main__ import command_line

    return command_line().parse_args(["sweep", *words])
