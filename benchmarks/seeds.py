"""The spread between trainings, which the figures' intervals do not contain.

Models of the laptop profile near the transition are trained on the same data from several seeds (of
weights, batches and noise). By that spread two versions of the code are compared.

    python benchmarks/seeds.py                   trains what results/seeds.csv lacks (20 minutes)
    python benchmarks/seeds.py --against FILE    holds it against the same table of another version
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import torch
import yaml
from measure import RESULTS, machine

from uddm_lib import probes
from uddm_lib.experiments import load_run, prepare, train_run
from uddm_lib.results import provenance, read_table, write_table

RUNS = {
    ("markov", "pico", 128): 6,
    ("markov", "nano", 64): 6,
    ("markov", "micro", 128): 6,
    ("kjv", "nano", 8192): 3,
}
LEVELS = [0.05, 0.1, 0.25, 0.5]  # diffusion times
TABLE = RESULTS / "seeds.csv"
QUANTITY = ["corpus", "size", "n", "set", "quantity"]
PROFILE = Path(__file__).parents[1] / "runs" / "laptop.yaml"


def trained(experiment, size, n, seed):
    """Train one model; returns the run and the log of its training."""
    shape = {name: experiment[name] for name in ("corpus", "length", "vocab_size")}
    as_notebook_02 = {"dropout": 0.0, "adaln_zero": False}
    prepared = prepare(
        {**shape, **as_notebook_02, **experiment["training"], "size": size, "n": n, "seed": seed}
    )
    with tempfile.TemporaryDirectory() as folder:
        log = train_run(prepared, f"{folder}/run").log
        return load_run(f"{folder}/run"), log


def probed(run, recovery):
    """Means over the sequences of a set, and standard errors, by set and quantity."""
    recovery = dict(recovery)
    for name, x in run.sets(recovery.pop("sequences"), 1).items():
        if name == "random":
            continue
        table = probes.token_recovery(run.model, x, LEVELS, scored=run.scored, seed=1, **recovery)
        values = {f"recovered at t = {t}": part for t, part in table.groupby("level")["recovered"]}
        values["entropy (nats)"] = pd.Series(
            probes.conditional_entropy(run.model, x)[:, run.scored].mean(1).tolist()
        )
        for quantity, value in values.items():
            yield {
                "set": name,
                "quantity": quantity,
                "mean": value.mean(),
                "standard_error": value.sem(),
            }


def complete():
    """Complete the table, training by training."""
    experiments = {
        experiment["corpus"]: experiment
        for experiment in yaml.safe_load(PROFILE.read_text())["experiments"]
    }
    table = (
        read_table(TABLE)
        if TABLE.exists()
        else pd.DataFrame(columns=["corpus", "size", "n", "seed"])
    )
    about = provenance({"profile": PROFILE.name, "levels": LEVELS, "machine": machine()})
    done = set(table[["corpus", "size", "n", "seed"]].itertuples(index=False, name=None))
    for (corpus, size, n), seeds in RUNS.items():
        for seed in range(1, seeds + 1):
            if (corpus, size, n, seed) not in done:
                run, _ = trained(experiments[corpus], size, n, seed)
                which = {"corpus": corpus, "size": size, "n": n, "seed": seed}
                rows = [which | row for row in probed(run, experiments[corpus]["recovery"])]
                new = pd.DataFrame(rows).round(5)
                table = pd.concat([table, new], ignore_index=True) if len(table) else new
                write_table(table, TABLE, about)
    return table


def spread(table):
    """Mean and standard deviation over trainings; standard error over the sequences of one."""
    return table.groupby(QUANTITY, sort=False).agg(
        trainings=("seed", "size"),
        mean=("mean", "mean"),
        between_trainings=("mean", "std"),
        over_sequences=("standard_error", "mean"),
    )


def compare(table, other):
    """Differences of the means over trainings, each with Welch's test."""
    from scipy.stats import ttest_ind  # of the extra bench, which training does not need

    comparisons, others = [], dict(list(other.groupby(QUANTITY)["mean"]))
    for key, mine in table.groupby(QUANTITY, sort=False)["mean"]:
        theirs = others[key]
        comparisons.append(
            [
                *key,
                mine.mean(),
                theirs.mean(),
                mine.mean() - theirs.mean(),
                ttest_ind(mine, theirs, equal_var=False).pvalue,
            ]
        )
    columns = [*QUANTITY, "here", "there", "difference", "p"]
    return pd.DataFrame(comparisons, columns=columns).set_index(QUANTITY)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument(
        "--against", metavar="FILE", help="a table that another version of this code made"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = complete()
    print(spread(table).round(3).to_string())
    if options.against:
        compared = compare(table, read_table(options.against))
        print(compared.round(3).to_string())
        print(
            f"{len(compared)} comparisons: largest difference "
            f"{compared['difference'].abs().max():.3f}, smallest p {compared['p'].min():.3f} "
            f"(Bonferroni's bound for 5 %: {0.05 / len(compared):.4f}); p < 0.05: "
            f"{(compared['p'] < 0.05).mean():.0%}"
        )


if __name__ == "__main__":
    main()
