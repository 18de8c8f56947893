"""What docs/speed.md says of a training step is what was measured."""

import json

from helpers.paths import ROOT

ROWS = {  # of the document, by part
    "matrix products of the layers": "products of layers",
    "those of attention": "products of attention",
    "softmax, GELU, LayerNorm, rotation, compiled": "elementwise",
    "the loss, with the head": "loss",
    "Muon": "Muon",
    "AdamW": "AdamW",
    "the rest: batch, noise, averages, Python": "rest",
}


def test_the_table_of_the_document():
    text = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    file = ROOT / "benchmarks" / "results" / "step_parts.json"
    found = list(json.loads(file.read_text())["trainings"].values())
    large = "*all products of the network, at the rate of large ones*"
    rows = {
        "a step": [one["step_ms"] for one in found],
        **{name: [one["parts_ms"][part] for one in found] for name, part in ROWS.items()},
        large: [one["products_at_the_rate_of_large_ones_ms"] for one in found],
    }
    for name, values in rows.items():
        assert f"\n| {name} | {' | '.join(f'{value:.1f}' for value in values)} |\n" in text
    assert 0.2 < found[0]["parts_ms"]["elementwise"] / found[0]["step_ms"] < 0.3
    assert all(one["parts_ms"]["Muon"] > one["step_ms"] / 4 for one in found[1:])
