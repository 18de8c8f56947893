"""What ``uddm audit`` says of a model's training texts, and how well its scores find them.

    python benchmarks/audit_texts.py --runs runs/laptop   writes results/audit_texts.csv (1 minute)
    python benchmarks/audit_texts.py --cuts               writes results/audit_cuts.csv (1 minute)

The models are those of one seed. The score of the audit was chosen on another one, seed 1, and so
were level, steps and draws of recovery. The second table is of three memorizers: texts that are cut
elsewhere than their training blocks. The second cut was chosen on the first of them, which ships.
"""

import argparse

import numpy as np
import pandas as pd
from measure import RESULTS, machine

from uddm_lib import data, experiments
from uddm_lib.audit.scores import token_log_p
from uddm_lib.audit.significance import conformal_p_values, discoveries
from uddm_lib.audit.text_blocks import blocks_of_text
from uddm_lib.audit.texts import audit_texts
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


def shifted(run, shift):
    """Texts that begin some tokens after a training block or before it, and their trained parts."""
    blocks = data.load_corpus("kjv", run.model.length, run.model.vocab_size).train
    stream, room = blocks[:, run.scored].flatten(), int(run.scored.sum())
    starts = [room * int((blocks == x).all(1).nonzero()[0, 0]) for x in run.train]
    texts, parts = [], []
    for by in {shift, -shift}:
        texts += [stream[start + by : start + by + room] for start in starts]
        parts += [stream[start + max(by, 0) : start + room + min(by, 0)] for start in starts]
    return texts_of(run, texts), texts_of(run, parts)


def log_p(run, texts):
    """The score of one cut, and the better of two, as the audit takes it."""
    means = []
    for first in (0, int(run.scored.sum()) // 2):
        cut = [blocks_of_text(text, run.tokenizer, run.model.length, first) for text in texts]
        values = token_log_p(run.model, [part for part, _ in cut], [part for _, part in cut])
        means.append([value.mean().item() for value in values])
    return np.array(means[0]), np.max(means, 0)


def found(scores, unseen):
    return int(discoveries(conformal_p_values(scores, unseen), 0.1).sum())


def cuts(folder, seed):
    """How many texts are found, the further they are cut from where the model saw them."""
    run = experiments.load_run(folder, "cpu")
    unseen = log_p(run, texts_of(run, run.test[:UNSEEN]))
    rows = []
    for shift in SHIFTS:
        texts, parts = shifted(run, shift)
        once, twice = map(found, log_p(run, texts), unseen)
        shorter = texts_of(run, run.test[:UNSEEN, : int(run.scored.sum()) + 1 - shift])
        part = found(log_p(run, parts)[1], log_p(run, shorter)[1])
        rows.append(
            {
                "seed": seed, "shift": shift, "texts": len(texts),
                "log_p": once, "best_log_p": twice, "part": part,
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
        runs = {seed: f"{options.runs}/kjv-nano-n000016-s{seed}" for seed in (2, 3)}
        runs = {1: "runs/pretrained/kjv-nano-n000016-s1"} | runs
        table = pd.concat([cuts(folder, seed) for seed, folder in runs.items()], ignore_index=True)
        write_table(table, RESULTS / "audit_cuts.csv", provenance({"machine": machine()}))
        return
    tables = []
    for n in COUNTS:
        tables.append(measured(resolve(options.runs) / f"kjv-nano-n{n}-s{options.seed}"))
        print(tables[-1].round(3).to_string(index=False), flush=True)
    table = pd.concat(tables, ignore_index=True).round(4)
    write_table(table, RESULTS / "audit_texts.csv", provenance({"machine": machine()}))


if __name__ == "__main__":
    main()
