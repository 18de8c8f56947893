"""Entropy of generated against training sequences, and of failed against recovered tokens."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from uddm_lib.statistics import entropies


def sequences(rates, tokens=10, count=40):
    """Sequence entropies from {(n, seed, set): nats per token}, with a tight spread."""
    rows = [
        ("c", "s", n, seed, "network", name, tokens * (rate + x), tokens)
        for (n, seed, name), rate in rates.items()
        for x in np.linspace(-1e-3, 1e-3, count)
    ]
    columns = ["corpus", "size", "n", "seed", "denoiser", "set", "entropy", "tokens"]
    return pd.DataFrame(rows, columns=columns)


def trainings(gap_of_seed, base_of_seed=0.0):
    rates = {}
    for seed, gap in gap_of_seed.items():
        base = base_of_seed * seed
        rates |= {(8, seed, "train"): base, (8, seed, "generated"): base + gap}
    return rates


def test_gap_is_generated_minus_training_per_token():
    row = entropies.entropy_gap(sequences(trainings({1: 0.2, 2: 0.3, 3: 0.4}))).iloc[0]
    assert row["mean"] == pytest.approx(0.3) and row["seeds"] == 3
    reach = 4.303 * 0.1 / math.sqrt(3)  # Student's t, two degrees of freedom, times the error
    assert [row["low"], row["high"]] == pytest.approx([0.3 - reach, 0.3 + reach], abs=0.01)


def test_both_sets_of_a_draw_come_from_the_same_trainings():
    """Trainings that differ in both sets alike, but not in the gap, have a sharp one."""
    row = entropies.entropy_gap(sequences(trainings({1: 0.2, 2: 0.2, 3: 0.2}, 1.0))).iloc[0]
    assert row["mean"] == pytest.approx(0.2)
    assert 0 < row["high"] - row["low"] < 2e-3


def test_a_training_or_an_n_without_generated_sequences_is_left_out():
    rates = trainings({1: 0.2, 2: 0.6})
    del rates[8, 2, "generated"]
    rates[64, 1, "train"] = 0.1
    found = entropies.entropy_gap(sequences(rates))
    assert found["n"].tolist() == [8] and found["seeds"].tolist() == [1]
    assert found["mean"].item() == pytest.approx(0.2)
    nothing = entropies.entropy_gap(sequences({(8, 1, "train"): 0.1}))
    assert nothing.empty and nothing.columns.tolist() == found.columns.tolist()


def test_a_table_without_seeds_is_one_training():
    table = sequences(trainings({1: 0.2}))
    pd.testing.assert_frame_equal(
        entropies.entropy_gap(table), entropies.entropy_gap(table.drop(columns="seed"))
    )


def test_gaps_name_bad_input():
    table = sequences(trainings({1: 0.2}))
    with pytest.raises(ValueError, match="no column tokens"):
        entropies.entropy_gap(table.drop(columns="tokens"))
    with pytest.raises(ValueError, match="draws=0"):
        entropies.entropy_gap(table, draws=0)


def token_table(recovered, failed):
    rows = [("c", "s", 8, "test", "recovered", h) for h in recovered]
    rows += [("c", "s", 8, "test", "failed", h) for h in failed]
    return pd.DataFrame(rows, columns=["corpus", "size", "n", "set", "outcome", "entropy"])


@pytest.mark.parametrize(
    "recovered, failed", [([0, 1], [2, 3]), ([0, 1, 1, 2], [1, 2, 5]), ([3], [0, 1]), ([1], [1])]
)
def test_auc_against_a_count_of_pairs(recovered, failed):
    pairs = list(itertools.product(recovered, failed))
    expected = sum((r < f) + 0.5 * (r == f) for r, f in pairs) / len(pairs)
    row = entropies.token_auc(token_table(recovered, failed)).iloc[0]
    assert row[["recovered", "failed"]].tolist() == [len(recovered), len(failed)]
    assert row["auc"] == pytest.approx(expected)


def test_there_is_no_auc_of_one_kind():
    assert math.isnan(entropies.token_auc(token_table([1, 2], [])).iloc[0]["auc"])
    assert math.isnan(entropies.token_auc(token_table([], [1])).iloc[0]["auc"])


def test_overlap_of_histograms():
    first, second = (pd.DataFrame({"share": shares}) for shares in ([0.5, 0.5, 0], [0, 0.25, 0.75]))
    assert entropies.overlap(first, first) == 1 and entropies.overlap(first, second) == 0.25
