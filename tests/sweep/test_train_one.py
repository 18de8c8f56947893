"""The command ``train``: several processes train a run, and its notebook finds it trained."""

import pytest

from helpers.checkout import checkout
from helpers.fake_sweep import finish, start_sweep, write_profile
from helpers.processes import launch

EXPERIMENT = {
    "corpus": "markov",
    "length": 8,
    "vocab_size": 8,
    "sizes": ["pico"],
    "n": [8],
    "training": {"steps": 40, "batch_size": 6, "micro_batch": 2, "dropout": 0.1},
}


@pytest.mark.slow
def test_a_run_trained_by_two_processes_is_what_its_notebook_reads(tmp_path):
    checkout(tmp_path)
    write_profile(tmp_path, {"experiments": [EXPERIMENT]}, "two")
    run = tmp_path / "runs" / "two" / "markov-pico-n000008-s1"
    command = ("-m", "uddm_lib", "train", "two", run.name)
    output = launch(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert sum("matrix products" in text for text in output) == 1 and (run / "model").is_dir()
    log = (run / "log.csv").stat().st_mtime_ns

    text, status = finish(start_sweep(tmp_path, "two", "--until", "training"))
    assert status == 0, text
    assert (run / "02_training.ipynb").is_file() and (run / "log.csv").stat().st_mtime_ns == log
