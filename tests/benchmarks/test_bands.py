"""What docs/reproduction.md says of the bands is what was counted."""

from helpers.paths import ROOT
from uddm_lib.results import read_table


def test_the_table_of_the_document():
    table = read_table(ROOT / "benchmarks" / "results" / "bands.csv")
    text = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    words = " ".join(text.split())
    for trainings, part in table.groupby("trainings"):
        shares = part.drop(columns=["trainings", "rate", "spread", "width"]).mean()
        assert 0.93 <= shares["true_mean"] <= 0.97 and part["true_mean"].min() >= 0.92
        assert 0.93 <= shares["second_elsewhere_wide"] <= 0.97
        row = " | ".join(f"{share:.1%}".replace("%", " %") for share in shares)
        assert f"\n| {trainings} | {row} |\n" in text
    least = f"{table['true_mean'].min():.1%}".replace("%", " %")
    assert f"the true mean in {least} of the draws at the least" in words
