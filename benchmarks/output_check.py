"""How often the check of the output is right, on the models of the calibration.

    python benchmarks/output_check.py     writes results/output_check.csv (13 minutes)

The facts of each model are stated rightly and wrongly. The rule was fixed on the sources
in DEVELOPMENT, before the others were measured. It needs the models of ``calibration.py``.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor

import pandas as pd
import torch
from calibration import FOLDER, SOURCES
from measure import RESULTS, machine
from sklearn.metrics import roc_auc_score

from uddm_lib import experiments
from uddm_lib.audit import calibration
from uddm_lib.audit.regime import audit_regime, special_tokens
from uddm_lib.audit.scores import token_log_p
from uddm_lib.facts import Facts
from uddm_lib.memory_probes import dependence_on_tokens
from uddm_lib.results import provenance, write_table

DEVELOPMENT = ["chain32", "chain8", "facts", "formulaic", "ylt"]
COUNT = 64  # sequences of an audit, and of the texts of a part
TEXTS = 200  # of training and unseen blocks, at most
STATED = {
    "leave-one-out": Facts(),
    "denoiser": Facts(output="denoiser", least_t=0.05),
}


def found(model, run, special):
    """What the audits make of a model by the facts that it has now."""
    unseen = run.test[:COUNT].long()
    alone = audit_regime(model, COUNT, special=special)
    both = audit_regime(model, COUNT, special=special, unseen=unseen)
    row = {}
    for name, audit in (("generated", alone), ("unseen", both)):
        moved = audit.output.moved
        row |= {f"{name}_{output}": value for output, value in moved.items()}
        row[f"{name}_contradicts"] = audit.output.contradicts
        (unchecked,) = calibration.verdicts(pd.DataFrame([audit.probabilities]))
        row |= {f"{name}_unchecked": unchecked, f"{name}_verdict": audit.verdict}
    return row | {"auc": auc_of_texts(model, run)}


def auc_of_texts(model, run):
    """How well ``log_p`` tells training blocks from unseen ones."""
    parts = [part[:TEXTS].long() for part in (run.train, run.test)]
    blocks = [[block] for part in parts for block in part]
    scores = token_log_p(model, blocks, [[run.scored]] * len(blocks))
    kinds = [1] * len(parts[0]) + [0] * len(parts[1])
    return roc_auc_score(kinds, [score.mean().item() for score in scores])


def rows_of(source):
    torch.set_num_threads(1)
    rows = []
    for path in sorted((FOLDER / source).glob("*/*/run.json")):
        run = experiments.load_run(path.parent, "cpu")
        model, special = run.model, special_tokens(run.tokenizer)
        true = model.facts.output
        x = run.test[:COUNT].long()
        moved = dependence_on_tokens(model, x, [0.1], run.scored)
        for output, facts in STATED.items():
            model.config.facts = facts.stored()
            rows.append(
                {
                    "source": source,
                    "part": "development" if source in DEVELOPMENT else "judged",
                    "kind": path.parent.parent.name,
                    "n": len(run.train),
                    "output": true,
                    "stated": output,
                    "raw_neighbor": moved["neighbor"].mean(),
                    **found(model, run, special),
                }
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.parse_args()
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for found_of_source in pool.map(rows_of, SOURCES):
            rows += found_of_source
            print(f"{rows[-1]['source']}: {len(rows)} rows", flush=True)
    regimes = calibration.labelled(COUNT)[["source", "kind", "n", "regime"]]
    write_table(
        pd.DataFrame(rows).merge(regimes, how="left").round(4),
        RESULTS / "output_check.csv",
        provenance({"machine": machine()}),
    )


if __name__ == "__main__":
    main()
