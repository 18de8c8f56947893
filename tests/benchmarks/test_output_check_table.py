"""What docs/audit.md says of the check of the output is what was measured."""

import pytest

from helpers.paths import ROOT
from uddm_lib.audit.calibration import GENERALIZING, MEMORIZING
from uddm_lib.results import read_table

TRAINED = {"leave-one-out": "NELBO", "denoiser": "cross-entropy"}


@pytest.fixture(scope="module")
def table():
    return read_table(ROOT / "benchmarks" / "results" / "output_check.csv")


@pytest.fixture(scope="module")
def document():
    return " ".join((ROOT / "docs" / "audit.md").read_text(encoding="utf-8").split())


def test_how_often_facts_are_contradicted(table, document):
    assert table.groupby("part")["source"].nunique().to_dict() == {"development": 5, "judged": 3}
    for (output, stated), rows in table.groupby(["output", "stated"]):
        cells = [TRAINED[output], stated]
        for part in ("development", "judged"):
            of_part = rows[rows["part"] == part]
            for on in ("generated", "unseen"):
                cells.append(f"{of_part[f'{on}_contradicts'].sum()} of {len(of_part)}")
        assert f"| {' | '.join(cells)} |" in document


def test_how_far_predictions_move(table, document):
    right = table[table["output"] == table["stated"]]
    for output, rows in right.groupby("output"):
        cells = [rows[f"unseen_{reading}"].median() for reading in TRAINED]
        cells.append(rows["raw_neighbor"].median())
        text = " | ".join(f"{value:.2f}" for value in cells)
        assert f"| {TRAINED[output]} | {text} |" in document


def test_what_is_missed_has_the_right_verdict(table, document):
    wrong = table[table["output"] != table["stated"]]
    missed = {on: wrong[~wrong[f"{on}_contradicts"]] for on in ("generated", "unseen")}
    for on, rows in missed.items():
        assert (rows[f"{on}_unchecked"] == rows["regime"]).all()
    counts = [len(rows) for rows in missed.values()]
    text = "Of {} wrong statements it misses {} on generated sequences and {} on unseen text."
    assert text.format(len(wrong), *counts) in document


def test_what_wrong_facts_do(table, document):
    wrong = table[(table["output"] != table["stated"]) & (table["regime"] == GENERALIZING)]
    for output, verdict in (("leave-one-out", MEMORIZING), ("denoiser", GENERALIZING)):
        rows = wrong[wrong["output"] == output]
        said = (rows["generated_unchecked"] == verdict).sum()
        assert f"- {said} of {len(rows)}" in document
        caught = rows["generated_contradicts"].sum()
        assert f"are called *{verdict}*. The check stops {caught}" in document
    keys = ["source", "kind", "n"]
    true = table["output"] == table["stated"]
    right, other = (table[part].set_index(keys)["auc"] for part in (true, ~true))
    change = other - right
    text = f"The AUC of `log_p` changes by {change.min():+.2f} to {change.max():+.2f}."
    assert text in document and change.notna().sum() == 80
