"""What docs/audit.md says of models under hybrid noise is what was measured."""

import pytest

from helpers.paths import ROOT
from uddm_lib.audit.calibration import TRANSITION, with_regime
from uddm_lib.results import read_table


@pytest.fixture(scope="module")
def table():
    table = read_table(ROOT / "benchmarks" / "results" / "hybrid_noise.csv")
    assert len(table) == 30 and table.groupby(["source", "n"])["seed"].nunique().eq(3).all()
    return with_regime(table)


def test_the_verdicts_are_those_of_the_document(table):
    document = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert len(table) == 30 - 3 and "Three of the trainings failed" in document
    inside = table["regime"] == TRANSITION
    outside = table[~inside]
    assert f"| hybrid noise | outside the transition ({len(outside)}): right |" in document
    assert f"inside ({inside.sum()}): *in transition* or *cannot say*" in document
    for name, how in {
        "alone": "from 64 generations, hybrid noise",
        "unseen": "with unseen text, hybrid noise",
    }.items():
        right = (outside[name] == outside["regime"]).mean()
        unsure = (outside[name] == "cannot say").mean()
        among = table[inside][name].isin([TRANSITION, "cannot say"]).mean()
        shares = [right, unsure, 1 - right - unsure, among]
        row = f"\n| {how} | {' | '.join(f'{abs(share):.0%}' for share in shares)} |\n"
        assert row in document, row
