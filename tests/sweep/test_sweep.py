"""The sweep: its graph, what it repeats, how it survives failures, kills and changes."""

import argparse
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import sys

import nbformat
import pytest
import yaml

from helpers.fake_sweep import (
    finish,
    profile_with,
    start,
    start_sweep,
    wait_for,
    write_checkout,
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


def test_the_live_page_is_written_where_models_ship(checkout):
    command = ("-m", "snakemake", "-s", "runs/Snakefile", "--config", "profile=tiny", "--dry-run")
    text, code = finish(start(checkout, *command))
    assert code == 0 and "live.html" not in text, text
    (checkout / "runs" / "pretrained").mkdir()
    text, code = finish(start(checkout, *command))
    assert code == 0 and "output: runs/tiny/live.html" in text, text


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
    links = set(re.findall(r'(?:href|src)="([^":#]+)"', page))
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
    assert page.count("<td>1, 2</td><td>1, 2</td>") == 1
    text, code = sweep(checkout)
    assert code == 0 and "nothing to do" in text, text


@pytest.mark.slow
def test_the_name_of_a_profile_may_have_a_space(checkout):
    write_profile(checkout, profile_with(n=[1]), "my sweep")
    text, code = sweep(checkout, "my sweep")
    assert code == 0, text
    assert "report:  runs/my sweep/index.html" in text
    assert (checkout / "paper_figures" / "my sweep" / "figure1.png").exists()


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("../tiny", "the name of a file runs/NAME.yaml"),
        ("runs/tiny", "the name of a file runs/NAME.yaml"),
        ("{x}", "has no braces"),
        ("cache", "runs/cache/ is in use"),
        ("pretrained", "runs/pretrained/ is in use"),
    ],
)
def test_a_profile_with_an_impossible_name_is_refused(checkout, monkeypatch, profile, message):
    monkeypatch.setattr(runner.paths, "checkout", lambda: checkout)
    with pytest.raises(ValueError, match=f"profile '{re.escape(profile)}': .*{message}"):
        runner.run(argparse.Namespace(profile=profile))


@pytest.mark.slow
def test_a_hostile_environment_changes_nothing(tmp_path):
    """A strange path and name, no home, and settings of other tools that would stop the sweep."""
    checkout = tmp_path / "with space ü {x} 'q'"
    checkout.mkdir()
    write_checkout(checkout)
    profile = "007"
    write_profile(checkout, profile_with(n=[1]), profile)
    checkout.joinpath("matplotlibrc").write_text("backend: TkAgg\n")
    settings = tmp_path / "settings"
    kernels, startup = settings / "kernels" / "python3", settings / "profile_default" / "startup"
    for folder in (kernels, startup):
        folder.mkdir(parents=True)
    kernels.joinpath("kernel.json").write_text(
        json.dumps({"argv": ["/bin/false"], "display_name": "another", "language": "python"})
    )
    startup.joinpath("00.py").write_text("raise SystemExit\n")
    hostile = {
        "HOME": "/proc/nohome",
        "JUPYTER_PATH": str(settings),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "JUPYTER_RUNTIME_DIR": "/proc/nohome",
        "IPYTHONDIR": str(settings),
        "PYTHONSTARTUP": str(startup / "00.py"),
        "PYTHONOPTIMIZE": "2",
        "SNAKEMAKE_PROFILE": "missing",
        "MPLBACKEND": "TkAgg",
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LC_ALL": "C",
    }
    process = start_sweep(checkout, profile, env=hostile, umask=0o077)
    text, code = finish(process)
    assert code == 0, text
    assert (checkout / "paper_figures" / profile / "figure1.png").exists()
    executed = nbformat.read(checkout / "runs" / profile / "05_scaling.ipynb", 4)
    assert executed.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize(
    ("number", "held"),
    [(errno.EAGAIN, True), (errno.EACCES, True), (errno.ENOSYS, False), (errno.ENOLCK, False)],
)
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys, number, held):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    if held:
        with pytest.raises(SweepError, match="another sweep of profile"), runner._lock(tmp_path):
            pass
    else:
        with runner._lock(tmp_path) as descriptor:
            os.fstat(descriptor)
        line = capsys.readouterr().err
        assert line.startswith("warning: the file system has no locks") and line.count("\n") == 1


def test_on_windows_a_sentence_says_what_to_use(checkout, monkeypatch):
    monkeypatch.setattr(runner.paths, "checkout", lambda: checkout)
    monkeypatch.setattr(runner, "check_names", lambda jobs: None)
    monkeypatch.setattr(runner.environment, "apply", lambda: None)  # it would outlive the test
    monkeypatch.setitem(sys.modules, "fcntl", None)
    for name in ("sysconf", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    with pytest.raises(SweepError, match="on Windows, use WSL"):
        runner.run(options_of("tiny"))


def test_nothing_takes_what_some_systems_lack():
    """Importing the command line, on Windows for instance, needs no module or function of Linux."""
    code = (
        "import os, signal, sys\n"
        "sys.modules |= {'fcntl': None, 'pwd': None, 'resource': None}\n"
        "for place, name in ((os, 'pidfd_open'), (os, 'sched_getaffinity'), (signal, 'SIGUSR1')):\n"
        "    delattr(place, name)\n"
        "import uddm_lib.__main__, uddm_lib.sweep.execute\n"
        "from uddm_lib.environment import available_cores\n"
        "assert available_cores() >= 1\n"
    )
    text, status = finish(start(ROOT, "-c", code))
    assert status == 0, text


@pytest.mark.parametrize("options", [{"cores": 0}, {"cores": 2, "threads": 3}, {"threads": -1}])
def test_wrong_cores_and_threads_are_refused(checkout, monkeypatch, options):
    monkeypatch.setattr(runner.paths, "checkout", lambda: checkout)
    monkeypatch.setattr(runner, "check_names", lambda jobs: None)
    monkeypatch.setattr(runner.environment, "apply", lambda: None)  # it would outlive the test
    words = [f"--{name}={value}" for name, value in options.items()]
    with pytest.raises(SweepError, match="threads from 1 to as many as there are cores"):
        runner.run(options_of("tiny", *words))


@pytest.mark.parametrize(
    ("words", "available", "memory", "device", "used", "said"),
    [
        ([], 4, 64, "cpu", (4, 1), ""),
        (["--cores=2"], 4, 64, "cpu", (2, 1), ""),
        (["--cores=4", "--threads=2"], 4, 64, "cpu", (4, 2), ""),
        (["--cores=4"], 4, 64, "cuda", (4, 4), ""),  # one notebook at a time
        (["--cores=4", "--threads=2"], 4, 64, "cuda", (4, 2), ""),
        (["--cores=32"], 2, 64, "cpu", (2, 1), "2 notebooks at a time, 1 thread each"),
        (["--cores=32"], 2, 64, "cuda", (2, 2), "1 notebook at a time, 2 threads each"),
        (["--cores=32", "--threads=16"], 2, 64, "cpu", (2, 2), "1 notebook at a time, 2 threads"),
        ([], 16, 3, "cpu", (3, 1), "3 notebooks at a time, 1 thread each"),
        (["--cores=16", "--threads=4"], 16, 3, "cpu", (12, 4), "3 notebooks at a time, 4 threads"),
        ([], 16, 0.5, "cpu", (1, 1), "1 notebook at a time, 1 thread each"),
    ],
)
def test_no_more_cores_are_used_than_there_are_and_no_more_memory(
    monkeypatch, capsys, words, available, memory, device, used, said
):
    import torch

    from uddm_lib import devices

    monkeypatch.setattr(devices, "default_device", lambda: torch.device(device))
    monkeypatch.setattr(runner.environment, "available_cores", lambda: available)
    monkeypatch.setattr(runner.environment, "available_memory", lambda: int(memory * 2**30))
    assert runner.cores_and_threads(options_of("tiny", *words)) == used
    line = capsys.readouterr().out
    assert line.startswith(said) and line.count("\n") == bool(said)


def options_of(*words):
    from uddm_lib.__main__ import command_line

    return command_line().parse_args(["sweep", *words])
