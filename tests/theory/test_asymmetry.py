"""Memories without symmetric couplings: what they store, and that they have no energy."""

import math

import pytest
import torch

from helpers.memories import random_couplings, seeded
from uddm_lib.theory import asymmetry, hopfield
from uddm_lib.theory.patterns import random_patterns
from uddm_lib.theory.pseudo_likelihood import train

SYMMETRIC, THEN = "trained symmetric", "trained, then symmetrized"


def test_asymmetry_is_zero_for_hebb_and_one_for_one_way_couplings():
    assert asymmetry.asymmetry(hopfield.hebb(random_patterns(5, 20, seeded()))) == 0
    mask = asymmetry.one_way(20, seeded())
    assert torch.equal(mask + mask.T, 1 - torch.eye(20, dtype=torch.float64))
    assert 50 < mask.triu().sum() < 140, "both directions occur, of 190 pairs"
    one_way = mask * random_couplings(20)
    assert asymmetry.asymmetry(one_way) == pytest.approx(1)
    assert torch.equal(asymmetry.symmetric_part(one_way) * 2, one_way + one_way.T)


def test_training_keeps_to_the_allowed_couplings():
    patterns, mask = random_patterns(10, 60, seeded()), asymmetry.one_way(60, seeded(1))
    one_way = train(patterns, project=mask.mul)
    assert not (one_way * (1 - mask)).any() and hopfield.stable(one_way, patterns).all()
    symmetric = train(patterns, project=asymmetry.symmetric_part)
    assert torch.equal(symmetric, symmetric.T) and hopfield.stable(symmetric, patterns).all()


def test_relaxation_follows_the_dynamics_flip_by_flip(worst):
    patterns, couplings = random_patterns(6, 30, seeded()), random_couplings(30)
    path = asymmetry.relaxation(couplings, patterns, 0.2, sweeps=4, generator=seeded(1))
    start = hopfield.corrupt(patterns, 0.2, seeded(1))
    end = hopfield.retrieve(couplings, start, 4, parallel=False)
    for when, states in (("first", start), ("last", end)):
        seen = path.groupby("run").agg(when)
        energy = -(states @ couplings * states).sum(1) / 60
        error = (torch.tensor(seen["energy"].to_numpy()) - energy).abs().max()
        worst("energy along the dynamics", "its definition", error, 1e-12)
        assert seen["overlap"].to_numpy() == pytest.approx((states * patterns).mean(1).numpy())
    assert (path.groupby("run")["flip"].diff().dropna() == 1).all()
    steps = path["overlap"].diff()[path["flip"] > 0].abs()
    assert steps.to_numpy() == pytest.approx(2 / 30), "one bit a flip"


def test_the_energy_never_rises_with_symmetric_couplings():
    patterns = random_patterns(8, 40, seeded())
    couplings = asymmetry.symmetric_part(random_couplings(40))
    path = asymmetry.relaxation(couplings, patterns, 0.3, generator=seeded(1))
    assert len(path) > 8 and not (path.groupby("run")["energy"].diff() > 1e-12).any()


@pytest.fixture(scope="module")
def controls():
    return asymmetry.symmetry_controls([0.2, 1.0], 0.1, size=40, samples=6)


def significance(table, column, high, low):
    """Student's t of a paired difference over the sets of patterns, at a load of 1."""
    rows = table[table["load"] == 1].pivot(index="sample", columns="couplings", values=column)
    gain = rows[high] - rows[low]
    return gain.mean() / (gain.std() / math.sqrt(len(gain)))


def test_symmetric_or_not_makes_no_memory(controls):
    mean = controls.groupby(["load", "couplings"]).mean()
    free, symmetric = (mean.xs(name, level="couplings") for name in ("trained", SYMMETRIC))
    assert free["asymmetry"].is_monotonic_increasing and (free["asymmetry"] > 0.02).all()
    assert (symmetric["asymmetry"] == 0).all() and (symmetric["rises"] == 0).all()
    assert (free["stable"] == 1).all() and (symmetric["stable"] == 1).all()
    assert mean["stable"][1.0, THEN] < 0.6, "symmetrized too late"
    # 4.03 is Student's t of 5 degrees of freedom at a one-sided error of 0.5 %.
    assert significance(controls, "margin", "trained", SYMMETRIC) > 4.03
    assert significance(controls, "overlap", SYMMETRIC, "trained") > 4.03
    assert significance(controls, "rises", "trained", SYMMETRIC) > 4.03


def test_one_way_couplings_have_basins_without_an_energy(controls):
    rows = controls[(controls["couplings"] == "trained one-way") & (controls["load"] == 0.2)]
    assert (rows["asymmetry"] > 0.99).all() and (rows["stable"] == 1).all()
    assert rows["overlap"].mean() > 0.9 and rows["rises"].mean() > 0.05
    # Where a state comes back after it changed, no function can fall at every flip.
    patterns = random_patterns(15, 100, seeded(1))
    couplings = train(patterns, project=asymmetry.one_way(100, seeded(2)).mul)
    ends = hopfield.retrieve(couplings, random_patterns(300, 100, seeded(3)), 60, parallel=False)
    moving = ends[~hopfield.stable(couplings, ends)]
    assert len(moving)
    again = hopfield.retrieve(couplings, moving, 60, parallel=False)
    assert (again == moving).all(1).any()


@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named():
    patterns = random_patterns(3, 6, seeded())
    with pytest.raises(ValueError, match="size=0 is not a positive integer"):
        asymmetry.one_way(0)
    with pytest.raises(ValueError, match="sweeps=0 is not a positive integer"):
        asymmetry.relaxation(random_couplings(6), patterns, 0.1, sweeps=0)
    with pytest.raises(ValueError, match="load=0 is not allowed"):
        asymmetry.symmetry_controls([0], 0.1)
    with pytest.raises(ValueError, match="J_ii must be 0"):
        asymmetry.relaxation(random_couplings(6) + 1, patterns, 0.1)
