"""The test of kind: its closed form, texts that say nothing, and what it sees that is subtle."""

import random

import numpy as np
import pytest

from uddm_lib.audit import significance
from uddm_lib.audit.significance import two_sample_p_value

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def test_each_prediction_is_of_a_regression_without_its_text():
    """In closed form the same as one regression for each text that is left out."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(12, 5))
    features -= features.mean(0)
    features *= (12 / (features**2).sum()) ** 0.5
    labels = np.repeat([1.0, 0.0], [4, 8])
    labels -= labels.mean()
    predicted = np.empty(12)
    for left in range(12):
        rest = np.arange(12) != left
        known = features[rest]
        square = known.T @ known + significance.RIDGE * np.eye(5)
        predicted[left] = features[left] @ np.linalg.solve(square, known.T @ labels[rest])
    expected = (predicted * labels).sum() / np.linalg.norm(predicted)
    found = significance._told_apart(7 * features @ features.T + 3, labels[:, None])
    assert found == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "text"),
    {
        "one word each": lambda draw: "".join(draw.choices(LETTERS, k=30)),
        "one text": lambda draw: "All men are liars.",
        "one letter": lambda draw: draw.choice(LETTERS),
    }.items(),
)
def test_texts_that_say_nothing_are_of_one_kind(kind, text):
    """Words that no two texts share, or that all do, must not look like a difference."""
    draw = random.Random(1)
    texts = [text(draw) for _ in range(120)]
    assert two_sample_p_value(texts[:30], texts[30:]) > 0.05


def test_few_changed_letters_are_seen():
    """Two of a hundred letters differ, in every text: too few for a reader of one."""
    draw = random.Random(1)
    texts = [" ".join("".join(draw.choices(LETTERS, k=5)) for _ in range(20)) for _ in range(400)]
    changed = [
        "".join("X" if c != " " and draw.random() < 0.02 else c for c in text)
        for text in texts[:50]
    ]
    assert two_sample_p_value(changed, texts[50:]) <= 0.01
    assert two_sample_p_value(texts[:50], texts[50:]) > 0.05


def test_small_p_values_are_as_rare_as_they_say(monkeypatch):
    """Texts of two sorts at random places in both files, 200 times."""
    monkeypatch.setattr(significance, "PERMUTATIONS", 99)
    draw = random.Random(1)
    sorts = ["the quick brown fox", "1 2 3 4 5 6 7 8 9"]
    p_values = []
    for seed in range(200):
        texts = [" ".join(draw.sample(draw.choice(sorts).split(), 4)) for _ in range(60)]
        p_values.append(two_sample_p_value(texts[:20], texts[20:], seed))
    # Binomial: more than 20 of 200 at a rate of 0.05, or fewer than 3, has a chance of 0.3 %.
    assert 3 <= sum(p <= 0.05 for p in p_values) <= 20
    assert min(p_values) >= 0.01
