import math

import numpy as np
import pandas as pd
import pytest

from uddm_lib.statistics import summary


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(1)
    inside = 0
    for i in range(200):
        mean, low, high = summary.bootstrap(generator.normal(3, 1, 80), draws=300, seed=i)
        assert low < mean < high
        inside += low < 3 < high
    assert 0.89 <= inside / 200 <= 0.99


def test_bootstrap_leaves_out_nan_and_repeats_its_seed():
    values = np.array([1.0, math.nan, 3.0])
    assert summary.bootstrap(values)[0] == 2
    assert summary.bootstrap(values, seed=4) == summary.bootstrap(values, seed=4)
    assert all(math.isnan(v) for v in summary.bootstrap([math.nan]))
    assert summary.bootstrap([2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize("options", [{"draws": 0}, {"level": 1.0}])
def test_bootstrap_names_bad_options(options):
    with pytest.raises(ValueError, match="draws="):
        summary.bootstrap([1.0], **options)


def test_summarize_counts_the_sequences_that_have_a_value():
    frame = pd.DataFrame({"set": ["b", "b", "a"], "x": [1.0, math.nan, 5.0]})
    table = summary.summarize(frame, ["set"], "x")
    assert table["set"].tolist() == ["b", "a"] and table["mean"].tolist() == [1, 5]
    assert table["sequences"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="no column t; it has set, x"):
        summary.summarize(frame, ["t"], "x")


T2 = 4.303  # Student's t, two degrees of freedom, 97.5 %


def trainings(means, sequences=200, spread=0.001):
    """A table of one group with a training per mean, its sequences close to it."""
    noise = np.random.default_rng(0).normal(0, spread, (len(means), sequences))
    return pd.DataFrame(
        {
            "set": "train",
            "seed": np.repeat(np.arange(1, len(means) + 1), sequences),
            "x": (np.array(means)[:, None] + noise).ravel(),
        }
    )


def test_an_interval_covers_the_spread_between_trainings():
    row = summary.summarize(trainings([0.2, 0.5, 0.8]), ["set"], "x").iloc[0]
    assert row["mean"] == pytest.approx(0.5, abs=1e-3)
    half = T2 * 0.3 / 3**0.5
    ends = row[["low", "high"]].tolist()
    assert ends == pytest.approx([0.5 - half, 0.5 + half], abs=0.03 * half)
    assert (row["sequences"], row["seeds"]) == (600, 3)


def test_an_interval_ends_at_the_bounds():
    row = summary.summarize(trainings([0.2, 0.5, 0.8]), ["set"], "x", (0, 1)).iloc[0]
    assert (row["low"], row["high"]) == (0, 1)


def measured(generator, trainings, sequences, spread, corruptions=4):
    """Rates of made-up trainings, near 0.9, and the true mean: both have an effect on them."""
    effects = generator.normal(0, spread, (trainings, 1)), generator.normal(0, 0.2, (1, sequences))
    chance = np.clip(0.8 + sum(effects), 0, 1)
    return generator.binomial(corruptions, chance) / corruptions


@pytest.mark.parametrize("spread", [0, 0.02, 0.1])
@pytest.mark.parametrize("count", [3, 5])
def test_the_interval_over_few_trainings_covers_the_mean_of_all(count, spread):
    generator = np.random.default_rng(3)
    truth = measured(generator, 2000, 2000, spread).mean()
    inside = 0
    for i in range(400):
        rates = measured(generator, count, 100, spread)
        seeds = np.repeat(np.arange(count), 100)
        _, low, high = summary.bootstrap(rates.ravel(), draws=200, seed=i, groups=seeds)
        inside += low <= truth <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_an_interval_covers_the_spread_between_sequences_too():
    table = trainings([0.5, 0.5, 0.5], sequences=100, spread=1.0)
    hierarchical = summary.summarize(table, ["set"], "x").iloc[0]
    pooled = summary.summarize(table.drop(columns="seed"), ["set"], "x").iloc[0]
    assert hierarchical["mean"] == pytest.approx(pooled["mean"])
    width = hierarchical["high"] - hierarchical["low"]
    assert width > 0.9 * (pooled["high"] - pooled["low"]) > 0.15


def test_the_variance_is_that_of_both_levels():
    generator = np.random.default_rng(2)
    means, draws = generator.normal(0, 0.2, 8), 20_000
    table = trainings(means, 50, spread=0.5)
    table["x"] += np.tile(generator.normal(0, 1, 50), 8)
    parts = summary.by_group(table["x"].to_numpy(), table["seed"])
    drawn = summary.resample_groups(summary.bootstrap_means(parts, draws, generator), generator)
    between = np.var(parts.mean(1), ddof=1) / len(parts) * 7 / 5  # of Student's t
    covariances = np.cov(parts, bias=True)
    alike = covariances[~np.eye(8, dtype=bool)].mean() / parts.shape[1]
    assert drawn.mean() == pytest.approx(table["x"].mean(), abs=0.005)
    assert drawn.var() == pytest.approx(between + alike, rel=0.05)


def test_what_all_trainings_share_does_not_average_out():
    """Every training is measured on the same sequences, some of which are harder than others."""
    shared = np.random.default_rng(1).normal(0, 1, 100)
    table = trainings([0.5, 0.5, 0.5], sequences=100)
    table["x"] += np.tile(shared, 3)
    together = summary.summarize(table, ["set"], "x").iloc[0]
    alone = summary.summarize(table[table["seed"] == 1], ["set"], "x").iloc[0]
    widths = [row["high"] - row["low"] for row in (together, alone)]
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_one_training_has_the_interval_over_its_sequences():
    table = trainings([0.5], spread=0.3)
    values = table["x"].to_numpy()
    half = 1.96 * values.std() / len(values) ** 0.5
    expected = (values.mean(), values.mean() - half, values.mean() + half)
    for frame in (table, table.drop(columns="seed")):
        row = summary.summarize(frame, ["set"], "x").iloc[0]
        assert tuple(row[["mean", "low", "high"]]) == pytest.approx(expected, abs=0.1 * half)
        assert row["seeds"] == 1


def test_trainings_count_alike_and_those_without_values_not_at_all():
    table = pd.DataFrame({"set": "a", "seed": [1, 1, 1, 2, 3], "x": [0.0, 0.0, 0.0, 1.0, math.nan]})
    row = summary.summarize(table, ["set"], "x").iloc[0]
    assert row["mean"] == 0.5 and row["sequences"] == 4 and row["seeds"] == 2
    none = summary.summarize(table.tail(1), ["set"], "x").iloc[0]
    assert math.isnan(none["mean"]) and none["sequences"] == none["seeds"] == 0


def test_a_table_by_seed_has_a_row_per_training():
    table = summary.summarize(trainings([0.2, 0.8]), ["set", "seed"], "x")
    assert table["seed"].tolist() == [1, 2] and table["seeds"].tolist() == [1, 1]


def test_bootstrap_needs_a_group_for_each_value():
    with pytest.raises(ValueError, match="2 groups for 1 values"):
        summary.bootstrap([1.0], groups=[1, 2])


def test_first_seeds_keeps_one_training_of_each_point():
    rows = [("c", "s", 8, 2), ("c", "s", 8, 1), ("c", "s", 64, 3), ("c", "s", 64, 2)]
    table = pd.DataFrame(rows, columns=[*summary.RUN_COLUMNS, "seed"])
    assert summary.first_seeds(table)["seed"].tolist() == [1, 2]
    without = table.drop(columns="seed")
    assert summary.first_seeds(without) is without


def test_histogram_counts_every_row_once():
    frame = pd.DataFrame(
        {"corpus": "c", "size": "s", "n": [1] * 4 + [2], "h": [0.0, 0.1, 1.0, 2.0, 0.5]}
    )
    table = summary.histogram(frame, ["corpus", "size", "n"], "h", bins=4)
    assert table.loc[table["n"] == 1, "count"].tolist() == [2, 0, 1, 1]
    assert table.groupby("n")["share"].sum().tolist() == [1, 1]
    assert table["high"].max() == 2


def test_pivot_keeps_the_order_of_appearance():
    rows = [("b", 128, "x", 1.0), ("b", 8, "x", 2.0), ("a", 8, "x", 3.0), ("a", 8, "w", 4.0)]
    wide = summary.pivot(
        pd.DataFrame(rows, columns=["size", "n", "set", "mean"]), ["size", "n"], ["set"]
    )
    assert wide.index.tolist() == [("b", 128), ("b", 8), ("a", 8)] and wide.columns.tolist() == [
        "w",
        "x",
    ]
    assert wide["x"].tolist() == [1, 2, 3]
    one = summary.pivot(
        pd.DataFrame(rows[1:], columns=["size", "n", "set", "mean"]), ["size"], ["n", "set"]
    )
    assert one.index.tolist() == ["b", "a"]


def test_values_with_their_intervals_as_text():
    rows = [("b", 1, 137.4, 126.0, 148.0), ("a", 2, 5.0, math.nan, 7.0)]
    frame = pd.DataFrame(rows, columns=["size", "t", "n", "low", "high"])
    wide = summary.with_intervals(frame, ["size"], ["t"], "n", digits=0)
    assert wide.index.tolist() == ["b", "a"]
    assert wide.loc["b", 1] == "137 [126, 148]" and wide.loc["a", 2] == "5 [nan, 7]"
    with pytest.raises(ValueError, match="low"):
        summary.with_intervals(frame.drop(columns="low"), ["size"], ["t"], "n", digits=0)


def test_histogram_needs_something_to_count():
    frame = pd.DataFrame({"corpus": ["c"], "size": ["s"], "n": [1], "h": [math.nan]})
    for empty in (frame, frame.iloc[:0]):
        with pytest.raises(ValueError, match="column h of the table holds no values"):
            summary.histogram(empty, ["corpus", "size", "n"], "h")
