"""Verdicts on claims: each can hold, fail and stay open; what a sweep lacks is not tested."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from helpers.claimed_sweep import NS, SIZES, sweep
from helpers.paths import ROOT
from uddm_lib.results import read_table
from uddm_lib.statistics import claims, collect, summary
from uddm_lib.statistics.claims.bounds import above, below, between
from uddm_lib.statistics.claims.resamples import Resamples

FALLS = {("entropy", 3, "small"), ("generated", 3, "small")}
CASES = {  # by claim: what is changed, and a value for which it holds, fails, is undecided +- this
    "stored": ("train", 0, 0.95, 0.5, 0.9, 0.2),
    "unseen_lost": ("test", 0, 0.05, 0.5, 0.13, 0.1),
    "shrink": ("train", 3, 0.5, 1.0, 0.9, 0.1),
    "expand": ("test", 3, 0.5, 0.1, 0.15, 0.1),
    "meet": ("train", 3, 0.5, 0.7, 0.55, 0.1),
    "basins_meet": ("train", 3, 0.5, 0.7, 0.55, 0.1),
    "half": ("train", 3, 0.5, 0.8, 0.6, 0.1),
    "processes_alike": ("greedy", 3, 0.0, 0.3, 0.1, 0.1),
    "recovery_levels": ("train", 2, 0.5, 0.8, 0.575, 0.1),
    "overwrites": ("unstable", 0, 0.8, 0.2, 0.5, 0.2),
    "overwrites_greedy": ("unstable", 0, 0.8, 0.2, 0.5, 0.2),
    "keeps": ("unstable", 3, 0.02, 0.4, 0.1, 0.1),
    "keeps_greedy": ("unstable", 3, 0.02, 0.4, 0.1, 0.1),
    "memorizer_recovered": ("recovered", 0, 0.9, 0.1, 0.5, 0.2),
    "memorizer_failed": ("failed", 0, 0.1, 0.9, 0.5, 0.2),
    "memorizer_auc": ("recovered", 0, 0.9, 0.1, 0.5, 0.2),
    "generalizer_recovered": ("recovered", 3, 0.9, 0.1, 0.5, 0.2),
    "generalizer_failed": ("failed", 3, 0.1, 0.9, 0.5, 0.2),
    "generalizer_auc": ("recovered", 3, 0.9, 0.1, 0.5, 0.2),
    "sure_tokens": ("recovered", 3, 0.9, 0.0, 0.1, 0.1),
    "entropy_vanishes": ("generated", 0, 0.02, 0.5, 0.1, 0.05),
    "entropy_separates": ("generated", 1, 0.6, 0.1, 0.2, 0.1),
    "entropy_finite": ("entropy", 3, 0.5, 0.01, 0.1, 0.05),
    "entropy_meets": ("generated", 3, 0.5, 0.9, 0.5005, 0.0005),
    "gap_remains": ("generated", 3, 0.6, 0.4, 0.5, 0.1),
    "entropy_levels": ("generated", 2, 0.5, 0.9, 0.575, 0.1),
    "perplexity_peaks": ("nelbo", 1, 3.0, 1.5, 2.0, 0.2),
    "copies": ("generated", 0, 0.02, 0.9, 0.45, 0.45),
    "delay": ("train", (1, "large"), 0.95, 0.6, 0.7, 0.2),
    "gap_narrows": ("generated", (3, "small"), 0.7, 0.3, 0.5, 0.1),
    "entropy_falls": ("entropy", (3, "small"), 0.7, 0.3, 0.5, 0.1),
}
BY_NAME = {claim.name: claim for claim in claims.CLAIMS}


def evaluated(tables, *names, draws=100):
    """The rows of some claims."""
    return claims.evaluate(tables, draws, [BY_NAME[name] for name in names])


def test_all_claims_have_their_cases():
    assert list(BY_NAME) == [claim.name for claim in claims.CLAIMS]
    assert set(CASES) == set(BY_NAME)


@pytest.mark.parametrize("name", CASES)
def test_a_claim_holds_or_fails_or_stays_open(name):
    level, place, good, bad, bound, spread = CASES[name]
    key = (level, *place) if isinstance(place, tuple) else (level, place)
    for verdict, change in (
        ("holds", (good, 0)),
        ("does not hold", (bad, 0)),
        ("undecided", (bound, spread)),
    ):
        changes = {key: change}
        if name == "entropy_falls":  # of training and of generated sequences
            changes["generated", 3, "small"] = change
        table = evaluated(sweep(changes), name)
        assert len(table) and table["verdict"].isin(claims.VERDICTS).all()
        assert claims.folded(table)["verdict"].eq(verdict).all(), table.to_string()


def test_the_rule_compares_the_whole_interval_with_the_bound():
    least = above(0.9, "share", "", lambda model: np.zeros(2))
    assert least.verdict(0.91, 1.0) == "holds"
    assert least.verdict(0.89, 0.95) == "undecided"
    assert least.verdict(0.5, 0.9) == "does not hold"
    most = below(0.1, "share", "", lambda model: np.zeros(2))
    assert [most.verdict(0, 0.05), most.verdict(0.2, 0.3)] == ["holds", "does not hold"]
    within = between(-1, 1, "share", "", lambda model: np.zeros(2))
    assert within.verdict(-0.5, 0.5) == "holds" and within.verdict(-2, 2) == "undecided"
    assert within.verdict(1.5, 2) == within.verdict(-3, -2) == "does not hold"
    assert [least.bound, most.bound, within.bound] == ["> 0.9", "< 0.1", "from -1 to 1"]


def test_a_row_tells_what_was_measured():
    table = evaluated(sweep(), "stored", "delay")
    assert (table["size"] + " " + table["part"]).tolist() == [
        "small ",
        "large ",
        "large t = 0.1",
        "large t = 0.5",
    ]
    assert table["measured"].iloc[0] == pytest.approx(1.0)
    assert (table["low"] <= table["measured"]).all() and (table["measured"] <= table["high"]).all()
    # The gap falls from 0.95 at n = 8 to 0.2 or 0.45 at n = 64, and to 0 at 512.
    small = 8 * 8 ** (0.65 / 0.75)
    assert table["measured"].iloc[2] == pytest.approx(64 * 8 ** (0.15 / 0.45) / small)


def test_a_sweep_of_one_run_tests_nothing():
    table = claims.evaluate(sweep(sizes=["small"], ns=[8], seeds=[1]), draws=20)
    assert set(table["verdict"]) == {"not tested"}
    assert set(table["reason"]) == {
        "the sweep has one n",
        "fewer than 20 generated sequences that are no copies",
        "one training a point gives no interval of the perplexity",
    }


def test_a_sweep_of_one_size_compares_no_sizes():
    table = claims.evaluate(sweep(sizes=["small"]), draws=50)
    skipped = table[table["verdict"] == "not tested"]
    compared = [claim.name for claim in claims.CLAIMS if claim.of_sizes]
    assert skipped["name"].unique().tolist() == compared
    assert skipped["reason"].unique().tolist() == ["the sweep has one model size"]
    assert skipped[["measured", "low", "high"]].isna().all(axis=None)


def test_a_sweep_of_one_seed_takes_its_interval_over_sequences():
    table = claims.evaluate(sweep({("nelbo", 1): (5.0, 0)}, seeds=[1]), draws=50)
    skipped = table[table["verdict"] == "not tested"]
    assert skipped["name"].unique().tolist() == ["perplexity_peaks"]
    stored = table[table["name"] == "stored"]
    assert (stored["high"] - stored["low"]).between(0.001, 0.02).all()


def test_what_a_sweep_lacks_is_not_tested():
    tables = sweep()
    entropy = tables["sequence_entropy"]
    tables["sequence_entropy"] = entropy[entropy["set"] != "generated"]
    tables["basins"] = tables["basins"].query("share == 0.5")
    tokens = tables["token_entropy"]
    tables["token_entropy"] = tokens[(tokens["outcome"] != "failed") | (tokens["set"] == "test")]
    reasons = evaluated(
        tables, "copies", "entropy_meets", "keeps_greedy", "memorizer_failed", "memorizer_recovered"
    )
    tested = reasons["verdict"] != "not tested"
    assert reasons[~tested].groupby("name")["reason"].unique().map(list).to_dict() == {
        "copies": ["the sweep has no generated sequences"],
        "entropy_meets": ["the sweep has no generated sequences"],
        "keeps_greedy": ["the sweep has no share = 0.1"],
        "memorizer_failed": ["fewer than 20 corrupted tokens failed"],
    }
    assert (reasons[tested]["name"] + reasons[tested]["part"]).unique().tolist() == [
        "memorizer_failedtest",
        "memorizer_recoveredtrain",
        "memorizer_recoveredtest",
    ]


def test_transitions_outside_of_the_grid_are_not_compared():
    early = {(name, place): (0.5, 0) for name in ("train", "test") for place in range(len(NS))}
    table = evaluated(sweep(early), "delay")
    assert set(table["reason"]) == {"both transitions lie outside of the grid"}
    late = {("train", place, "large"): (1.0, 0) for place in range(len(NS))}
    table = evaluated(sweep(late), "delay")
    assert set(table["verdict"]) == {"holds"} and np.isinf(table["measured"]).all()


def test_differences_come_from_the_same_trainings_and_sequences():
    tables = sweep({("train", 3): (0.5, 0.2), ("test", 3): (0.5, 0.2)})
    table = evaluated(tables, "half", "meet")
    width = (table["high"] - table["low"]).groupby(table["name"]).max()
    assert width["half"] > 0.3 and width["meet"] < 0.03


def test_resamples_are_those_of_the_summary():
    rows = sweep({("test", 0): (0.4, 0.1)})["recovery"]
    rows = rows.query("size == 'small' and n == 8 and set == 'test' and t == 0.1")
    resamples = Resamples()
    draws = resamples.combined(resamples.mean(rows, "recovered"), "small 8")
    mean, low, high = summary.bootstrap(rows["recovered"], groups=rows["seed"])
    assert draws[0] == pytest.approx(mean)
    assert np.quantile(draws[1:], [0.025, 0.975]) == pytest.approx([low, high], abs=0.005)


def test_areas_are_those_of_all_pairs():
    generator = np.random.default_rng(0)
    values = generator.integers(0, 5, 40).astype(float)  # with ties
    rows = pd.DataFrame({"size": "s", "n": 1, "seed": 1, "set": "a", "x": values})
    rows, yes = rows.assign(sequence=range(40)), values + generator.normal(0, 2, 40) > 2
    pairs = values[yes][:, None] - values[~yes]
    area = Resamples(10).auc(rows, "x", yes)[0]
    assert area[0] == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)


@pytest.mark.parametrize("overlap", [0.5, 0.9, 0.97])
def test_intervals_of_the_overlap_cover_it(overlap):
    generator, covered = np.random.default_rng(0), 0
    shift = -2 * NormalDist().inv_cdf(overlap / 2)
    rows = pd.DataFrame({"size": "s", "n": 1, "seed": 1, "set": ["a"] * 200 + ["b"] * 200})
    rows = rows.assign(sequence=[*range(200)] * 2)
    for _ in range(60):
        x = generator.normal(shift * (rows["set"] == "b"))
        draws = Resamples(100).overlap(rows.assign(x=x), "x", rows["set"] == "b")[0]
        low, high = np.quantile(draws[1:], [0.025, 0.975])
        covered += low <= overlap <= high
    assert covered >= 0.7 * 60  # near 1 the interval is short; without the correction: none


def test_bad_input_is_named():
    tables = sweep()
    with pytest.raises(ValueError, match="draws=0: must be at least 1"):
        claims.evaluate(tables, draws=0)
    tokens = tables["token_entropy"].drop(columns="sequence")
    with pytest.raises(ValueError, match="no column sequence"):
        claims.evaluate({**tables, "token_entropy": tokens})


def test_claims_that_must_hold_are_checked():
    table = evaluated(sweep({("train", 0, "large"): (0.5, 0)}), "stored", "unseen_lost")
    claims.require(table, ["unseen_lost"])
    with pytest.raises(AssertionError, match="made +large .* does not hold"):
        claims.require(table, ["stored", "unseen_lost"])
    with pytest.raises(AssertionError, match="not evaluated: meet"):
        claims.require(table, ["meet"])
    with pytest.raises(ValueError, match="unknown claims storage; allowed: stored, "):
        claims.require(table, ["storage"])


def test_a_table_in_markdown_has_a_row_for_a_claim_and_a_column_for_a_corpus():
    changed = {("train", 0, "large"): (0.5, 0), ("test", 0, "large"): (0.13, 0.1)}
    tables = [sweep(changed), sweep(sizes=["small"])]
    tables[1] = {name: table.assign(corpus="other") for name, table in tables[1].items()}
    joined = {name: pd.concat([table[name] for table in tables]) for name in tables[0]}
    table = evaluated(joined, "stored", "unseen_lost", "delay")
    lines = claims.markdown(table).splitlines()
    assert lines[0] == "| claim | paper | what must be so | made | other |"
    assert len(lines) == 2 + 3
    first = "| At the smallest n, training sequences come back | section 5, figure 2 "
    first += "| train recovery, t = 0.1, smallest n (share) > 0.9 "
    first += "| **does not hold** (large): 0.50 [0."
    assert lines[2].startswith(first)
    assert "] (large); **holds** (small) | **holds**: 1.00 [" in lines[2]
    assert "| **undecided** (large): 0.10 [" in lines[3]
    assert lines[4].endswith("| **not tested**: the sweep has one model size |")
    counted = claims.counts(table)
    assert counted.loc[("made", "large")].tolist() == [1, 2, 0, 0]
    assert counted.loc[("other", "small")].tolist() == [0, 0, 2, 1]
    assert len(counted) == len(SIZES) + 1


@pytest.mark.parametrize("profile", ["desktop", "laptop"])
def test_the_verdicts_beside_the_figures_are_those_of_the_table(profile):
    folder = ROOT / "paper_figures" / profile
    table = read_table(folder / "claims.csv")
    assert (folder / "claims.md").read_text() == claims.markdown(table, brief=True) + "\n"


def test_the_readme_shows_the_verdicts_of_the_sweeps():
    tables = collect.read_figure_tables(["paper_figures/desktop", "paper_figures/laptop"])
    readme, all_values = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/claims.md")
    )
    assert claims.markdown(tables["claims"]) in all_values
    assert claims.markdown(tables["claims"], brief=True) in readme
