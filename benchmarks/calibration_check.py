"""What the audit says of the models of other sweeps, whose seeds, sizes and n it was not fitted to.

    python benchmarks/calibration_check.py runs/desktop runs/laptop

It takes 64 generated sequences of each model, and writes results/calibration_check.csv.
"""

import argparse

import pandas as pd
from calibration import measured
from measure import RESULTS, machine

from uddm_lib import experiments
from uddm_lib.audit import calibration
from uddm_lib.results import provenance, resolve, write_table

COUNT, STEPS = 64, 20
MODEL = ["source", "size", "n", "seed"]  # two sweeps may share a training


def rows_of(folder):
    for path in sorted(resolve(folder).glob("*/run.json")):
        run = experiments.load_run(path.parent, "cpu")
        (row,) = measured(run, run.labels["corpus"], "nelbo", {COUNT: STEPS})
        print(f"{path.parent.name}: {row['seconds']:.0f} s", flush=True)
        yield row


def judged(table):
    """The table with the true regime, and what is said without and with unseen text."""
    models, table = calibration.labelled(COUNT), calibration.with_regime(table)
    said = {
        name: calibration.verdicts(calibration.probabilities(table, models, unseen)).to_numpy()
        for name, unseen in (("without", False), ("with_unseen", True))
    }
    return table.assign(**said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="of finished sweeps")
    folders = parser.parse_args().folders
    table = pd.DataFrame([row for folder in folders for row in rows_of(folder)])
    table = judged(table.drop(columns=["seconds", "kind"]).drop_duplicates(MODEL))
    write_table(
        table.round(4), RESULTS / "calibration_check.csv", provenance({"machine": machine()})
    )
    print(table.groupby(["regime", "with_unseen"]).size().unstack(fill_value=0))
    print(table.groupby(["regime", "without"]).size().unstack(fill_value=0))


if __name__ == "__main__":
    main()
