"""What ``uddm audit`` says of a model's training texts, and how well its scores find them.

    python benchmarks/audit_texts.py --runs runs/laptop   writes results/audit_texts.csv (1 minute)
    python benchmarks/audit_texts.py --cuts               writes results/audit_cuts.csv (5 minutes)

The models are those of one seed; the score of the audit was chosen on another one, seed 1. The
second table is of the memorizer that ships: texts that are cut elsewhere than its training blocks.
"""

import argparse

import pandas as pd
from measure import RESULTS, machine

from uddm_lib import data, experiments
from uddm_lib.audit.significance import conformal_p_values, discoveries
from uddm_lib.audit.texts import audit_texts, scores_of
from uddm_lib.results import provenance, resolve, write_table

COUNTS = ["000016", "000128", "001024", "all"]
MEMBERS, UNSEEN = 192, 500
SHIFTS = [0, 1, 2, 4, 8, 16, 24, 31]  # tokens; half a block is 31


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


def found(texts, unseen, score):
    p_values = conformal_p_values(texts[score].to_numpy(), unseen[score].to_numpy())
    return int(discoveries(p_values, 0.1).sum())


def shifted(run, shift):
    """Texts that begin some tokens after a training block or before it, and their trained parts."""
    blocks = data.load_corpus("kjv", run.model.length, run.model.vocab_size).train
    stream, room = blocks[:, run.scored].flatten(), int(run.scored.sum())
    starts = [room * int((blocks == x).all(1).nonzero()[0, 0]) for x in run.train]
    texts, parts = [], []
    for by in {shift, -shift}:
        texts += [stream[start + by : start + by + room] for start in starts]
        parts += [stream[start + max(by, 0) : start + room + min(by, 0)] for start in starts]
    return [
        [run.tokenizer.decode(text.long(), skip_special_tokens=True) for text in some]
        for some in (texts, parts)
    ]


def cuts():
    """How many texts are found, the further they are cut from where the model saw them."""
    run = experiments.load_run("runs/pretrained/kjv-nano-n000016-s1", "cpu")

    def scores(texts):
        return scores_of(run.model, run.tokenizer, texts)[0]

    unseen = scores(texts_of(run, run.test[:UNSEEN]))
    rows = []
    for shift in SHIFTS:
        texts, parts = (scores(some) for some in shifted(run, shift))
        shorter = scores(texts_of(run, run.test[:UNSEEN, : int(run.scored.sum()) + 1 - shift]))
        rows.append(
            {
                "shift": shift, "texts": len(texts),
                "log_p": found(texts, unseen, "log_p"),
                "best_log_p": found(texts, unseen, "best_log_p"),
                "part": found(parts, shorter, "best_log_p"),
            }
        )  # fmt: skip
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--runs", metavar="FOLDER", default="runs/laptop", help="of the sweep")
    parser.add_argument("--seed", type=int, default=2, help="of the models")
    parser.add_argument("--cuts", action="store_true", help="texts cut elsewhere")
    options = parser.parse_args()
    if options.cuts:
        write_table(cuts(), RESULTS / "audit_cuts.csv", provenance({"machine": machine()}))
        return
    tables = []
    for n in COUNTS:
        tables.append(measured(resolve(options.runs) / f"kjv-nano-n{n}-s{options.seed}"))
        print(tables[-1].round(3).to_string(index=False), flush=True)
    table = pd.concat(tables, ignore_index=True).round(4)
    write_table(table, RESULTS / "audit_texts.csv", provenance({"machine": machine()}))


if __name__ == "__main__":
    main()
