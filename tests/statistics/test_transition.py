"""The transition: where it lies, how sure that is, how far models are from the exact limits."""

import math

import numpy as np
import pandas as pd
import pytest

from helpers.tables import SIZES, run_tables
from uddm_lib.statistics import collect, transition
from uddm_lib.statistics.summary import RUN_COLUMNS


@pytest.fixture(scope="module")
def drawn():
    return collect.figure_tables(run_tables())


def recovery_summary(gap_by_n, t=0.1):
    rows = [
        ("c", "s", n, "network", name, t, 0.5 + (gap if name == "train" else 0))
        for n, gap in gap_by_n.items()
        for name in ("train", "test")
    ]
    return pd.DataFrame(rows, columns=["corpus", "size", "n", "denoiser", "set", "t", "mean"])


def runs(gap_by_n):
    """Recovery of one training with one sequence; t = 0.1."""
    return recovery_summary(gap_by_n).rename(columns={"mean": "recovered"})


def transition_n(frame):
    return transition.transition_intervals(frame, draws=2)["transition_n"]


def test_gap_is_train_minus_test():
    table = transition.gaps(recovery_summary({8: 0.4}))
    assert table.loc[0, ["train", "test", "gap"]].tolist() == pytest.approx([0.9, 0.5, 0.4])
    lacking = recovery_summary({8: 0.4})
    with pytest.raises(ValueError, match="no set test"):
        transition.gaps(lacking[lacking["set"] == "train"])


@pytest.mark.parametrize(
    "gaps, expected",
    [
        ({10: 0.9, 1000: 0.1}, 10 ** (1 + 2 * 0.75)),  # three quarters of the way in log n
        ({10: 0.2, 1000: 0.1}, 10),
        ({10: 0.9, 1000: 0.8}, math.inf),
        ({1000: 0.1, 10: 0.9, 100: 0.5}, 10**2.5),
    ],
)
def test_transition_against_a_hand_count(gaps, expected):
    assert transition_n(runs(gaps)).item() == pytest.approx(expected)


def test_transition_names_an_unknown_time():
    with pytest.raises(ValueError, match="t=0.7 is not in the table; it has 0.1"):
        transition.at_time(recovery_summary({8: 0.4}), t=0.7)


def test_a_model_without_a_measurement_does_not_spoil_the_transition():
    frame = runs({10: 0.9, 100: 0.5, 1000: 0.1})
    frame.loc[(frame["n"] == 100) & (frame["set"] == "train"), "recovered"] = math.nan
    assert transition_n(frame).item() == pytest.approx(10 ** (1 + 2 * 0.75))


def test_transition_interval_covers_the_transition_and_shrinks_with_more_sequences():
    few, many = (
        transition.transition_intervals(run_tables(sequences=count)["recovery"], draws=300)
        for count in (15, 240)
    )
    assert many.columns.tolist() == ["corpus", "size", "t", "transition_n", "low", "high"]
    assert len(many) == len(SIZES) * 2
    means = collect.figure_tables(run_tables(sequences=240))["figure2_recovery"]
    gaps = transition.at_time(transition.gaps(means), 0.1).groupby("size", sort=False)
    expected = [
        transition.crossing(part["n"].to_numpy(float), part["gap"].to_numpy(), 0.3)
        for _, part in gaps
    ]
    at_t = many[many["t"] == 0.1]
    assert at_t["transition_n"].tolist() == pytest.approx(expected)
    assert (at_t["low"] < at_t["transition_n"]).all() and (
        at_t["transition_n"] < at_t["high"]
    ).all()
    assert ((many["high"] / many["low"]).to_numpy() < (few["high"] / few["low"]).to_numpy()).all()


def test_transition_interval_says_infinite_where_the_gap_stays():
    table = run_tables(sequences=10)["recovery"]
    found = transition.transition_intervals(table[table["n"] == 8], draws=50)
    assert (found[["transition_n", "low", "high"]] == math.inf).all(axis=None)


def test_distances_to_the_limits(drawn):
    far = transition.distances(drawn)
    assert far[["size", "n"]].drop_duplicates().shape == (len(far), 2) and len(far) == 8
    pico = far[far["size"] == "pico"].set_index("n")
    # The made-up model: at n = 8 nearly the memorizer (train 1, test 0.1), at n = 4,096 nearly
    # the generalizer (0.6).
    assert pico.loc[8, "memorizer (points)"] < 5 < 30 < pico.loc[8, "generalizer (points)"]
    assert pico.loc[4096, "generalizer (points)"] < 2 < 30 < pico.loc[4096, "memorizer (points)"]
    assert pico.loc[4096, "generalizer (nats)"] < 0.02
    assert pico.loc[4096, "memorizer (nats)"] == pytest.approx(0.6, abs=0.02)


def test_distances_need_known_limits(drawn):
    networks = {
        name: table[table["denoiser"] == "network"] if "denoiser" in table else table
        for name, table in drawn.items()
    }
    assert transition.distances(networks).empty


def test_a_set_without_corrupted_tokens_is_left_out_of_the_intervals():
    table = run_tables(sequences=10)["recovery"]
    spoiled = table.assign(recovered=table["recovered"].mask(table["n"] == 64))
    found = transition.transition_intervals(spoiled, draws=50)
    without = transition.transition_intervals(table[table["n"] != 64], draws=50)
    pd.testing.assert_frame_equal(found, without)
    empty = transition.transition_intervals(table.assign(recovered=math.nan), draws=50)
    assert empty.empty and empty.columns.tolist() == without.columns.tolist()


def recovery_rates(gap_by_run, sequences=50, base=0.1):
    """Recovery by (n, seed): tight sequences, and a base that differs from seed to seed."""
    rows = [
        ("c", "s", n, seed, "network", name, 0.1, base * seed + (gap if name == "train" else 0) + x)
        for (n, seed), gap in gap_by_run.items()
        for name in ("train", "test")
        for x in np.linspace(-1e-3, 1e-3, sequences)
    ]
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, "seed", "denoiser", "set", "t", "recovered"])


def test_a_transition_varies_with_its_trainings():
    rates = recovery_rates({(10, 1): 0.9, (1000, 1): 0.1, (1000, 2): 0.15, (1000, 3): 0.05})
    row = transition.transition_intervals(rates, draws=400).iloc[0]
    half = 4.303 * 0.05 / 3**0.5  # Student's t, two degrees of freedom
    at = [10 * 100 ** (0.6 / (0.9 - gap)) for gap in (0.1, 0.1 - half, 0.1 + half)]
    assert row[["transition_n", "low", "high"]].tolist() == pytest.approx(at, rel=0.05)


def test_training_and_test_recovery_of_one_training_stay_together():
    """Trainings that differ in both sets alike, but not in the gap, have a sharp transition."""
    gaps = {(n, seed): gap for n, gap in ((10, 0.9), (1000, 0.1)) for seed in (1, 2, 3)}
    row = transition.transition_intervals(recovery_rates(gaps), draws=200).iloc[0]
    assert row["low"] == pytest.approx(row["high"], rel=0.01)


def test_one_training_has_the_interval_it_had_without_seeds():
    table = run_tables(sequences=10)["recovery"]
    pd.testing.assert_frame_equal(
        transition.transition_intervals(table, draws=50),
        transition.transition_intervals(table.drop(columns="seed"), draws=50),
    )


def test_a_training_without_a_gap_is_left_out():
    rates = recovery_rates({(10, 1): 0.9, (1000, 1): 0.1, (1000, 2): 0.5})
    spoiled = rates["recovered"].mask((rates["seed"] == 2) & (rates["set"] == "test"))
    row = transition.transition_intervals(rates.assign(recovered=spoiled), draws=50).iloc[0]
    assert row["transition_n"] == pytest.approx(10 ** (1 + 2 * 0.75), rel=0.01)


@pytest.mark.parametrize("options", [{"draws": 0}, {"level": 1.0}])
def test_intervals_name_bad_options(options):
    with pytest.raises(ValueError, match="draws="):
        transition.transition_intervals(run_tables(sequences=2)["recovery"], **options)
