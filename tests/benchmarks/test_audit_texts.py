"""What docs/audit.md says of the scores is what was measured."""

from helpers.paths import ROOT
from uddm_lib.audit.texts import SCORE
from uddm_lib.results import read_table

TEXT = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")


def test_the_table_of_texts_cut_elsewhere():
    table = read_table(ROOT / "benchmarks" / "results" / "audit_cuts.csv")
    for row in table.itertuples(index=False):
        assert f"\n| {' | '.join(map(str, row))} |\n" in TEXT
    assert (table["part"] == table["texts"]).all()
    rows = table.set_index("shift")
    quarter = rows.loc[:16]
    assert (quarter["texts"] - quarter["log_p"]).max() == 1
    last = rows.loc[31]
    said = (
        f"it finds {last['log_p']} of {last['texts']} texts, and\ntwo cuts find {last['best_log_p']}"
    )
    assert said in TEXT


def test_the_table_of_the_document():
    table = read_table(ROOT / "benchmarks" / "results" / "audit_texts.csv")
    for n, part in table.groupby("n"):
        rows = part.set_index("score")
        cells = [
            f"{row['auc']:.2f} [{row['auc_low']:.2f}, {row['auc_high']:.2f}]"
            for row in (rows.loc[name] for name in (SCORE, "min_k", "entropy", "loss", "blind"))
        ]
        first = rows.iloc[0]
        cells.append(f"{first['verdict']}, {first['found']} of {first['members']}")
        assert f"\n| {n:,} | {' | '.join(cells)} |\n" in TEXT
    auc = table[table["score"] == SCORE].set_index("n")["auc"]
    assert auc[16] > 0.99 and auc[128] > 0.99 and auc.iloc[-1] < 0.6
    assert table["unseen"].unique().tolist() == [500]
    assert f"p = {table['blind_p'].iloc[-1]:.3f} for 192 texts" in TEXT
