"""What docs/audit.md says of bfloat16 in audits is what was measured."""

import json

from helpers.paths import ROOT
from uddm_lib.results import read_table

RESULTS = ROOT / "benchmarks" / "results"


def test_the_numbers_of_the_document():
    document = " ".join((ROOT / "docs" / "audit.md").read_text(encoding="utf-8").split())
    table = read_table(RESULTS / "audit_precision.csv")
    sides = table.pivot(index=["source", "kind", "n"], columns="side")
    changed = {
        (name, side): (sides[name]["fp32"] != sides[name][side]).sum()
        for name in ("alone", "with_unseen")
        for side in ("bf16", "seed")
    }
    assert (
        f"Of {len(sides)} models of the calibration {changed['alone', 'bf16']} get another "
        f"verdict, and {changed['alone', 'seed']} get one by another seed (with unseen text "
        f"{changed['with_unseen', 'bf16']} and {changed['with_unseen', 'seed']}; 64 sequences"
    ) in document
    for name in ("alone", "with_unseen"):
        assert changed[name, "bf16"] <= changed[name, "seed"]
    moved = {
        side: (sides["overconfidence"]["fp32"] - sides["overconfidence"][side]).abs().median()
        for side in ("bf16", "seed")
    }
    assert moved["bf16"] < moved["seed"]
    seconds = json.loads((RESULTS / "audit_precision.json").read_text())["provenance"][
        "parameters"
    ]["seconds"]
    small, large = (side["fp32"] / side["bf16"] for side in seconds.values())
    assert (
        f"generation of the small model is {small:.1f} times as fast, that of 139 million "
        f"parameters {large:.1f} times" in document
    )
