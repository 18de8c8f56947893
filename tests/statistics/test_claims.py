"""Claims about a sweep: they hold where they should, each can fail, bad limits are named."""

import pytest

from helpers.paths import ROOT
from helpers.tables import SIZES, run_tables
from uddm_lib.results import read_table
from uddm_lib.statistics import claims, collect

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


def test_claims_hold_for_a_sweep_with_a_transition(drawn):
    table = claims.evaluate(drawn, {"markov": LIMITS})
    assert len(table) == 10 * len(SIZES)
    assert table["holds"].all(), table.to_string()
    grows = table[table["claim"].str.contains("grows with size")]
    assert 40 < grows["measured"].iloc[0] < grows["measured"].iloc[1] < 512


@pytest.mark.parametrize("limit", claims.CLAIMS)
def test_every_claim_can_fail(drawn, limit):
    impossible = 1e3 if claims.CLAIMS[limit].at_least else -1e3
    table = claims.evaluate(drawn, {"markov": {"t": 0.1, limit: impossible}})
    assert len(table) == len(SIZES) and not table["holds"].any()


def test_a_transition_that_does_not_move_fails(drawn):
    backwards = {name: table.iloc[::-1] for name, table in drawn.items()}
    table = claims.evaluate(backwards, {"markov": {"t": 0.1, "transition_gap": 0.3}})
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
        claims.evaluate(drawn, limits)


@pytest.mark.usefixtures("unchecked")
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
        claims.evaluate(drawn, {"markov": limits})


def test_claims_name_a_missing_set(drawn):
    entropy = drawn["figure5_entropy"].query("set != 'generated'")
    with pytest.raises(ValueError, match="no set generated"):
        claims.evaluate({**drawn, "figure5_entropy": entropy}, {"markov": {"smallest_entropy": 1}})


def test_the_readme_names_the_claim_that_does_not_hold():
    table = read_table(ROOT / "paper_figures" / "laptop" / "claims.csv")
    (failed,) = table[~table["holds"]].to_dict("records")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"One of {len(table)} claims about the laptop sweep does not hold" in readme
    assert failed["corpus"] == "kjv" and failed["claim"].startswith("smallest n: entropy")
    assert f"generated sequences have {failed['measured']:.2f} nats per token" in readme
