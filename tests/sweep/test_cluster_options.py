"""The options of a sweep on a cluster; what a real one does is tested in tests/cluster."""

import argparse
import os

import pytest
from snakemake.resources import Resources

from helpers.paths import ROOT
from uddm_lib.sweep import cluster
from uddm_lib.sweep.profiles import SweepError


@pytest.fixture(autouse=True)
def slurm_is_installed(monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(cluster.shutil, "which", lambda name: name)


def settings(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=0)
    parser.set_defaults(profile="paper")
    cluster.add_options(parser)
    return cluster.settings(parser.parse_args(arguments), ROOT)


def resources(content):
    """The default resources of a Snakemake profile, as Snakemake reads them."""
    arguments = [f"{name}={value}" for name, value in content["default-resources"].items()]
    return Resources.parse(arguments, allow_expressions=True)


def test_options_of_a_cluster_replace_those_of_its_profile():
    assert settings() is None
    default = settings("--cluster", "slurm")
    assert default["executor"] == "slurm" and default["slurm-requeue"] and default["threads"] == 4
    changed = settings(
        *("--cluster", "slurm", "--partition", "max", "--gpus", "2", "--time", "8h"),
        *("--memory", "64GB", "--threads", "16", "--no-requeue"),
    )
    assert changed["threads"] == 16
    assert changed["slurm-no-requeue"] and "slurm-requeue" not in changed
    assert changed["set-resources"] == default["set-resources"]
    found = resources(changed)
    assert (found["runtime"].value, found["gpu"].value) == (480, 2)
    assert found["mem_mb"].value == 64_000
    assert found["slurm_partition"].raw == "'max'"  # an expression, so text is in quotes


def test_the_profile_of_slurm_is_read_by_snakemake():
    found = resources(settings("--cluster", "slurm"))
    assert (found["runtime"].value, found["mem_mb"].value) == (720, 48_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster", "lsf"], "--cluster lsf has no runs/profiles/lsf/config.yaml; there are slu"),
        (["--gpus", "1"], "--gpus: only with a cluster"),
        (["--no-requeue"], "--no-requeue: only with a cluster"),
        (["--cluster", "slurm", "--threads", "-1"], "--threads -1 is not a positive integer"),
    ],
)
def test_wrong_options_of_a_cluster_are_refused(arguments, message):
    with pytest.raises(SweepError, match=message):
        settings(*arguments)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Write a script in the place of squeue."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def write(script):
        path = tmp_path / "squeue"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


def test_jobs_that_an_earlier_sweep_left_are_found(squeue):
    squeue(
        f"echo '3|uddm-paper_a1|{ROOT}'\necho '4|uddm-smoke_a1|{ROOT}'\n"
        "echo '5|uddm-paper_a1|/else'"
    )
    assert cluster.jobs_left("paper", ROOT) == ["3"]


def test_a_failing_squeue_is_no_empty_queue(squeue):
    squeue("echo 'Unable to contact slurm controller' >&2\nexit 1")
    with pytest.raises(SweepError, match="squeue failed, so jobs .*: Unable to contact slurm con"):
        cluster.jobs_left("paper", ROOT)
