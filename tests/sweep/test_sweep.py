"""The sweep: wrong profiles are refused, the graph is right, failures are readable, kills harmless."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml

from helpers.paths import ROOT
from uddm_lib.training.options import TrainingOptions

PROFILE = {
    "experiments": [
        {
            "corpus": "markov",
            "length": 16,
            "sizes": ["pico"],
            "n": [1, 2],
            "training": {"steps": 3},
            "recovery": {"levels": [0.1]},
        }
    ],
    "claims": {"markov": {"gap": 0.1}},
    "assert_claims": True,
}
WRITE = "from pathlib import Path\nfor name in {}: (Path(run) / name).write_text('a\\n1\\n')"
FAKES = {
    "01_theory": ["seed: int = 1", "seed"],
    "02_training": [
        "run: str = ''\ncorpus: str = ''\nlength: int = 1\n"
        "size: str = ''\nn: int = 1\nsteps: int = 1",
        "import os, time\nif os.path.exists(f'fail-{n}'):\n"
        "    raise RuntimeError(f'no luck with {n}')",
        "while os.path.exists('wait'):\n    time.sleep(0.1)",
        WRITE.format(["log.csv", "validation.csv", "run.json"]),
    ],
    "03_recovery": [
        "run: str = ''\nlevels: list[float] = []",
        WRITE.format(["recovery.csv", "basins.csv", "examples.csv"]),
    ],
    "04_entropy": [
        "run: str = ''\nt: float = 1",
        WRITE.format(["token_entropy.csv", "sequence_entropy.csv"]),
    ],
    "05_scaling": [
        "results_folder: str = ''\noutput: str = ''\n"
        "claims: dict = {}\nassert_claims: bool = False",
        "from pathlib import Path\nPath(output).mkdir(parents=True, exist_ok=True)\n"
        "(Path(output) / 'figure1.png').touch()\nprint(claims['markov']['gap'], assert_claims)",
    ],
}


def write_notebook(path, parameters, *cells):
    notebook = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}
        }
    )
    notebook.cells = [
        nbformat.v4.new_code_cell(source, id=f"cell{number}")
        for number, source in enumerate((parameters, *cells))
    ]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)


def sources(folder):
    """A checkout in ``folder`` with the sweep's own files, and of the library only what it imports."""
    (folder / "notebooks").mkdir()
    (folder / "uddm_lib").mkdir()
    shutil.copytree(
        ROOT / "runs",
        folder / "runs",
        ignore=lambda path, names: [name for name in names if (Path(path) / name).is_dir()],
    )
    for name in ("__init__.py", "results.py", "parameters.py"):
        shutil.copy(ROOT / "uddm_lib" / name, folder / "uddm_lib" / name)
    (folder / "uddm_lib" / "data.py").write_text("CORPORA = {'markov': 1, 'kjv': 1, 'text': 1}")
    (folder / "uddm_lib" / "model.py").write_text("SIZES = {'pico': 1, 'nano': 1, 'micro': 1}")
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A checkout with tiny notebooks and the profile ``tiny``."""
    sources(tmp_path)
    for name, cells in FAKES.items():
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", *cells)
    (tmp_path / "runs" / "tiny.yaml").write_text(yaml.safe_dump(PROFILE))
    return tmp_path


@pytest.fixture
def runs(monkeypatch):
    """The modules of runs/, which are scripts beside each other and no package."""
    monkeypatch.syspath_prepend(ROOT / "runs")
    import ledger
    import profiles

    return profiles, ledger


def call(checkout, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=checkout, env=environment, text=True, **pipes, **options
    )


def finish(process):
    return process.communicate()[0], process.returncode


# profiles


def test_jobs_carry_the_parameters_of_the_profile(runs, checkout):
    profiles, _ = runs
    plan = profiles.jobs("tiny", checkout)
    run = "runs/tiny/markov-pico-n000001"
    assert list(plan)[:4] == ["runs/tiny/01_theory.ipynb"] + [
        f"{run}/{name}.ipynb" for name in ("02_training", "03_recovery", "04_entropy")
    ]
    assert plan[f"{run}/02_training.ipynb"].parameters == {
        "run": run,
        "corpus": "markov",
        "length": 16,
        "size": "pico",
        "n": 1,
        "steps": 3,
    }
    assert plan[f"{run}/03_recovery.ipynb"].parameters == {"run": run, "levels": [0.1]}
    assert plan["runs/tiny/05_scaling.ipynb"].parameters == {
        "results_folder": "runs/tiny",
        "output": "paper_figures/tiny",
        "claims": {"markov": {"gap": 0.1}},
        "assert_claims": True,
    }


def test_whole_corpus_is_n_0_for_the_notebook(runs, checkout):
    profiles, _ = runs
    experiment = PROFILE["experiments"][0] | {"n": ["all"]}
    (checkout / "runs" / "tiny.yaml").write_text(yaml.safe_dump({"experiments": [experiment]}))
    job = profiles.jobs("tiny", checkout)["runs/tiny/markov-pico-nall/02_training.ipynb"]
    assert job.parameters["n"] == 0 and job.label == "training markov pico n=all"


def of_fractions(**changes):
    experiment = {key: value for key, value in PROFILE["experiments"][0].items() if key != "n"}
    return {"experiments": [experiment | changes]}


def test_fractions_give_n(runs, checkout):
    profiles, _ = runs
    profile = of_fractions(fractions=[0.01, 0.29, 1.0], total=100, tokenizer="gpt2")
    path = checkout / "notebooks" / "02_training.ipynb"
    path.write_text(
        path.read_text().replace("corpus: str = ''", "corpus: str = ''\\ntokenizer: str = ''")
    )
    (checkout / "runs" / "tiny.yaml").write_text(yaml.safe_dump(profile))
    training = [
        job.parameters
        for job in profiles.jobs("tiny", checkout).values()
        if job.stage == "training"
    ]
    assert [job["n"] for job in training] == [1, 28, 0]  # 0.29 * 100 is a little less than 29; all
    assert training[2]["run"] == "runs/tiny/markov-pico-nall" and training[0]["tokenizer"] == "gpt2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "experiment 1 has neither n nor fractions; give one"),
        (
            {"fractions": [0.5]},
            "fractions and total, the training blocks that they are fractions of, go together",
        ),
        ({"fractions": [0.5], "total": 0}, "total must be a positive integer; got 0"),
        (
            {"fractions": [1.5], "total": 10},
            "fractions must be a list of numbers from 1/total = 0.1 to 1; got \\[1.5\\]",
        ),
        ({"fractions": [0.05], "total": 10}, "from 1/total = 0.1 to 1; got \\[0.05\\]"),
        ({"fractions": ["all"], "total": 10}, "fractions must be"),
        ({"fractions": [], "total": 10}, "fractions must be"),
        ({"fractions": [0.5, 0.51], "total": 10}, "markov-pico-n000005 is listed"),
    ],
)
def test_wrong_fractions_are_refused(runs, checkout, changes, message):
    profiles, _ = runs
    (checkout / "runs" / "tiny.yaml").write_text(yaml.safe_dump(of_fractions(**changes)))
    with pytest.raises(profiles.ProfileError, match=message):
        profiles.jobs("tiny", checkout)


def test_paper_profile_is_the_protocol(runs):
    profiles, _ = runs
    jobs = [
        job for job in profiles.jobs("paper").values() if job.parameters.get("size") == "medium"
    ]
    fractions = sorted(
        [*np.linspace(0.0001, 0.01, 17), 0.02, 0.03, 0.05, 0.06, *np.arange(0.04, 1.005, 0.03)]
    )
    given = sorted(
        yaml.safe_load((ROOT / "runs" / "paper.yaml").read_text())["experiments"][0]["fractions"]
    )
    assert len(jobs) == len(fractions) == 54 and np.allclose(given, fractions, rtol=1e-12, atol=0)
    profiles.check_names_of(profiles.jobs("paper").values())
    names = TrainingOptions.__dataclass_fields__
    options = {name: value for name, value in profiles.effective(jobs[0]).items() if name in names}
    assert TrainingOptions(**options) == TrainingOptions(
        steps=1_000_000,
        curriculum="gaussian",
        precision="bf16",
        checkpoint_every=10_000,
        micro_batch=128,
    )
    assert jobs[0].parameters["dropout"] == 0.1 and jobs[0].parameters["adaln_zero"] is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 16}, "n must be a list; got 16"),
        ({"n": []}, "n must be a list of positive integers, or 'all'.*got \\[\\]"),
        ({"n": [16, 0]}, "n must be a list of positive integers.*0"),
        ({"n": [True]}, "n must be a list of positive integers"),
        ({"n": ["many"]}, "n must be a list of positive integers.*many"),
        ({"sizes": "pico"}, "sizes must be a list; got 'pico'"),
        ({"sizes": [1]}, "sizes must be a list of names"),
        ({"corpus": None}, "corpus must be text"),
        ({"length": "long"}, "length must be a positive integer; got 'long'"),
        ({"training": [1]}, "training must be a mapping"),
        (
            {"trainig": {}},
            "experiment 1: unknown key 'trainig' \\(did you mean training\\?\\); allowed: corpus",
        ),
        (
            {"training": {"stepz": 1}},
            "training markov pico n=1, notebooks/02_training.ipynb: "
            "unknown parameter stepz \\(did you mean steps\\?\\); "
            "allowed: run, corpus, length, size, n, steps",
        ),
        (
            {"recovery": {"x": 1}},
            "notebooks/03_recovery.ipynb: unknown parameter x; allowed: run, levels",
        ),
        ({"vocab_size": 96}, "notebooks/02_training.ipynb: unknown parameter vocab_size"),
        ({"training": {"n": 5}}, "section 'training' cannot give n: the sweep sets it"),
        ({"fractions": [0.5], "total": 10}, "experiment 1 has both n and fractions; give one"),
        ({"n": [4, 4]}, "markov-pico-n000004 is listed by two experiments"),
    ],
)
def test_wrong_experiments_are_refused(runs, checkout, change, message):
    profiles, _ = runs
    experiment = PROFILE["experiments"][0] | change
    (checkout / "runs" / "tiny.yaml").write_text(
        yaml.safe_dump({**PROFILE, "experiments": [experiment]})
    )
    with pytest.raises(profiles.ProfileError, match=message):
        profiles.jobs("tiny", checkout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiments: [", "runs/tiny.yaml is not valid YAML"),
        ("[]", "runs/tiny.yaml must be a mapping"),
        ("", "runs/tiny.yaml must be a mapping"),
        ("claims: {}", "runs/tiny.yaml has no experiments"),
        ("experiments: []", "experiments is empty"),
        ("experiments: [1]", "experiment 1 must be a mapping"),
        ("experiments: [{corpus: markov}]", "experiment 1 has no sizes"),
        (
            "experiments: [{corpus: markov, sizes: [pico], n: [1]}]\nclaim: {}",
            "unknown key 'claim' .*claims\\?",
        ),
        (
            "experiments: [{corpus: markov, sizes: [pico], n: [1]}]\nassert_claims: 1",
            "must be true or false",
        ),
    ],
)
def test_malformed_profiles_are_refused(runs, checkout, text, message):
    profiles, _ = runs
    (checkout / "runs" / "tiny.yaml").write_text(text)
    with pytest.raises(profiles.ProfileError, match=message):
        profiles.jobs("tiny", checkout)


def test_unknown_profile_and_missing_notebook_are_named(runs, checkout):
    profiles, _ = runs
    with pytest.raises(
        profiles.ProfileError, match="no profile 'tyni'.*laptop, paper, smoke, tiny"
    ):
        profiles.jobs("tyni", checkout)
    (checkout / "notebooks" / "04_entropy.ipynb").unlink()
    with pytest.raises(profiles.ProfileError, match="notebooks/04_entropy.ipynb is missing"):
        profiles.jobs("tiny", checkout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": ["huge"]}, "size 'huge' is unknown; allowed: pico, "),
        ({"corpus": "moby"}, "corpus 'moby' is unknown; allowed: markov, "),
    ],
)
def test_unknown_corpus_and_size_are_refused(runs, checkout, change, message):
    profiles, _ = runs
    experiment = PROFILE["experiments"][0] | change
    (checkout / "runs" / "tiny.yaml").write_text(
        yaml.safe_dump({**PROFILE, "experiments": [experiment]})
    )
    with pytest.raises(profiles.ProfileError, match=message):
        profiles.check_names_of(profiles.jobs("tiny", checkout).values())


def test_only_code_decides_whether_a_notebook_changed(runs, checkout):
    profiles, _ = runs
    path = checkout / "notebooks" / "02_training.ipynb"
    before = profiles.code_digest(path)
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("prose", id="prose"))
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(notebook, path)
    assert profiles.code_digest(path) == before
    notebook.cells[1].source += "\n1"
    nbformat.write(notebook, path)
    assert profiles.code_digest(path) != before


# the graph


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu", "paper"])
def test_dry_run_has_the_expected_jobs(tmp_path, profile):
    shutil.copytree(ROOT / "notebooks", sources(tmp_path) / "notebooks", dirs_exist_ok=True)
    experiments = yaml.safe_load((ROOT / "runs" / f"{profile}.yaml").read_text())["experiments"]
    number = sum(
        len(experiment["sizes"]) * len(experiment.get("n") or experiment["fractions"])
        for experiment in experiments
    )
    text, code = finish(
        call(
            tmp_path,
            "-m",
            "snakemake",
            "-s",
            "runs/Snakefile",
            "--config",
            f"profile={profile}",
            "--dry-run",
            "--quiet",
            "rules",
        )
    )
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


# one job


def execute(checkout, notebook, *outputs):
    return finish(
        call(
            checkout,
            "runs/execute.py",
            "--notebook",
            notebook,
            "--outputs",
            *outputs,
            "--folder",
            "runs/tiny",
            "--label",
            "a job",
            "--parameters",
            '{"t": 0.5}',
        )
    )


def test_failed_notebook_is_one_readable_block(checkout):
    write_notebook(
        checkout / "notebooks" / "x.ipynb",
        "t: float = 1.0",
        "assert t == 0.5",
        "a = 1\nraise ValueError('n=0 is less than 1')\n" + "# more\n" * 9,
    )
    (checkout / "runs" / "tiny").mkdir()
    text, code = execute(checkout, "notebooks/x.ipynb", "runs/tiny/x.ipynb")
    assert code == 1
    said, *block = [
        line for line in text.splitlines() if "IPKernelApp" not in line
    ]  # the kernel's own log
    assert re.fullmatch(r"a job +0:\d\d  FAILED", said)
    assert block == [
        "  notebooks/x.ipynb, cell [4], failed:",
        "    | a = 1",
        "    | raise ValueError('n=0 is less than 1')",
        *["    | # more"] * 4,
        "    | ...",
        "  ValueError: n=0 is less than 1",
        "  what was executed: runs/tiny/x.failed.ipynb",
    ]
    assert not (checkout / "runs" / "tiny" / "x.ipynb").exists()
    nbformat.validate(nbformat.read(checkout / "runs" / "tiny" / "x.failed.ipynb", 4))


def test_notebook_that_does_not_write_its_tables_fails(checkout):
    write_notebook(checkout / "notebooks" / "x.ipynb", "t: float = 1.0", "t")
    outputs = [f"runs/tiny/x.{suffix}" for suffix in ("ipynb", "html", "csv")]
    text, code = execute(checkout, "notebooks/x.ipynb", *outputs)
    assert code == 1
    assert "notebooks/x.ipynb ended without writing runs/tiny/x.csv" in text
    assert "<title>x</title>" in (checkout / "runs" / "tiny" / "x.html").read_text()


def test_kernel_of_a_finished_notebook_is_not_waited_for(checkout):
    write_notebook(
        checkout / "notebooks" / "x.ipynb",
        "t: float = 1.0",
        "import atexit, pathlib\n_ = atexit.register(pathlib.Path('exited').touch)",
    )
    text, code = execute(checkout, "notebooks/x.ipynb", "runs/tiny/x.ipynb")
    assert code == 0, text
    assert not (checkout / "exited").exists()


def test_notebook_that_a_signal_stopped_is_no_failure(checkout, runs):
    _, ledger = runs
    write_notebook(
        checkout / "notebooks" / "x.ipynb",
        "t: float = 1.0",
        "import os\nopen(os.environ['UDDM_STOPPED'], 'w').close()\nraise RuntimeError('stopped')",
    )
    folder = checkout / "runs" / "tiny"
    folder.mkdir()
    text, code = execute(checkout, "notebooks/x.ipynb", "runs/tiny/x.ipynb")
    assert code == 75
    said = [line for line in text.splitlines() if "IPKernelApp" not in line]
    assert re.fullmatch(r"a job +0:\d\d  STOPPED", said[0])
    assert said[1:] == ["  a checkpoint is kept; the same command continues"]
    assert [path.name for path in folder.iterdir()] == ["jobs.jsonl"]
    assert [event["event"] for event in ledger.events(folder)] == ["start", "stopped"]


@pytest.mark.parametrize(
    ("shown", "requeued"),
    [
        ("JobState=RUNNING Reason=None", True),
        ("JobState=COMPLETING Reason=TimeLimit", True),
        ("JobState=COMPLETING Reason=None", False),
    ],
)
def test_stopped_job_of_slurm_is_requeued_unless_it_was_cancelled(
    runs, tmp_path, monkeypatch, capsys, shown, requeued
):
    import execute

    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        f"#!/bin/sh\n[ $1 = show ] && echo {shown} && exit\necho disabled >&2\nexit 1\n"
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert execute._job_to_requeue() is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert execute._job_to_requeue() == ("7" if requeued else None)
    execute._requeue("7")
    assert (
        capsys.readouterr().out
        == "  Slurm job 7 is not requeued: disabled; the same command continues\n"
    )


# a cluster: what a real one does is tested in tests/cluster


@pytest.fixture
def cluster(runs, tmp_path, monkeypatch):
    """The module runs/cluster.py as on a machine that has the plugin and Slurm's commands, and a sweep's options."""
    import argparse

    import cluster

    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(cluster.shutil, "which", lambda name: name)

    def options(*arguments):
        parser = argparse.ArgumentParser()
        parser.add_argument("--threads", type=int, default=0)
        parser.set_defaults(profile="paper")
        cluster.add_options(parser)
        return parser.parse_args(arguments)

    return cluster, options


def test_options_of_a_cluster_replace_those_of_its_profile(cluster):
    cluster, options = cluster
    assert cluster.settings(options()) is None
    default = cluster.settings(options("--cluster", "slurm"))
    assert default["executor"] == "slurm" and default["slurm-requeue"] and default["threads"] == 4
    asked = cluster.settings(
        options(
            "--cluster",
            "slurm",
            "--partition",
            "max",
            "--gpus",
            "2",
            "--time",
            "8h",
            "--memory",
            "64G",
            "--threads",
            "16",
            "--no-requeue",
        )
    )
    assert asked["default-resources"] == {
        "slurm_partition": "'max'",
        "gpu": 2,
        "runtime": 480,
        "mem_mb": 64000,
    }
    assert asked["threads"] == 16 and asked["slurm-no-requeue"] and "slurm-requeue" not in asked
    assert asked["set-resources"] == default["set-resources"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--cluster", "lsf"],
            "cluster='lsf' has no runs/profiles/lsf/config.yaml; there are slurm",
        ),
        (["--gpus", "1"], "gpus: only with a cluster"),
        (["--no-requeue"], "no_requeue: only with a cluster"),
        (
            ["--cluster", "slurm", "--time", "8x"],
            "time='8x' must be a whole number, which may end in m, h, d",
        ),
        (
            ["--cluster", "slurm", "--memory", "-1"],
            "memory='-1' must be a whole number, which may end in M, G",
        ),
        (["--cluster", "slurm", "--gpus", "1.5"], "gpus='1.5' must be a whole number$"),
        (["--cluster", "slurm", "--threads", "-1"], "threads=-1: at least 1, or 0 for the one in"),
    ],
)
def test_wrong_options_of_a_cluster_are_refused(runs, cluster, arguments, message):
    cluster, options = cluster
    with pytest.raises(runs[0].ProfileError, match=message):
        cluster.settings(options(*arguments))


def test_jobs_that_an_earlier_sweep_left_are_found(cluster, tmp_path, monkeypatch):
    cluster, _ = cluster
    squeue = tmp_path / "squeue"
    squeue.write_text(
        f"#!/bin/sh\necho '3|uddm-paper_a1|{cluster.ROOT}'\necho '4|uddm-smoke_a1|{cluster.ROOT}'\n"
        "echo '5|uddm-paper_a1|/else'\n"
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert cluster.jobs_left("paper") == ["3"]


def test_long_job_says_how_far_it_is(runs, checkout, capsys, monkeypatch):
    import execute

    state = checkout / "state.json"
    state.write_text(
        json.dumps({"description": "training", "done": 30, "total": 100, "seconds_left": 70.0})
    )
    monkeypatch.setenv("UDDM_PROGRESS", str(state))
    monkeypatch.setattr(execute, "HEARTBEAT", 0.01)
    ended = execute._heartbeat("training markov pico n=16")
    time.sleep(0.3)
    ended.set()
    said = capsys.readouterr().out.splitlines()
    assert set(said) == {"      training markov pico n=16: training 30/100, about 70 s"}


# time left


def test_time_left_is_that_of_jobs_of_the_same_kind(runs, checkout):
    profiles, ledger = runs
    folder = checkout / "runs" / "tiny"
    plan = profiles.jobs("tiny", checkout)
    ledger.write_plan(folder, plan, workers=2)
    assert ledger.standing(folder) == (0, 8, None)  # nothing is known yet
    assert ledger.opening(folder) == "tiny: notebooks to run: 8, 2 at a time"

    (theory, first, *_), kind = plan, ["training", "markov", "pico"]
    ledger.note(folder, theory, ["theory"], "done", 4.0)
    assert ledger.standing(folder) == (1, 8, 7 * 4 / 2)  # the mean of all
    ledger.note(
        folder, "runs/tiny/gone/02_training.ipynb", kind, "done", 100.0
    )  # an older sweep's run
    ledger.note(folder, "runs/tiny/gone/02_training.ipynb", kind, "failed", 1.0)
    ended, planned, left = ledger.standing(folder)
    assert (ended, planned) == (1, 8)
    assert (
        left == (2 * 100 + 5 * (104 / 2)) / 2
    )  # two trainings, five of kinds not seen: the mean of all

    ledger.note(folder, first, kind, "start")
    assert ledger.standing(folder, now=time.time() + 60)[2] == pytest.approx(left - 30, abs=1)
    ledger.note(folder, first, kind, "failed", 60.0)
    assert ledger.standing(folder)[0] == 2


def test_ledger_survives_a_line_cut_short(runs, tmp_path):
    _, ledger = runs
    ledger.note(tmp_path, "a", [], "done", 1.0)
    with open(tmp_path / "jobs.jsonl", "a") as file:
        file.write('{"target": "b", "ki')
    assert [event["target"] for event in ledger.events(tmp_path)] == ["a"]


def test_durations_in_words(runs):
    _, ledger = runs
    assert [ledger.in_words(seconds) for seconds in (1, 44, 95, 3000, 8000)] == [
        "10 s",
        "40 s",
        "2 min",
        "50 min",
        "2.2 h",
    ]


# all of it


@pytest.mark.slow
def test_sweep_survives_failure_and_kill_and_repeats_nothing(checkout):
    def sweep():
        return finish(call(checkout, "runs/sweep.py", "tiny", "--cores", "2", "--threads", "1"))

    folder = checkout / "runs" / "tiny"
    (checkout / "fail-2").touch()
    text, code = sweep()
    assert code == 1
    assert "RuntimeError: no luck with 2" in text and "notebooks failed: 1" in text
    assert (
        folder / "markov-pico-n000001" / "04_entropy.ipynb"
    ).exists()  # independent jobs went on
    assert not (folder / "05_scaling.ipynb").exists()

    (checkout / "fail-2").unlink()
    (checkout / "wait").touch()
    killed = call(
        checkout, "runs/sweep.py", "tiny", "--cores", "2", "--threads", "1", start_new_session=True
    )
    running = folder / "markov-pico-n000002" / ".02_training.running.ipynb"
    while not running.exists():
        time.sleep(0.1)
    text, code = sweep()
    assert code == 1 and "another sweep of profile tiny is running" in text
    os.killpg(killed.pid, signal.SIGKILL)
    finish(killed)
    (checkout / "wait").unlink()

    done = (folder / "markov-pico-n000001" / "02_training.ipynb").stat().st_mtime_ns
    text, code = sweep()
    assert code == 0, text
    assert "notebooks to run: 4" in text and re.search(r"\[4/4\] scaling", text)
    assert "figures: paper_figures/tiny/" in text and "report:  runs/tiny/index.html" in text
    assert (folder / "markov-pico-n000001" / "02_training.ipynb").stat().st_mtime_ns == done
    page = (folder / "index.html").read_text()
    for link in re.findall(r'(?:href|src)="([^"]+)"', page):
        assert (folder / link).exists(), link
    scaling = nbformat.read(folder / "05_scaling.ipynb", 4)
    assert scaling.cells[-1].outputs[0].text == "0.1 True\n"

    text, code = sweep()
    assert code == 0 and "nothing to do" in text

    changed = json.loads(json.dumps(PROFILE))
    changed["experiments"][0]["recovery"] = {"levels": [0.2]}
    (checkout / "runs" / "tiny.yaml").write_text(yaml.safe_dump(changed))
    text, code = sweep()
    assert code == 0 and "notebooks to run: 3" in text  # two recoveries and the scaling

    changed["experiments"][0]["n"] = [1]
    (checkout / "runs" / "tiny.yaml").write_text(yaml.safe_dump(changed))
    text, code = sweep()
    assert code == 1 and "does not list" in text and "markov-pico-n000002" in text
