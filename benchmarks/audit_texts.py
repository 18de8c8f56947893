"""What ``uddm audit`` says of a model's training texts, and how well its scores find them.

    python benchmarks/audit_texts.py --runs runs/laptop   writes results/audit_texts.csv (1 minute)

The models are those of one seed; the score of the audit was chosen on another one, seed 1.
"""

import argparse

import pandas as pd
from measure import RESULTS, machine

from uddm_lib import experiments
from uddm_lib.audit.texts import audit_texts
from uddm_lib.results import provenance, resolve, write_table

COUNTS = ["000016", "000128", "001024", "all"]
MEMBERS, UNSEEN = 192, 500


def texts_of(run, blocks):
    return [run.tokenizer.decode(block.long(), skip_special_tokens=True) for block in blocks]


def measured(folder):
    """How well each score finds members, and the verdict on the members as suspected texts."""
    run = experiments.load_run(folder, "cpu")
    members, unseen = texts_of(run, run.train[:MEMBERS]), texts_of(run, run.test[:UNSEEN])
    audit = audit_texts(run.model, run.tokenizer, members, unseen, members)
    return audit.detection.assign(
        n=len(run.train),
        members=len(members),
        unseen=len(unseen),
        verdict=audit.verdict,
        found=audit.texts["memorized"].sum(),
        set_p=audit.set_p_value,
        blind_p=audit.blind_p_value,
        kind_p=audit.kind_p_value,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--runs", metavar="FOLDER", default="runs/laptop", help="of the sweep")
    parser.add_argument("--seed", type=int, default=2, help="of the models")
    options = parser.parse_args()
    tables = []
    for n in COUNTS:
        tables.append(measured(resolve(options.runs) / f"kjv-nano-n{n}-s{options.seed}"))
        print(tables[-1].round(3).to_string(index=False), flush=True)
    table = pd.concat(tables, ignore_index=True).round(4)
    write_table(table, RESULTS / "audit_texts.csv", provenance({"machine": machine()}))


if __name__ == "__main__":
    main()
