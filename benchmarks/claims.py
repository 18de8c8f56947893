"""Run the benchmarks and hold them against what is claimed: one table, kept as results/claims.json.

python benchmarks/claims.py            all of it
python benchmarks/claims.py loss       one benchmark again; the others as they were last recorded
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import measure

SCRIPTS = "loss", "training", "reverse_step", "entropy", "t_sampling"
# Benchmark, group, side, the row's column, what is claimed of it: at least, or at most.
CLAIMS = [
    ("loss", "whole model", "fused, fp32", "faster", ">=", 1.5),
    ("loss", "whole model", "fused, fp32", "memory", "<=", 1 / 4),
    ("loss", "whole model", "fused, bf16", "faster", ">=", 3.5),
    ("loss", "from hidden states", "fused, fp32", "faster", ">=", 2),
    ("loss", "from hidden states", "fused, fp32", "memory", "<=", 1 / 8),
    ("reverse_step", "noise removal at the end", "fused, fp32", "faster", ">=", 4),
    ("reverse_step", "noise removal at the end", "fused, fp32", "memory", "<=", 1 / 4),
    ("reverse_step", "noise removal at the end", "fused, bf16", "faster", ">=", 8),
    ("reverse_step", "middle step of 1,000", "fused, fp32", "faster", ">=", 4),
    ("reverse_step", "middle step of 1,000", "fused, bf16", "faster", ">=", 8),
    ("entropy", "entropy", "conditional_entropy, fp32", "faster", ">=", 1.5),
    ("entropy", "entropy", "conditional_entropy, fp32", "memory", "<=", 1 / 8),
]
GROWTH = "fused, fp32, from hidden states, as V grows"
COLUMNS = {"faster": "times faster", "memory": "share of the extra memory"}


def held(records):
    """A row per claim: what was measured, against what, and whether it holds."""
    rows = []
    for name, group, side, column, sign, bound in CLAIMS:
        sides = [row for row in records[name]["rows"] if row["group"] == group]
        value = next(row[column] for row in sides if row["side"] == side)
        rows.append(
            {
                "what": f"{name}, {group}: {side}",
                "against": sides[0]["side"],
                "figure": COLUMNS[column],
                "claimed": f"{sign} {bound:g}",
                "measured": value,
                "holds": value >= bound if sign == ">=" else value <= bound,
            }
        )
    return rows + _growth([row for row in records["loss"]["rows"] if row["group"] == GROWTH])


def _growth(sides):
    """Time in proportion to V, and memory that does not depend on it, each within 20 %."""
    sizes = [int(row["side"].removeprefix("V = ").replace(",", "")) for row in sides]
    per_entry = [row["median_s"] / size for row, size in zip(sides, sizes)]
    memory = [row["extra_mib"] for row in sides]
    return [
        {
            "what": f"loss, {GROWTH}",
            "against": f"V = {min(sizes):,} to {max(sizes):,}",
            "figure": figure,
            "claimed": "<= 1.2",
            "measured": max(values) / min(values),
            "holds": max(values) <= 1.2 * min(values),
        }
        for figure, values in (
            ("time over V, largest over least", per_entry),
            ("extra memory, largest over least", memory),
        )
    ]


def show(rows):
    width = max(len(row["what"]) for row in rows)
    print(f"{'':{width}}  {'against':24}  {'':33}  claimed  measured")
    for row in rows:
        print(
            f"{row['what']:{width}}  {row['against']:24}  {row['figure']:33}  {row['claimed']:>7}  "
            f"{row['measured']:8.2f}{'' if row['holds'] else '  missed'}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "scripts", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(SCRIPTS)}; all by default"
    )
    chosen = parser.parse_args().scripts or SCRIPTS
    if unknown := set(chosen) - set(SCRIPTS):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
    for name in chosen:
        print(f"measuring {name}", flush=True)
        subprocess.run(
            [sys.executable, Path(__file__).with_name(f"{name}.py")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    suffix = "-gpu" if measure.GPU else ""
    records = {
        name: json.loads((measure.RESULTS / f"{name}{suffix}.json").read_text())
        for name in {claim[0] for claim in CLAIMS}
    }
    rows = held(records)
    (measure.RESULTS / f"claims{suffix}.json").write_text(
        json.dumps({"machine": measure.machine(), "rows": rows}, indent=1) + "\n"
    )
    show(rows)


if __name__ == "__main__":
    main()
