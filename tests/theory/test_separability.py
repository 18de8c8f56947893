"""Largest margins and Cover's count."""

import math
import sys

import pytest
import torch

from helpers.memories import seeded
from uddm_lib.theory.hopfield import margins
from uddm_lib.theory.patterns import random_patterns
from uddm_lib.theory.pseudo_likelihood import train
from uddm_lib.theory.separability import cover_probability, gardner_margin, maximum_margins


def test_gardner_margin_solves_its_equation():
    assert gardner_margin(2) == pytest.approx(0, abs=1e-12)
    assert gardner_margin(0.5) > gardner_margin(1) > 0 > gardner_margin(3)
    kappa, t = gardner_margin(0.8), torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    density = torch.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    area = torch.trapezoid((t + kappa).clamp(min=0) ** 2 * density, t)
    assert area.item() == pytest.approx(1 / 0.8, rel=1e-6)
    with pytest.raises(ValueError, match="load=0 is not allowed; it must be above 0"):
        gardner_margin(0)


def test_cover_counts_what_a_neuron_can_learn():
    assert cover_probability(200, 100) == 0.5 and cover_probability(99, 99) == 1
    # Three points in the plane: all 8 labelings but the 2 with the middle one on the far side.
    assert cover_probability(3, 2) == 0.75
    with pytest.raises(ValueError, match="inputs=0 is not a positive integer"):
        cover_probability(3, 0)


def test_no_direction_has_a_larger_margin_than_the_maximum():
    patterns = random_patterns(12, 40, seeded())
    best = maximum_margins(patterns, range(40))
    trained = margins(train(patterns, 3000), patterns).amin(0)
    assert (trained < best * (1 + 1e-6)).all() and (trained > 0.995 * best).all()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(ImportError, match=r"pip install 'uddm-companion\[theory\]'"):
        maximum_margins(random_patterns(2, 5, seeded()), [0])
