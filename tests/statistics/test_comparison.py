"""Two sweeps compared: points inside, outside, missing; verdicts that turn."""

import math

import pandas as pd
import pytest

from uddm_lib.results import write_table
from uddm_lib.statistics import comparison

BANDS = [  # n, mean, low, high
    (8, 0.9, 0.88, 0.92),
    (64, 0.5, 0.4, 0.6),
    (512, 1.0, 1.0, 1.0),
]


def recovery(bands=BANDS, denoiser="network"):
    frame = pd.DataFrame(bands, columns=["n", "mean", "low", "high"])
    frame = frame.assign(seeds=3, sequences=768)
    frame.insert(0, "corpus", "markov")
    return frame.assign(denoiser=denoiser, set="train")


def moved(*by):
    """The points of ``BANDS``, each elsewhere; their own intervals don't count."""
    return recovery([(n, mean + d, 0.0, 0.0) for (n, mean, _, _), d in zip(BANDS, by)])


def compared(new, committed=None):
    points = comparison.compare({"figure2": committed or recovery()}, {"figure2": new})
    return points.set_index("n")


def test_points_inside_and_outside():
    points = compared(moved(0.02, 0.2, -0.000011))
    assert points["inside"].tolist() == [True, False, False]
    # Half a band of 0.1 from the mean becomes 0.141.
    assert points["inside_second"].tolist() == [True, False, False]
    assert points["distance"].tolist() == pytest.approx([0, 0.1 / 0.2, 1.1])
    assert compared(moved(0, 0.14, 0)).loc[64, ["inside", "inside_second"]].tolist() == [0, 1]
    assert compared(moved(0, 0.142, -0.00001))["inside_second"].tolist() == [True, False, True]


def test_points_that_only_one_sweep_has():
    points = compared(recovery([BANDS[0], (4096, 0.1, 0.0, 0.2)]))
    assert points["found"].to_dict() == {8: "both", 64: "committed", 512: "committed", 4096: "new"}
    assert points.loc[points["found"] != "both", "distance"].isna().all()
    shares = comparison.compared_shares(points.reset_index())
    assert shares["points"].to_dict() == {"figure2": 1, "all": 1, "exact limits": 0}


def test_exact_limits_do_not_raise_the_share():
    committed = pd.concat([recovery(), recovery(denoiser="memorizer")])
    new = pd.concat([moved(0.1, 0, 0), recovery(denoiser="memorizer")])
    points = comparison.compare({"figure2": committed}, {"figure2": new})
    shares = comparison.compared_shares(points)
    assert shares["points"].to_dict() == {"figure2": 3, "all": 3, "exact limits": 3}
    assert shares["inside"].tolist() == pytest.approx([2 / 3, 2 / 3, 1])


def test_a_transition_may_be_infinite():
    def at(*values):
        columns = ["transition_n", "low", "high"]
        return pd.DataFrame([values], columns=columns).assign(corpus="kjv", t=0.1)

    def inside(committed, new):
        points = comparison.compare({"transition": committed}, {"transition": at(new, new, new)})
        assert not points["inside"].item() or points["distance"].item() == 0
        return points["inside"].item(), points["inside_second"].item()

    assert inside(at(100, 90, math.inf), 1e6) == inside(at(100, 90, math.inf), math.inf) == (1, 1)
    assert inside(at(math.inf, 90, math.inf), 89) == (0, 0)
    assert inside(at(math.inf, math.inf, math.inf), 1e6) == (0, 0)
    assert inside(at(100, 90, 120), 127) == (0, 1)


def test_tables_without_intervals_are_left_out():
    bins = pd.DataFrame({"low": [0.0], "high": [1.0], "count": [3], "share": [1.0]})
    texts = pd.DataFrame({"original": ["a"]})
    tables = {"figure4": bins, "figure3": texts, "figure2": recovery(), "claims": bins}
    assert comparison.compare(tables, tables)["figure"].unique().tolist() == ["figure2"]
    with pytest.raises(ValueError, match="no table has intervals: figure3"):
        comparison.compare({"figure3": texts}, tables)
    unknown = recovery().rename(columns={"mean": "median"})
    with pytest.raises(ValueError, match="table x must have one of the columns mean, perplexity"):
        comparison.compare({"x": unknown}, tables)


def test_a_value_that_is_missing_is_no_point():
    points = compared(moved(0, math.nan, 0))
    assert points.loc[64, "found"] == "committed" and len(points) == 3


def test_flips_are_changes_between_two_verdicts():
    old = ["holds", "does not hold", "undecided", "holds", "not tested", "holds"]
    new = ["does not hold", "holds", "holds", "undecided", "holds", "does not hold"]
    claims = pd.DataFrame({"corpus": "kjv", "size": "nano", "name": list("abcdea"), "part": "t"})
    flips = comparison.verdict_flips(claims.assign(verdict=old), claims.assign(verdict=new))
    assert flips["name"].tolist() == ["a", "b"]
    assert flips["new"].tolist() == ["does not hold", "holds"]


def test_tables_of_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no tables of figures"):
        comparison.read_tables(tmp_path)
    write_table(recovery(), tmp_path / "figure2.csv", {})
    assert comparison.read_tables(tmp_path)["figure2"]["n"].tolist() == [8, 64, 512]
