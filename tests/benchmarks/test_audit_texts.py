"""What docs/audit.md says of the scores is what was measured."""

from helpers.paths import ROOT
from uddm_lib.audit.texts import SCORE
from uddm_lib.results import read_table


def test_the_table_of_the_document():
    table = read_table(ROOT / "benchmarks" / "results" / "audit_texts.csv")
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    for n, part in table.groupby("n"):
        rows = part.set_index("score")
        cells = [
            f"{row['auc']:.2f} [{row['auc_low']:.2f}, {row['auc_high']:.2f}]"
            for row in (rows.loc[name] for name in (SCORE, "min_k", "entropy", "loss", "blind"))
        ]
        first = rows.iloc[0]
        cells.append(f"{first['verdict']}, {first['found']} of {first['members']}")
        assert f"\n| {n:,} | {' | '.join(cells)} |\n" in text
    auc = table[table["score"] == SCORE].set_index("n")["auc"]
    assert auc[16] > 0.99 and auc[128] > 0.99 and auc.iloc[-1] < 0.6
    assert table["unseen"].unique().tolist() == [500]
    assert f"p = {table['blind_p'].iloc[-1]:.3f} for 192 texts" in text
