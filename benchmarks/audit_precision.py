"""What generating in bfloat16 changes in ``uddm audit``: its measures, verdicts and time.

    python benchmarks/audit_precision.py   writes results/audit_precision.csv (10 minutes, one core)

The models are those of the calibration whose output needs no conversion: only they generate in
bfloat16. What is generated is read in float32. Another seed in float32 is the yardstick.
"""

import statistics
from functools import partial

import pandas as pd
import torch
from measure import RESULTS, alternating, machine

from uddm_lib import experiments
from uddm_lib.audit.calibration import labelled, probabilities, verdicts
from uddm_lib.audit.generated import SETTINGS, generated_by, measures_of, read
from uddm_lib.audit.regime import special_tokens
from uddm_lib.devices import has_fast_bf16
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.results import provenance, resolve, write_table
from uddm_lib.sampling import generate

COUNT = 64
LARGE = UDDMConfig(30_522, 128, 768, 128, 12, 12)  # 139 million parameters
SIDES = {"fp32": (1, "fp32"), "bf16": (1, "bf16"), "seed": (2, "fp32")}


def measured(run):
    """A row for each side: what the calibration takes, the verdicts, and the time."""
    special, length = special_tokens(run.tokenizer), run.model.length
    unseen = measures_of(read(run.model, run.test[:COUNT].long(), special)).overconfidence
    rows = []
    for side, (seed, precision) in SIDES.items():
        made = generated_by(
            run.model, COUNT, length, SETTINGS[COUNT], special, seed, precision=precision
        )
        values = measures_of(made)
        row = {
            "side": side, "overconfidence": values.overconfidence, "twins": values.twins,
            "entropy": values.entropy, "unseen_overconfidence": unseen,
        }  # fmt: skip
        for name, given in {"alone": False, "with_unseen": True}.items():
            law = probabilities(pd.DataFrame([row]), labelled(COUNT), given)
            row[name] = verdicts(law).iloc[0]
        rows.append(row)
    return rows


def seconds_of(model, count, steps):
    """Seconds of a generation in each precision, the medians of several in turns."""
    works = {
        precision: partial(generate, model, count, model.length, steps, precision=precision)
        for precision in ("fp32", "bf16")
    }
    return {name: statistics.median(each) for name, each in alternating(works, 5).items()}


def main():
    if not has_fast_bf16(torch.device("cpu")):
        raise SystemExit("this machine would compute in float32 on both sides")
    rows, known = [], labelled(COUNT).set_index(["source", "kind", "n"])
    for file in sorted(resolve("runs/calibration").glob("*/*/*/run.json")):
        run = experiments.load_run(file.parent, "cpu")
        source, kind, _ = file.parent.relative_to(resolve("runs/calibration")).parts
        failed = (source, kind, len(run.train)) not in known.index
        if failed or run.model.facts.needs_conversion:
            continue
        labels = {"source": source, "kind": kind, "n": len(run.train)}
        rows += [labels | row for row in measured(run)]
        print(pd.DataFrame(rows[-len(SIDES) :]).to_string(index=False, header=False), flush=True)
    small = experiments.load_run("runs/pretrained/kjv-nano-n000016-s1", "cpu").model
    torch.manual_seed(1)
    seconds = {
        "nano, 64 sequences, 20 steps": seconds_of(small, COUNT, SETTINGS[COUNT]),
        "139 million parameters, 4 sequences, 3 steps": seconds_of(UDDM(LARGE).eval(), 4, 3),
    }
    print(seconds)
    made = provenance({"machine": machine(), "seconds": seconds})
    write_table(pd.DataFrame(rows).round(5), RESULTS / "audit_precision.csv", made)


if __name__ == "__main__":
    main()
