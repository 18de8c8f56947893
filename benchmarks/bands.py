"""What the intervals over a few trainings contain: the true mean, and another sweep's mean.

Made-up recovery rates have effects of the training, of the sequence and of both, on a logit scale.

    python benchmarks/bands.py                     writes results/bands.csv (1 minute)
    python benchmarks/bands.py --runs runs/laptop  each training of a sweep, held against the others
"""

import argparse
import itertools

import numpy as np
import pandas as pd
from measure import RESULTS, machine

from uddm_lib.results import provenance, write_table
from uddm_lib.statistics.collect import read_runs
from uddm_lib.statistics.summary import RUN_COLUMNS, bootstrap, by_group, of_denoiser

LOGITS = [-4, -2, 0, 2, 4]
SPREADS = [0.0, 0.1, 0.4]  # standard deviation between trainings
TRAININGS = [3, 5]
SEQUENCES, TOKENS = 256, 8
OF_SEQUENCES, OF_BOTH = 1.0, 0.5  # standard deviations
REPEATS = 1000


def expit(x):
    return 1 / (1 + np.exp(-x))


def true_mean(logit, spread):
    """Mean rate of all trainings and sequences, by quadrature."""
    x, weights = np.polynomial.hermite_e.hermegauss(101)
    deviation = np.sqrt(spread**2 + OF_SEQUENCES**2 + OF_BOTH**2)
    return (expit(logit + deviation * x) * weights).sum() / weights.sum()


def rates(generator, logit, spread, trainings, sequences):
    """Made-up rates, a row per training; ``sequences`` are the effects of the sequences."""
    effect = generator.normal(0, spread, (trainings, 1))
    both = generator.normal(0, OF_BOTH, (trainings, len(sequences)))
    return generator.binomial(TOKENS, expit(logit + effect + sequences + both)) / TOKENS


def band(table, draws=400):
    """Mean and interval of a table with a row per training."""
    groups = np.repeat(np.arange(len(table)), table.shape[1])
    return bootstrap(table.ravel(), draws, groups=groups)


def inside(value, mean, low, high, others):
    """Whether a value is in a band, and in that of the mean of others: ``others`` times wider."""
    wide = mean + others * (low - mean), mean + others * (high - mean)
    return low <= value <= high, wide[0] <= value <= wide[1]


def simulated():
    """Shares of simulated bands that contain what they are held against, by setting."""
    rows, generator = [], np.random.default_rng(1)
    for trainings, logit, spread in itertools.product(TRAININGS, LOGITS, SPREADS):
        truth, found = true_mean(logit, spread), []
        for _ in range(REPEATS):
            same, other = generator.normal(0, OF_SEQUENCES, (2, SEQUENCES))
            mean, low, high = band(rates(generator, logit, spread, trainings, same))
            row = [low <= truth <= high, high - low]
            for sequences in (same, other):
                again = rates(generator, logit, spread, trainings, sequences).mean()
                row += inside(again, mean, low, high, 2**0.5)
            found.append(row)
        rows.append((trainings, truth, spread, *np.mean(found, axis=0)))
    columns = ["trainings", "rate", "spread", "true_mean", "width"]
    columns += ["second", "second_wide", "second_elsewhere", "second_elsewhere_wide"]
    return pd.DataFrame(rows, columns=columns).round(4)


def measured(folder):
    """Each training of a sweep, held against the band of the others at its point."""
    tables, found = read_runs(folder), []
    entropy = tables["sequence_entropy"]
    tables["sequence_entropy"] = entropy.assign(recovered=entropy["entropy"] / entropy["tokens"])
    for name, key in (("recovery", ["t"]), ("basins", ["share"]), ("sequence_entropy", [])):
        points = of_denoiser(tables[name]).groupby([*RUN_COLUMNS, "set", *key])
        for _, point in points[["seed", "recovered"]]:
            parts = by_group(point["recovered"].to_numpy(), point["seed"])
            parts = parts[:, ~np.isnan(parts).any(0)]
            for i in range(len(parts) if parts.size else 0):
                rest = np.delete(parts, i, axis=0)
                wider = (1 + len(rest)) ** 0.5
                found.append((name, *inside(parts[i].mean(), *band(rest), wider)))
    return pd.DataFrame(found, columns=["table", "in the band", "in that of one training"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--runs", metavar="FOLDER", help="runs of a sweep with several seeds")
    options = parser.parse_args()
    if options.runs:
        table = measured(options.runs)
        print(table.groupby("table").mean().round(3).to_string())
        print(table.drop(columns="table").mean().round(3).to_string())
        return
    table = simulated()
    write_table(table, RESULTS / "bands.csv", provenance({"machine": machine()}))
    print(table.groupby("trainings").mean().drop(columns=["rate", "spread"]).round(3).to_string())
    print(table.groupby("trainings")["true_mean"].agg(["min", "max"]).round(3).to_string())


if __name__ == "__main__":
    main()
