import math

import numpy as np
import pandas as pd
import pytest
from tables import NS, SIZES, run_tables

from uddm_lib import results, summary


@pytest.fixture(scope="module")
def drawn():
    return summary.figure_tables(run_tables())


def recovery_summary(gap_by_n, t=0.1):
    rows = [("c", "s", n, name, t, 0.5 + (gap if name == "train" else 0))
            for n, gap in gap_by_n.items() for name in ("train", "test")]
    return pd.DataFrame(rows, columns=["corpus", "size", "n", "set", "t", "mean"])


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


def test_summarise_counts_the_sequences_that_have_a_value():
    frame = pd.DataFrame({"set": ["b", "b", "a"], "x": [1.0, math.nan, 5.0]})
    table = summary.summarise(frame, ["set"], "x")
    assert table["set"].tolist() == ["b", "a"] and table["mean"].tolist() == [1, 5]
    assert table["sequences"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="no column t; it has set, x"):
        summary.summarise(frame, ["t"], "x")


def test_histogram_counts_every_row_once():
    frame = pd.DataFrame({"corpus": "c", "size": "s", "n": [1] * 4 + [2], "h": [0.0, 0.1, 1.0, 2.0, 0.5]})
    table = summary.histogram(frame, ["corpus", "size", "n"], "h", bins=4)
    assert table.loc[table["n"] == 1, "count"].tolist() == [2, 0, 1, 1]
    assert table.groupby("n")["share"].sum().tolist() == [1, 1]
    assert table["high"].max() == 2


def test_pivot_keeps_the_order_of_appearance():
    rows = [("b", 128, "x", 1.0), ("b", 8, "x", 2.0), ("a", 8, "x", 3.0), ("a", 8, "w", 4.0)]
    wide = summary.pivot(pd.DataFrame(rows, columns=["size", "n", "set", "mean"]), ["size", "n"], ["set"])
    assert wide.index.tolist() == [("b", 128), ("b", 8), ("a", 8)] and wide.columns.tolist() == ["w", "x"]
    assert wide["x"].tolist() == [1, 2, 3]
    one = summary.pivot(pd.DataFrame(rows[1:], columns=["size", "n", "set", "mean"]), ["size"], ["n", "set"])
    assert one.index.tolist() == ["b", "a"]


def test_gap_is_train_minus_test():
    table = summary.gaps(recovery_summary({8: 0.4}))
    assert table.loc[0, ["train", "test", "gap"]].tolist() == pytest.approx([0.9, 0.5, 0.4])
    lacking = recovery_summary({8: 0.4})
    with pytest.raises(ValueError, match="no set test"):
        summary.gaps(lacking[lacking["set"] == "train"])


@pytest.mark.parametrize("gaps, expected", [
    ({10: 0.9, 1000: 0.1}, 10 ** (1 + 2 * 0.75)),   # three quarters of the way in log n
    ({10: 0.2, 1000: 0.1}, 10), ({10: 0.9, 1000: 0.8}, math.inf), ({1000: 0.1, 10: 0.9, 100: 0.5}, 10**2.5),
])
def test_transition_against_a_hand_count(gaps, expected):
    found = summary.transition(recovery_summary(gaps), t=0.1, threshold=0.3)
    assert found["transition_n"].item() == pytest.approx(expected)


def test_transition_names_an_unknown_time():
    with pytest.raises(ValueError, match="t=0.7 is not in the table; it has 0.1"):
        summary.transition(recovery_summary({8: 0.4}), t=0.7)


def test_figure_tables_are_small_and_complete(drawn):
    assert set(drawn) == set(summary.FIGURE_TABLES)
    assert len(drawn["figure2_recovery"]) == len(SIZES) * len(NS) * 3 * 2
    assert set(drawn["figure3_examples"]["n"]) == {min(NS), max(NS)}
    shares = drawn["figure4_sequence_entropy"].groupby(["size", "n", "set"])["share"].sum()
    assert np.allclose(shares, 1)
    train = drawn["figure5_entropy"].query("size == 'pico' and n == 4096 and set == 'train'")["mean"].item()
    assert train == pytest.approx(0.6 + 0.45 / 16, abs=0.01)


LIMITS = {"t": 0.1, "smallest_train": 0.9, "smallest_test": 0.25, "smallest_entropy": 0.1, "near_zero": 0.2,
          "apart": 0.05, "largest_test": 0.5, "largest_gap": 0.05, "largest_entropy": 0.5, "above_zero": 0.5,
          "transition_gap": 0.3}


def test_claims_hold_for_a_sweep_with_a_transition(drawn):
    table = summary.claims(drawn, {"markov": LIMITS})
    assert len(table) == 10 * len(SIZES)
    assert table["holds"].all(), table.to_string()
    grows = table[table["claim"].str.contains("grows with size")]
    assert 40 < grows["measured"].iloc[0] < grows["measured"].iloc[1] < 512


@pytest.mark.parametrize("limit", [name for name in LIMITS if name not in ("t", "transition_gap")])
def test_every_claim_can_fail(drawn, limit):
    at_least = limit in ("smallest_train", "apart", "largest_test", "largest_entropy", "above_zero")
    table = summary.claims(drawn, {"markov": {"t": 0.1, limit: 1e3 if at_least else -1e3}})
    assert len(table) == len(SIZES) and not table["holds"].any()


def test_a_transition_that_does_not_move_fails(drawn):
    backwards = {name: table.iloc[::-1] for name, table in drawn.items()}
    table = summary.claims(backwards, {"markov": {"t": 0.1, "transition_gap": 0.3}})
    assert table["size"].tolist() == ["nano", "pico"] and table["holds"].tolist() == [True, False]


@pytest.mark.parametrize("limits, message", [
    ({"markov": {"smallest": 1}}, "unknown limit smallest of markov; allowed: smallest_train"),
    ({"lm1b": {}}, r"corpus 'lm1b'; the tables hold \['markov'\]"), ({"markov": {"t": 0.3}}, "t=0.3 is not in"),
])
def test_bad_limits_are_named(drawn, limits, message):
    with pytest.raises(ValueError, match=message):
        summary.claims(drawn, limits)


def test_tables_of_a_sweep_are_collected_small_models_first(tmp_path):
    tables = run_tables(sequences=2)
    shapes = {"pico": (2, 32), "nano": (2, 64)}
    for size, (blocks, width) in shapes.items():
        for n in NS:
            folder = tmp_path / results.run_name("markov", size, n)
            results.open_run(folder, {"corpus": "markov", "n": n, "n_blocks": blocks, "hidden_size": width})
            for name, table in tables.items():
                mine = table[(table["size"] == size) & (table["n"] == n)]
                results.write_table(mine, folder / f"{name}.csv", {})
    found = summary.collect(tmp_path)
    assert found["validation"]["size"].tolist() == ["pico"] * 4 + ["nano"] * 4
    assert found["validation"]["n"].tolist() == [*NS, *NS]
    saved = summary.figure_tables(found)
    for name, table in saved.items():
        results.write_table(table, tmp_path / "kept" / f"{name}.csv", {})
    again = summary.read_tables(tmp_path / "kept")
    for name, table in saved.items():
        pd.testing.assert_frame_equal(again[name], table, check_dtype=False)
    (folder / "basins.csv").unlink()
    with pytest.raises(FileNotFoundError, match="unfinished runs, without markov-nano-n004096/basins.csv"):
        summary.collect(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        summary.collect(tmp_path / "kept")


@pytest.mark.parametrize("limits, message", [
    (None, "limits of markov are None; give a dictionary"),
    ({"smallest_train": "0.9"}, "must be numbers; got smallest_train='0.9'"), ({"t": True}, "got t=True"),
])
def test_limits_that_are_no_numbers_are_named(drawn, limits, message):
    with pytest.raises(ValueError, match=message):
        summary.claims(drawn, {"markov": limits})


def test_claims_name_a_missing_set(drawn):
    entropy = drawn["figure5_entropy"].query("set != 'generated'")
    with pytest.raises(ValueError, match="no set generated"):
        summary.claims({**drawn, "figure5_entropy": entropy}, {"markov": {"smallest_entropy": 1}})


def test_a_model_without_a_measurement_does_not_spoil_the_transition():
    frame = recovery_summary({10: 0.9, 100: 0.5, 1000: 0.1})
    frame.loc[(frame["n"] == 100) & (frame["set"] == "train"), "mean"] = math.nan
    assert summary.transition(frame, 0.1)["transition_n"].item() == pytest.approx(10 ** (1 + 2 * 0.75))


def test_histogram_needs_something_to_count():
    frame = pd.DataFrame({"corpus": ["c"], "size": ["s"], "n": [1], "h": [math.nan]})
    for empty in (frame, frame.iloc[:0]):
        with pytest.raises(ValueError, match="column h of the table holds no values"):
            summary.histogram(empty, ["corpus", "size", "n"], "h")
