"""The options of a sweep on a cluster; what a real one does is tested in tests/cluster."""

import argparse
import ast
import contextlib
import os
import shlex
import sys
from types import SimpleNamespace

import pytest
from snakemake.resources import Resources

from helpers.paths import ROOT
from uddm_lib.sweep import cluster
from uddm_lib.sweep.profiles import SweepError


@pytest.fixture(autouse=True)
def slurm_is_installed(monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(cluster.shutil, "which", lambda name: name)


def settings(*arguments, root=ROOT):
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=0)
    parser.set_defaults(profile="paper")
    cluster.add_options(parser)
    return cluster.settings(parser.parse_args(arguments), root)


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


def submitted(content, rule):
    """The call of sbatch that Snakemake's plugin makes for a rule of a Snakemake profile."""
    submit = pytest.importorskip("snakemake_executor_plugin_slurm.submit_string")
    from snakemake_executor_plugin_slurm.utils import set_gres_string
    from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

    asked = content["default-resources"] | content["set-resources"].get(rule, {})
    values = Values(
        (name, ast.literal_eval(one.raw) if one.is_evaluable() else one.value)
        for name, one in resources({"default-resources": asked}).items()
    )
    job = SimpleNamespace(resources=values, threads=4)
    validate_slurm_extra(job)
    options = dict.fromkeys(("run_uuid", "slurm_logfile", "comment_str", "workdir"), "")
    options |= {"account": "", "partition": f"-p {values.get('slurm_partition', '')}"}
    return shlex.split(submit.get_submit_command(job, options) + set_gres_string(job))


class Values(dict):
    """Resources of a job, which the plugin reads in both ways."""

    __getattr__ = dict.get


GPUS = [
    (["--gpus", "2"], "--gpus=2"),
    (["--gpus", "a100:1"], "--gpus=a100:1"),
    (["--gres", "gpu:a100:1"], "--gres=gpu:a100:1"),
    ([], "--gpus=1"),
]


@pytest.mark.parametrize(("arguments", "asked"), GPUS)
def test_gpus_are_asked_for_as_the_cluster_wants(arguments, asked):
    call = submitted(settings("--cluster", "slurm", *arguments), "training")
    assert [word for word in call if word.startswith(("--gpus", "--gres"))] == [asked]
    call = submitted(settings("--cluster", "slurm", *arguments), "scaling")
    assert not [word for word in call if word.startswith(("--gpus", "--gres"))]


def test_further_options_reach_sbatch():
    content = settings(
        *("--cluster", "slurm", "--partition", "gpu,long", "--qos", "high"),
        *("--constraint", "a100|h100", "--exclude", "node[1-3],node7"),
    )
    for rule in ("training", "recovery", "scaling"):
        call = submitted(content, rule)
        for words in (
            ["-p", "gpu,long"],
            ["--qos=high"],
            ["-C", "a100|h100"],
            ["--exclude=node[1-3],node7"],
        ):
            assert " ".join(words) in " ".join(call)
        assert ("--signal=TERM@120" in call) == (rule == "training")


@pytest.mark.parametrize(
    ("profile", "extra"),
    [
        ("default-resources:\nset-resources:\n", "--exclude=a"),
        ("set-resources:\n  theory:\n", "--exclude=a"),
        ("default-resources:\n  slurm_extra: --mail=x\n", "--mail=x --exclude=a"),
        ("default-resources:\n  slurm_extra: \"'--mail=x'\"\n", "--mail=x --exclude=a"),
        ("# nothing\n", "--exclude=a"),
    ],
)
def test_a_profile_of_a_cluster_may_be_sparse(tmp_path, profile, extra):
    write_profile(tmp_path, profile)
    content = settings("--cluster", "own", "--gpus", "a100:2", "--exclude", "a", root=tmp_path)
    expected = {"gpu": 2, "gpu_model": "'a100'", "slurm_extra": repr(extra)}
    assert content["default-resources"] == expected


def test_a_profile_of_a_cluster_with_a_list_is_refused(tmp_path):
    write_profile(tmp_path, "default-resources: [mem=1GB]\n")
    with pytest.raises(SweepError, match="own/config.yaml: default-resources must have lines"):
        settings("--cluster", "own", root=tmp_path)


def write_profile(root, content):
    folder = root / "runs" / "profiles" / "own"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(content)


def test_the_profile_of_slurm_is_read_by_snakemake():
    found = resources(settings("--cluster", "slurm"))
    assert (found["runtime"].value, found["mem_mb"].value) == (720, 48_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster", "lsf"], "--cluster lsf has no runs/profiles/lsf/config.yaml; there are slu"),
        (["--gpus", "1"], "--gpus: only with a cluster"),
        (["--no-requeue"], "--no-requeue: only with a cluster"),
        (["--qos", "a", "--exclude", "b"], "--qos, --exclude: only with a cluster"),
        (["--cluster", "slurm", "--gpus", "a100"], "--gpus a100 is not a number of GPUs, as 2,"),
        (["--cluster", "slurm", "--gpus", "a100:0"], "--gpus a100:0 is not a number of GPUs"),
        (["--cluster", "slurm", "--gpus", "1", "--gres", "gpu:1"], "give one of them"),
        (["--cluster", "slurm", "--threads", "-1"], "--threads -1 is not a positive integer"),
    ],
)
def test_wrong_options_of_a_cluster_are_refused(arguments, message):
    with pytest.raises(SweepError, match=message):
        settings(*arguments)


def test_a_python_that_a_job_would_not_find_is_refused(monkeypatch):
    for path in ("/ü/.venv/bin/python3.11", "/a b/.venv/bin/python"):
        monkeypatch.setattr(sys, "executable", path)
        refused = pytest.raises(SweepError, match="/a b/.* no spaces or quotes")
        with refused if " " in path else contextlib.nullcontext():
            cluster.check_python()


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


def test_a_checkout_behind_a_link_is_the_same(squeue, tmp_path):
    (tmp_path / "a|b").symlink_to(ROOT)
    squeue(f"echo '3|uddm-paper_a1|{tmp_path}/a|b'")
    assert cluster.jobs_left("paper", ROOT) == ["3"]


def test_a_squeue_that_does_not_answer_is_no_empty_queue(squeue, monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWER", 0.2)
    squeue("exec sleep 60")
    with pytest.raises(SweepError, match="squeue failed, so jobs .* timed out after 0.2 seconds"):
        cluster.jobs_left("paper", ROOT)


@pytest.mark.parametrize("script", [None, "echo 'Unable to contact slurm controller' >&2\nexit 1"])
def test_a_job_whose_state_is_unknown_is_not_requeued_and_says_so(
    tmp_path, monkeypatch, capsys, script
):
    """Some clusters have no scontrol on the nodes that compute."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    if script:
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "scontrol").chmod(0o755)
    assert cluster.job_to_requeue() is None
    said = capsys.readouterr().out
    assert "Slurm does not say how job 7 stands: " in said
    assert ("Unable to contact" if script else "scontrol") in said.partition("stands")[2]
    cluster.requeue("7")
    assert "Slurm job 7 is not requeued" in capsys.readouterr().out


def test_a_failing_squeue_is_no_empty_queue(squeue):
    squeue("echo 'Unable to contact slurm controller' >&2\nexit 1")
    with pytest.raises(SweepError, match="squeue failed, so jobs .*: Unable to contact slurm con"):
        cluster.jobs_left("paper", ROOT)
