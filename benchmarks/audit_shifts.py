"""How often ``uddm audit --texts`` abstains where the unseen texts are of another kind.

    python benchmarks/audit_shifts.py   writes results/audit_shifts.csv (NN minutes)

None of the texts was trained on, so every text that is called memorized is a false one. The kinds
and the sizes were fixed before any was measured (shifted_texts.py).
"""

import argparse
import random

import numpy as np
import pandas as pd
import shifted_texts
from measure import RESULTS, machine

from uddm_lib import experiments
from uddm_lib.audit.significance import (
    conformal_p_values,
    discoveries,
    set_p_value,
    two_sample_p_value,
)
from uddm_lib.audit.texts import KIND_LEVEL, SCORE, SET_LEVEL, scores_of
from uddm_lib.results import provenance, resolve, write_table

SIZES = [(30, 100), (100, 100), (30, 250), (100, 250), (200, 250)]  # texts, unseen texts
MODELS = {
    "generalizer": "runs/pretrained/kjv-nano-nall-s1",
    "memorizer": "runs/pretrained/kjv-nano-n000016-s1",
}
DRAWS, UNSHIFTED_DRAWS = 20, 60
MOST = 800  # texts of a kind that are drawn from
LEVEL = 0.1  # of the audit, by default


def drawn(texts, count, seed):
    return random.Random(seed).sample(texts, min(count, len(texts)))


def known(kinds):
    """{model: {text: score}} of all texts."""
    texts = list(dict.fromkeys(text for *_, ours, unseen in kinds for text in (*ours, *unseen)))
    found = {}
    for name, folder in MODELS.items():
        run = experiments.load_run(resolve(folder), "cpu")
        table = scores_of(run.model, run.tokenizer, texts)
        found[name] = dict(zip(texts, table[SCORE]))
    return found


def audited(texts, unseen, scores, seed):
    """What is false in one audit, and whether the test of kind stops it."""
    p_value = two_sample_p_value(texts, unseen, seed)
    row = {"abstains": p_value <= KIND_LEVEL}
    for model, score in scores.items():
        a, b = (np.array([score[text] for text in part]) for part in (texts, unseen))
        p_values = conformal_p_values(a, b)
        stands_out = discoveries(p_values, LEVEL).any() or set_p_value(a, b) < SET_LEVEL
        row |= {
            f"{model}_fpr_1": (p_values <= 0.01).mean(),
            f"{model}_fpr_5": (p_values <= 0.05).mean(),
            f"{model}_wrong": stands_out,
        }
    return row


def summary(rows):
    """Means over draws: of all of them, and of those in which the audit does not abstain."""
    table = pd.DataFrame(rows).astype(float)
    passed = table[table["abstains"] == 0].drop(columns="abstains")
    return {
        "draws": len(table),
        **table.mean(),
        **passed.mean().add_suffix("_passed"),
    }


def measured(name, half, strength, ours, unseen, scores, sizes, draws):
    for k, m in sizes:
        rows = []
        for seed in range(1, draws + 1):
            if half == "unshifted":
                both = drawn(ours, k + m, seed)
                texts, reference = both[:k], both[k:]
            else:
                texts, reference = drawn(ours, k, seed), drawn(unseen, m, seed)
            rows.append(audited(texts, reference, scores, seed))
        row = {"kind": name, "half": half, "strength": strength, "texts": k, "unseen": m}
        yield row | summary(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--draws", type=int, nargs=2, default=[DRAWS, UNSHIFTED_DRAWS])
    parser.add_argument("--sizes", type=int, nargs="+", default=range(len(SIZES)))
    parser.add_argument("--half", help="one half of the kinds alone, no table")
    options = parser.parse_args()
    kinds = [
        (name, half, strength, drawn(ours, MOST, 1), drawn(unseen, MOST, 2))
        for name, (half, strength, ours, unseen) in shifted_texts.pools().items()
    ]
    kinds += [
        (name, "unshifted", "none", drawn(texts, MOST, 1), [])
        for name, texts in shifted_texts.one_kind().items()
    ]
    if options.half:
        kinds = [kind for kind in kinds if kind[1] in (options.half, "unshifted")]
    scores, rows = known(kinds), []
    for kind in kinds:
        draws = options.draws[kind[1] == "unshifted"]
        for row in measured(*kind, scores, [SIZES[i] for i in options.sizes], draws):
            rows.append(row)
            print(*(f"{v:.2f}" if isinstance(v, float) else v for v in row.values()), flush=True)
    table = pd.DataFrame(rows).round(4)
    if not options.half:
        write_table(table, RESULTS / "audit_shifts.csv", provenance({"machine": machine()}))


if __name__ == "__main__":
    main()
