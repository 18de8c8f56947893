"""Experiments on the binary memory: training, basins, capacity, generalization."""

import math

import numpy as np
import pytest
import torch

from helpers.memories import seeded
from uddm_lib.theory import hopfield, memory_experiments, pseudo_likelihood
from uddm_lib.theory.patterns import (
    feature_examples,
    random_patterns,
    spin_glass,
    spin_glass_examples,
)
from uddm_lib.theory.separability import cover_probability, gardner_margin


def test_margins_grow_to_their_largest_value_during_training():
    patterns = random_patterns(40, 80, seeded(1))
    summary, margins = memory_experiments.training_history(patterns, [0, 1, 10, 100, 400])
    assert summary["step"].tolist() == [0, 1, 10, 100, 400] and len(margins) == 5 * 40 * 80
    assert summary["loss"][0] == pytest.approx(math.log(2))
    assert summary["loss"].is_monotonic_decreasing
    assert summary["cosine"][0] == pytest.approx(1) and summary["patterns"][0] == pytest.approx(40)
    assert summary["cosine"].iloc[-1] < 0.95 and summary["patterns"].iloc[-1] < 35
    smallest = margins.groupby("step")["margin"].min()
    assert smallest.tolist() == summary["smallest"].tolist()
    assert smallest[10] < smallest[100] < smallest[400]
    # The mean over neurons is close to the theory of N -> infinity, here within a few per cent.
    rows = margins[margins["step"] == 400].groupby("neuron")["margin"].min()
    assert rows.mean() == pytest.approx(gardner_margin(0.5), rel=0.05)
    steps, states = zip(*pseudo_likelihood.descent(patterns, [400]))
    assert steps == (400,) and torch.equal(states[0], pseudo_likelihood.train(patterns, 400))
    # At the maximum margin the couplings are a sum of weighted Hebbian terms, as descent is.
    hebbian = hopfield.hebb(patterns)
    cosine = torch.nn.functional.cosine_similarity(states[0], hebbian, dim=1).mean().item()
    assert cosine == pytest.approx(summary["cosine"].iloc[-1], abs=0.002)


def test_pseudo_likelihood_basins_are_larger_than_hebbian_ones():
    table = memory_experiments.basins([0.1], [0.3, 0.35], size=150, samples=16, steps=100)
    mean = table.pivot_table(index=["sample", "share"], columns="rule", values="overlap")
    for _, rows in mean.groupby("share"):
        gain = rows["pseudo-likelihood"] - rows["hebbian"]
        # 3.73 is Student's t of 15 degrees of freedom at a one-sided error of 0.1 %.
        assert gain.mean() > 3.73 * gain.std() / math.sqrt(16), (
            "larger overlap, with 99.9 % confidence"
        )


def test_capacity_of_pseudo_likelihood_lies_below_two():
    table = memory_experiments.capacity([1.2, 1.4, 2.4], size=80, rules=["pseudo-likelihood"])
    table = table.set_index("load")
    assert table["stable"][1.2] == table["stable"][1.4] == 1 and table["stable"][2.4] == 0
    for load in table.index:
        chance = cover_probability(round(load * 80), 79)
        error = math.sqrt(chance * (1 - chance) / 80)
        assert table["separated"][load] <= chance + 3 * error + 1e-12


@pytest.mark.slow
def test_hebbian_capacity_transition():
    loads = [0.1, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18]
    table = memory_experiments.capacity(loads, size=1_000, samples=4, rules=["hebbian"])
    table = table.groupby("load")[["stable", "retrieved"]].mean()
    retrieved = table["retrieved"].to_numpy()
    half = np.interp(-0.5, -retrieved, loads)
    assert (np.diff(retrieved) < 0).all() and 0.12 < half < 0.16, (
        f"half of the patterns are retrieved at {half:.3f}"
    )
    assert table["stable"][0.12] < 0.3 < 0.9 < retrieved[1], (
        "a retrieval state has errors long before the transition"
    )


def test_generalization_from_hidden_features():
    features = random_patterns(12, 100, seeded())
    examples = feature_examples(50, features, 3, seeded(1))
    assert ((examples @ torch.linalg.pinv(features)).abs() > 0.1).any()
    assert set(examples.unique().tolist()) == {-1, 1}
    table = memory_experiments.generalization(
        lambda n, g: feature_examples(n, features, 3, g),
        [8, 512],
        unseen=80,
        probes={"features": features},
        reference=hopfield.projector(features),
    )
    assert len(table) == 2 * (2 * (80 + 12) + 80) + 3 * (8 + 80)
    rate = table.groupby(["rule", "P", "group"])["recovered"].mean()["pseudo-likelihood"]
    assert rate[8, "stored"] == 1 and rate[8, "unseen"] < 0.7, "memorization"
    assert rate[512, "unseen"] > 0.75, "generalization"
    assert rate[8, "stored"] - rate[512, "stored"] > 0.05
    assert rate[512, "stored"] - rate[512, "unseen"] < 0.15, "they meet"
    assert rate[8, "stored"] - rate[8, "unseen"] > 0.3
    assert rate[512, "features"] > 0.95


def test_an_unseen_example_is_not_stored_and_neither_is_its_mirror_image():
    stored, new = random_patterns(5, 30, seeded()), random_patterns(3, 30, seeded(1))
    unseen = memory_experiments._unseen(torch.cat([stored, new, -stored]), stored, 3)
    assert torch.equal(unseen, new)


def test_student_meets_its_teacher():
    teacher = spin_glass(24, seeded())
    table = memory_experiments.generalization(
        lambda n, g: spin_glass_examples(n, teacher, 1.0, 20, g),
        [4, 2000],
        reference=teacher,
        parallel=False,
        unseen=150,
        rules=["pseudo-likelihood"],
    )
    overlap = table.groupby(["rule", "P", "group"])["overlap"].mean()
    student, limit = overlap["pseudo-likelihood"], overlap["reference"]
    assert student[4, "stored"] == 1 and student[4, "unseen"] < limit[4, "unseen"] - 0.05
    for group in ("stored", "unseen"):
        assert abs(student[2000, group] - limit[2000, group]) < 0.05


def test_experiments_are_reproducible():
    one, two = (
        memory_experiments.basins([0.1], [0.2], size=40, steps=20, seed=4) for _ in range(2)
    )
    assert one.equals(two)
    assert not one.equals(memory_experiments.basins([0.1], [0.2], size=40, steps=20, seed=5))


@pytest.mark.parametrize(
    "experiment, words",
    [
        (lambda: memory_experiments.basins([0], [0.1]), "load=0 is not allowed"),
        (
            lambda: memory_experiments.capacity([1], rules=["storkey"]),
            "rules holds 'storkey'; allowed are hebbian, pseudo-likelihood",
        ),
        (
            lambda: memory_experiments.generalization(
                lambda count, generator: torch.ones(1, 6).expand(count, -1), [4]
            ),
            "counts holds 4, which leaves 0 of 800 draws unseen; unseen=200 are needed",
        ),
    ],
)
def test_bad_arguments_are_named(experiment, words):
    with pytest.raises(ValueError, match=words):
        experiment()
