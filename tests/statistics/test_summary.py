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


def test_histogram_needs_something_to_count():
    frame = pd.DataFrame({"corpus": ["c"], "size": ["s"], "n": [1], "h": [math.nan]})
    for empty in (frame, frame.iloc[:0]):
        with pytest.raises(ValueError, match="column h of the table holds no values"):
            summary.histogram(empty, ["corpus", "size", "n"], "h")
