"""Several processes, or parts of a batch, give the same numbers as one process at once."""

import pytest
import torch

from helpers.paths import ROOT
from helpers.processes import launch
from helpers.training_runs import BLOCKS, RUNS, run, unmeasured, weights
from uddm_lib import devices
from uddm_lib.checkpoints import load
from uddm_lib.results import read_table
from uddm_lib.training import TrainingOptions, TrainingResult
from uddm_lib.training.batches import global_batch, shares


@pytest.fixture(autouse=True)
def no_measurement(monkeypatch):
    monkeypatch.setattr(devices, "matmul_rate", unmeasured)


def compare(worst, what, found, expected):
    """Compare losses and weights: Adam's steps are of one size however small the gradient."""
    for column in ("loss", "validation_nelbo"):
        error = (found.log[column] / expected.log[column] - 1).abs().max()
        worst(f"{column}, relative", what, error, 2e-6)
    worst(
        "trained weights", what, (weights(found.model) - weights(expected.model)).abs().max(), 1e-4
    )


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path, worst):
    """Seven sequences make unequal shares; a signal to the second process stops one run."""
    names = ["plain", "parts", "stopped"]
    launch(
        str(ROOT / "tests" / "helpers" / "training_runs.py"),
        str(tmp_path / "two"),
        *names,
    )
    for name in names:
        folder = tmp_path / "two" / name
        two = TrainingResult(folder, load(folder / "model"), read_table(folder / "log.csv"))
        compare(worst, "one process", two, run(tmp_path / "one", name, micro_batch=0))
        assert {path.name for path in folder.iterdir()} == {
            "model",
            "log.csv",
            "log.json",
            "run.json",
        }


@pytest.mark.parametrize("name", ["plain", "gaussian"])
@pytest.mark.parametrize("micro_batch", [1, 3, 100])
def test_parts_of_a_batch_train_as_the_whole(tmp_path, worst, name, micro_batch):
    whole, parts = (
        run(tmp_path / "whole", name),
        run(tmp_path / "parts", name, micro_batch=micro_batch),
    )
    compare(worst, "the batch at once", parts, whole)
    again = run(tmp_path / "parts", name)  # another device may take more at once
    assert torch.equal(weights(again.model), weights(parts.model))


@pytest.mark.parametrize(
    ("processes", "at_once"), [(1, 0), (1, 3), (2, 0), (3, 2), (7, 1), (4, 50)]
)
def test_shares_are_the_batch(processes, at_once):
    taken = [shares(7, process, processes, at_once) for process in range(processes)]
    assert sorted(i for parts in taken for part in parts for i in range(7)[part]) == list(range(7))
    assert all(1 <= len(range(7)[part]) <= (at_once or 7) for parts in taken for part in parts)


def test_more_processes_than_sequences_are_refused():
    with pytest.raises(
        ValueError,
        match="batch_size=2 is not allowed; it must be at least the number of processes, 3",
    ):
        shares(2, 0, 3)


@pytest.mark.parametrize("name", ["plain", "gaussian"])
def test_what_a_sequence_sees_depends_on_its_place_in_the_batch(name):
    options = TrainingOptions(batch_size=7, **RUNS[name])
    whole, other = (global_batch(BLOCKS, options, 6, step) for step in (3, 4))
    parts = shares(7, 1, 2, 2)
    assert [range(7)[part] for part in parts] == [range(1, 5, 2), range(5, 7, 2)]
    for field, *taken in zip(whole, *map(whole.take, parts)):
        if isinstance(field, tuple):
            (field, _), taken = field, [tokens for tokens, _ in taken]
        assert field is None or torch.equal(torch.cat(taken), field[[1, 3, 5]])
    assert (whole.alpha_t.diff() < 0).all() and len(
        whole.alpha_t
    ) == 7  # one time in each seventh: antithetic
    assert whole.scale.sum().item() == pytest.approx(
        1 / 4
    )  # over the 4 tokens of a sequence: a mean
    assert not torch.equal(whole.z_t, other.z_t) and not torch.equal(whole.alpha_t, other.alpha_t)
