"""How often ``uddm audit --texts`` abstains where the unseen texts are of another kind.

    python benchmarks/audit_shifts.py   writes results/audit_shifts.csv (20 minutes, two cores)

None of the texts was trained on, so every text that is called memorized is a false find. The kinds
were fixed before any was measured (shifted_texts.py). ``--half`` measures a part of them, and
writes nothing: the test of kind was developed on one half.
"""

import argparse
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import shifted_texts
from measure import RESULTS, machine

from uddm_lib import experiments
from uddm_lib.audit import scores as audit_scores
from uddm_lib.audit.significance import (
    conformal_p_values,
    discoveries,
    set_p_value,
    two_sample_p_value,
)
from uddm_lib.audit.texts import KIND_LEVEL, SCORE, SET_LEVEL, scores_of
from uddm_lib.results import provenance, resolve, write_table

SIZES = [(30, 100), (30, 250), (100, 250), (200, 250)]  # texts in question, unseen texts
MODELS = {
    "generalizer": "runs/pretrained/kjv-nano-nall-s1",
    "memorizer": "runs/pretrained/kjv-nano-n000016-s1",
}
DRAWS, UNSHIFTED_DRAWS = 10, 25
MOST = 400  # texts of a kind that are drawn from
LEVEL = 0.1  # of the audit, by default


def drawn(texts, count, seed):
    return random.Random(seed).sample(texts, min(count, len(texts)))


def kinds_of(half=None):
    """Rows of a name, its half and strength, the texts in question, and the unseen ones."""
    for name, (part, strength, ours, unseen) in shifted_texts.pools().items():
        if half in (None, part):
            yield name, part, strength, drawn(ours, MOST, 1), drawn(unseen, MOST, 2)
    if half in (None, "unshifted"):
        for name, texts in shifted_texts.one_kind().items():
            yield name, "unshifted", "none", texts, None


def known(folder, texts):
    """{text: score} by a model."""
    audit_scores.DRAWS = 1  # of the loss, which is not used here
    run = experiments.load_run(resolve(folder), "cpu")
    return dict(zip(texts, scores_of(run.model, run.tokenizer, texts)[SCORE]))


def audited(texts, unseen, scores, seed):
    """Whether the test of kind stops an audit, and what would be false in it."""
    row = {"abstains": two_sample_p_value(texts, unseen, seed) <= KIND_LEVEL}
    for model, score in scores.items():
        a, b = (np.array([score[text] for text in part]) for part in (texts, unseen))
        p_values = conformal_p_values(a, b)
        wrong = discoveries(p_values, LEVEL).any() or set_p_value(a, b) < SET_LEVEL
        row |= {
            f"{model}_fpr_1": (p_values <= 0.01).mean(),
            f"{model}_fpr_5": (p_values <= 0.05).mean(),
            f"{model}_wrong": wrong,
        }
    return row


def summary(rows):
    """Means over draws: over all, and over those in which the audit does not abstain."""
    table = pd.DataFrame(rows).astype(float)
    passed = table[table["abstains"] == 0].drop(columns="abstains")
    return {"draws": len(table), **table.mean(), **passed.mean().add_suffix("_passed")}


def measured(kind, scores):
    """A row for each size; ``scores`` are {model: {text: score}}."""
    (name, half, strength, ours, unseen), found = kind, []
    for k, m in SIZES:
        rows = []
        for seed in range(1, (UNSHIFTED_DRAWS if unseen is None else DRAWS) + 1):
            if unseen is None:  # other texts for every source and size, for their sum to tell more
                both = drawn(ours, k + m, f"{name} {k} {m} {seed}")
                pair = both[:k], both[k:]
            else:
                pair = drawn(ours, k, seed), drawn(unseen, m, seed)
            rows.append(audited(*pair, scores, seed))
        row = {"kind": name, "half": half, "strength": strength, "texts": k, "unseen": m}
        found.append(row | summary(rows))
    return found


def table_of(kinds):
    """All rows, by two processes; of texts of one kind the models score one source."""
    is_scored = [kind[1] != "unshifted" or kind[0] == "kjv" for kind in kinds]
    texts = [
        text
        for (*_, ours, unseen), scored in zip(kinds, is_scored)
        if scored
        for text in (*ours, *(unseen or []))
    ]
    rows = []
    with ProcessPoolExecutor(2) as pool:
        known_to = partial(known, texts=list(dict.fromkeys(texts)))
        scores = dict(zip(MODELS, pool.map(known_to, MODELS.values())))
        for found in pool.map(measured, kinds, [scores if scored else {} for scored in is_scored]):
            rows += found
            print(pd.DataFrame(found).round(2).to_string(index=False, header=False), flush=True)
    return pd.DataFrame(rows).round(4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--half", choices=["development", "judged", "unshifted"])
    half = parser.parse_args().half
    table = table_of(list(kinds_of(half)))
    if half is None:
        write_table(table, RESULTS / "audit_shifts.csv", provenance({"machine": machine()}))


if __name__ == "__main__":
    main()
