"""The sweep on a real Slurm: slurmctld and two slurmd on loopback.

``make test-cluster`` runs it, about 5 minutes.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile

import nbformat
import pytest
import yaml

from helpers import slurm
from helpers.fake_sweep import NOTEBOOKS, wait_for, write_checkout
from helpers.paths import ROOT
from uddm_lib.sweep.cluster import check_python
from uddm_lib.sweep.profiles import SweepError

OPTIONS = [
    *("--cluster", "slurm", "--partition", "gpu", "--gpus", "1", "--threads", "1"),
    *("--slurm-init-seconds-before-status-checks", "3"),
]
STEPS = 275
TRAINING_64 = "training markov-pico-n000064-s1"
# A step takes at least so long on every machine, and leaves a trace.
SLOW = """
import time
from torch.optim.optimizer import register_optimizer_step_pre_hook

def slowly(*_):
    time.sleep(0.2)
    with open("steps", "a") as file:
        file.write(".")

_ = register_optimizer_step_pre_hook(slowly)
"""

# A training that goes on while there is a file, and on a signal stops as the real one does.
TRAINING = [
    NOTEBOOKS["02_training"][0],
    """
import os, signal, time

class Stopped(RuntimeError):
    pass

def stop(*_):
    raise Stopped("stopped")

signal.signal(signal.SIGTERM, stop)
while os.path.exists(f"wait-{n}"):
    time.sleep(0.1)
""",
    NOTEBOOKS["02_training"][-1],
]


@pytest.fixture(scope="session")
def cluster():
    """The environment of a cluster of two nodes."""
    if lacking := slurm.missing():
        pytest.skip(
            "Slurm is not installed, nor could tests/cluster/install.sh do it: "
            f"no {', '.join(lacking)}"
        )
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        pytest.skip(
            "Snakemake's plugin for Slurm is not installed: "
            "pip install -c constraints.txt -e '.[cluster]'"
        )
    try:
        check_python()
    except SweepError as error:
        pytest.skip(str(error))
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        slurm.cluster(folder, kill_wait=10) as environment,
    ):
        yield environment


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the sweep takes, so that it starts with nothing done."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("notebooks", "uddm_lib", "runs/profiles", "runs/pretrained"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for path in (ROOT / "runs").iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / "runs")
    return tmp_path


class Sweep:
    """A sweep of ``profile`` on the cluster, in the background."""

    def __init__(self, cluster, checkout, profile, *options):
        self.folder, self.environment = checkout, cluster | {"PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uddm_lib", "sweep", profile, *OPTIONS, *options],
            cwd=checkout,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def finish(self):
        """What it printed, and its exit status."""
        text = self.process.communicate(timeout=600)[0]
        print(text, *self.jobs().items(), sep="\n")
        return text, self.process.returncode

    def slurm(self, *command):
        """The lines that a command of Slurm prints."""
        answer = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return answer.stdout.splitlines()

    def jobs(self):
        """Slurm's record of every job of this checkout's sweeps, by its rule and its run."""
        lines = self.slurm("scontrol", "--oneliner", "show", "jobs")
        lines = [line for line in lines if f" WorkDir={self.folder} " in line]
        jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return {
            job["Comment"].removeprefix("rule_").replace("_wildcards_", " "): job for job in jobs
        }


def test_smoke_profile_runs_end_to_end_on_two_nodes(cluster, checkout):
    sweep = Sweep(cluster, checkout, "smoke", "--time", "30m")
    text, code = sweep.finish()
    assert code == 0, text
    assert re.search(r"\[5/5\] scaling", text) and "report:  runs/smoke/index.html" in text
    jobs = sweep.jobs()
    assert len(jobs) == 5 and {job["JobState"] for job in jobs.values()} == {"COMPLETED"}
    assert {job["NodeList"] for job in jobs.values()} == {"node1", "node2"}
    assert {name for name, job in jobs.items() if job.get("TresPerJob") != "gres:gpu:1"} == {
        "theory",
        "scaling",
    }
    assert list((checkout / "paper_figures" / "smoke").glob("*.png"))


def test_job_at_its_time_limit_goes_back_into_the_queue_and_resumes(cluster, checkout):
    path = checkout / "notebooks" / "02_training.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell(SLOW, id="slow"))
    nbformat.write(notebook, path)
    experiment = {
        "corpus": "markov",
        "length": 16,
        "vocab_size": 32,
        "sizes": ["pico"],
        "n": [64],
        "training": {"steps": STEPS, "warmup_steps": 50},
    }
    (checkout / "runs" / "long.yaml").write_text(yaml.safe_dump({"experiments": [experiment]}))
    # Slurm looks at limits every 30 s: it warns in the second half of the minute, before the last
    # step is taken.
    sweep = Sweep(
        cluster,
        checkout,
        "long",
        "--time",
        "1m",
        "--until",
        "training",
        "--set-resources",
        "training:slurm_extra='--signal=TERM@1'",
    )
    wait_for(lambda: any(job["Restarts"] == "1" for job in sweep.jobs().values()))
    sweep.slurm(
        "scontrol", "update", "JobId=" + sweep.jobs()[TRAINING_64]["JobId"], "TimeLimit=30"
    )  # once is enough
    text, code = sweep.finish()
    run = checkout / "runs" / "long" / "markov-pico-n000064-s1"
    assert code == 0, text
    assert (
        re.search(r"training markov-pico-n000064-s1 +\d+:\d\d  STOPPED", text)
        and "goes back into the queue" in text
    )
    job = sweep.jobs()[TRAINING_64]
    assert job["JobState"] == "COMPLETED" and job["Restarts"] == "1"
    assert len((checkout / "steps").read_text()) == STEPS  # no step was lost, none taken twice
    assert (run / "02_training.ipynb").exists() and not list(run.glob("*.failed.ipynb"))
    assert not list(run.glob(".02_training*"))


def test_cancelled_job_leaves_the_others_and_the_next_call_completes_it(cluster, tmp_path):
    write_checkout(tmp_path, NOTEBOOKS | {"02_training": TRAINING})
    waiting = [tmp_path / f"wait-{n}" for n in (1, 2)]
    for path in waiting:
        path.touch()
    sweep = Sweep(cluster, tmp_path, "tiny")
    folder = tmp_path / "runs" / "tiny"
    running = [folder / f"markov-pico-n00000{n}-s1" / ".02_training.running.ipynb" for n in (1, 2)]
    wait_for(lambda: all(path.exists() for path in running))
    again = Sweep(cluster, tmp_path, "tiny")
    assert "another sweep of profile tiny is running" in again.finish()[0]

    cancelled = "training markov-pico-n000002-s1"
    sweep.slurm("scancel", sweep.jobs()[cancelled]["JobId"])
    waiting[0].unlink()
    text, code = sweep.finish()
    assert code == 1 and "the same command continues" in text
    assert {name for name, job in sweep.jobs().items() if job["JobState"] != "COMPLETED"} == {
        cancelled
    }
    done = [
        folder / "markov-pico-n000001-s1" / f"{name}.ipynb"
        for name in ("02_training", "03_recovery", "04_entropy")
    ]
    times = [path.stat().st_mtime_ns for path in done]
    assert not (folder / "05_scaling.ipynb").exists()

    waiting[1].unlink()
    text, code = Sweep(cluster, tmp_path, "tiny").finish()
    assert code == 0, text
    assert "notebooks to run: 4" in text and re.search(r"\[4/4\] scaling", text)
    assert [path.stat().st_mtime_ns for path in done] == times
