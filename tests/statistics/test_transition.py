import math

import pandas as pd
import pytest

from helpers.tables import SIZES, run_tables
from uddm_lib.statistics import collect, transition

LIMITS = {
    "t": 0.1,
    "smallest_train": 0.9,
    "smallest_test": 0.25,
    "smallest_entropy": 0.1,
    "near_zero": 0.2,
    "apart": 0.05,
    "largest_test": 0.5,
    "largest_gap": 0.05,
    "largest_entropy": 0.5,
    "above_zero": 0.5,
    "transition_gap": 0.3,
}


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
    found = transition.transition(recovery_summary(gaps), t=0.1, threshold=0.3)
    assert found["transition_n"].item() == pytest.approx(expected)


def test_transition_names_an_unknown_time():
    with pytest.raises(ValueError, match="t=0.7 is not in the table; it has 0.1"):
        transition.transition(recovery_summary({8: 0.4}), t=0.7)


def test_claims_hold_for_a_sweep_with_a_transition(drawn):
    table = transition.claims(drawn, {"markov": LIMITS})
    assert len(table) == 10 * len(SIZES)
    assert table["holds"].all(), table.to_string()
    grows = table[table["claim"].str.contains("grows with size")]
    assert 40 < grows["measured"].iloc[0] < grows["measured"].iloc[1] < 512


@pytest.mark.parametrize("limit", [name for name in LIMITS if name not in ("t", "transition_gap")])
def test_every_claim_can_fail(drawn, limit):
    at_least = limit in ("smallest_train", "apart", "largest_test", "largest_entropy", "above_zero")
    table = transition.claims(drawn, {"markov": {"t": 0.1, limit: 1e3 if at_least else -1e3}})
    assert len(table) == len(SIZES) and not table["holds"].any()


def test_a_transition_that_does_not_move_fails(drawn):
    backwards = {name: table.iloc[::-1] for name, table in drawn.items()}
    table = transition.claims(backwards, {"markov": {"t": 0.1, "transition_gap": 0.3}})
    assert table["size"].tolist() == ["nano", "pico"] and table["holds"].tolist() == [True, False]


@pytest.mark.parametrize(
    "limits, message",
    [
        ({"markov": {"smallest": 1}}, "unknown limit smallest of markov; allowed: smallest_train"),
        ({"lm1b": {}}, r"corpus 'lm1b'; the tables hold \['markov'\]"),
        ({"markov": {"t": 0.3}}, "t=0.3 is not in"),
    ],
)
def test_bad_limits_are_named(drawn, limits, message):
    with pytest.raises(ValueError, match=message):
        transition.claims(drawn, limits)


@pytest.mark.parametrize(
    "limits, message",
    [
        (None, "limits of markov are None; give a dictionary"),
        ({"smallest_train": "0.9"}, "must be numbers; got smallest_train='0.9'"),
        ({"t": True}, "got t=True"),
    ],
)
def test_limits_that_are_no_numbers_are_named(drawn, limits, message):
    with pytest.raises(ValueError, match=message):
        transition.claims(drawn, {"markov": limits})


def test_claims_name_a_missing_set(drawn):
    entropy = drawn["figure5_entropy"].query("set != 'generated'")
    with pytest.raises(ValueError, match="no set generated"):
        transition.claims(
            {**drawn, "figure5_entropy": entropy}, {"markov": {"smallest_entropy": 1}}
        )


def test_a_model_without_a_measurement_does_not_spoil_the_transition():
    frame = recovery_summary({10: 0.9, 100: 0.5, 1000: 0.1})
    frame.loc[(frame["n"] == 100) & (frame["set"] == "train"), "mean"] = math.nan
    assert transition.transition(frame, 0.1)["transition_n"].item() == pytest.approx(
        10 ** (1 + 2 * 0.75)
    )


def test_transition_interval_covers_the_transition_and_shrinks_with_more_sequences():
    few, many = (
        transition.transition_intervals(run_tables(sequences=count)["recovery"], draws=300)
        for count in (15, 240)
    )
    assert many.columns.tolist() == ["corpus", "size", "t", "transition_n", "low", "high"]
    assert len(many) == len(SIZES) * 2
    found = transition.transition(
        collect.figure_tables(run_tables(sequences=240))["figure2_recovery"], 0.1
    )
    at_t = many[many["t"] == 0.1]
    assert at_t["transition_n"].tolist() == pytest.approx(found["transition_n"].tolist())
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
    # At n = 8 the made-up model is nearly the memorizer (train 1, test 0.1), at n = 4,096 the generalizer (0.6).
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
