"""What docs/audit.md says of the scores is what was measured."""

from helpers.paths import ROOT
from uddm_lib.audit.texts import SCORE
from uddm_lib.results import read_table

SHOWN = [SCORE, "min_k", "recovery", "entropy", "loss", "blind"]
TEXT = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")


def test_the_table_of_texts_cut_elsewhere():
    table = read_table(ROOT / "benchmarks" / "results" / "audit_cuts.csv")
    assert table["seed"].unique().tolist() == [1, 2, 3]
    for shift, rows in table.groupby("shift"):
        found = [", ".join(map(str, rows[name])) for name in ("log_p", "best_log_p", "part")]
        assert f"\n| {shift} | {rows['texts'].iloc[0]} | {' | '.join(found)} |\n" in TEXT
    near, half = table[table["shift"] <= 4], table[table["shift"] == 31]
    assert near["log_p"].equals(near["texts"]) and near["best_log_p"].equals(near["texts"])
    once, twice = ("{}, {} and {}".format(*half[name]) for name in ("log_p", "best_log_p"))
    assert f"one cut finds {once} of 32 texts, and\ntwo cuts find {twice}." in TEXT
    missed = (table["texts"] - table["part"]).sum()
    assert f"{missed} of these {table['texts'].sum()} parts are missed." in TEXT
    assert missed < (table["texts"] - table["best_log_p"]).sum() / 10


def test_the_table_of_the_document():
    table = read_table(ROOT / "benchmarks" / "results" / "audit_texts.csv")
    for n, part in table.groupby("n"):
        rows = part.set_index("score")
        cells = [
            f"{row['auc']:.2f} [{row['auc_low']:.2f}, {row['auc_high']:.2f}]"
            for row in (rows.loc[name] for name in SHOWN)
        ]
        first = rows.iloc[0]
        cells.append(f"{first['verdict']}, {first['found']} of {first['members']}")
        assert f"\n| {n:,} | {' | '.join(cells)} |\n" in TEXT
    auc = table[table["score"] == SCORE].set_index("n")["auc"]
    assert auc[16] > 0.99 and auc[128] > 0.99 and auc.iloc[-1] < 0.6
    assert table["unseen"].unique().tolist() == [500]
    assert f"p = {table['blind_p'].iloc[-1]:.3f} for 192 texts" in TEXT
    kinds = table[table["n"] >= 1024]["kind_p"].astype(float).round(2).unique()
    assert len(kinds) == 1 and f"gives p = {kinds[0]:.2f} for the last two rows" in TEXT


def excess(row):
    return f"{row['over_blind']:z.2f} [{row['over_blind_low']:.2f}, {row['over_blind_high']:.2f}]"


def test_what_exceeds_the_score_that_asks_no_model():
    table = read_table(ROOT / "benchmarks" / "results" / "audit_texts.csv")
    rows = table[table["n"] == 1024].set_index("score")
    best, min_k, recovery = (excess(rows.loc[name]) for name in (SCORE, "min_k", "recovery"))
    assert f"`best_log_p` exceeds it by {best},\n`min_k` by {min_k}." in TEXT
    others = rows.loc[["recovery", "entropy", "loss", "zlib"]]
    assert (others["over_blind_low"] < 0).all() and (others["over_blind_high"] > 0).all()
    whole = table[(table["n"] == table["n"].max()) & (table["score"] != "blind")]
    assert len(whole) == 7 and (whole["over_blind"] < 0).all()
    auc = table.pivot(index="n", columns="score", values="auc")
    assert (auc["recovery"] <= auc[SCORE]).all()
    few = auc.loc[128]
    assert f"At n = 128 its AUC is {few['recovery']:.3f}, not {few[SCORE]:.3f}." in TEXT
    assert f"At n = 1,024 it\nexceeds `blind` by {recovery}." in TEXT
