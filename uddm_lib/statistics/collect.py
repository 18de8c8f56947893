"""A sweep's tables: those of its runs, a row a sequence or a token (:func:`collect`), and the small ones that the
figures are drawn from (:func:`figure_tables`), which are kept beside the figures (:func:`read_tables`).
"""

import pandas as pd

from uddm_lib.results import read_run, read_table, resolve
from uddm_lib.statistics.summary import RUN, histogram, of_denoiser, summarize
from uddm_lib.statistics.transition import transition_intervals

__all__ = ["collect", "figure_tables", "read_tables"]

RUN_TABLES = ("validation", "recovery", "basins", "examples", "token_entropy", "sequence_entropy")
FIGURE_TABLES = (
    "figure1_basins",
    "figure2_recovery",
    "figure3_examples",
    "figure3_token_entropy",
    "figure4_sequence_entropy",
    "figure5_entropy",
    "perplexity",
    "transition",
)


def collect(folder):
    """All tables of the runs in a profile's folder, joined over the runs: small models and small n first.

    Returns:
        A dictionary from the table's name (``recovery``, ``basins``, ...) to the table.

    Raises:
        FileNotFoundError: if the folder holds no run, or runs lack tables; the message names them.
    """
    folder = resolve(folder)
    runs = [(read_run(path.parent), path.parent) for path in folder.glob("*/run.json")]
    if not runs:
        raise FileNotFoundError(
            f"{folder} holds no run (no */run.json): train first, or give another folder"
        )
    missing = [
        f"{path.name}/{name}.csv"
        for _, path in runs
        for name in RUN_TABLES
        if not (path / f"{name}.csv").is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f"{folder} has unfinished runs, without {', '.join(sorted(missing))}: finish the "
            "sweep, or delete their folders"
        )
    runs.sort(
        key=lambda run: (
            run[0]["corpus"],
            run[0]["n_blocks"] * run[0]["hidden_size"] ** 2,
            run[0].get("blocks", run[0]["n"]),
        )
    )  # n = 0 asks for the whole corpus
    return {
        name: pd.concat([read_table(path / f"{name}.csv") for _, path in runs], ignore_index=True)
        for name in RUN_TABLES
    }


def figure_tables(tables):
    """The small tables that the figures are drawn from, out of the runs' tables of :func:`collect`.

    Returns:
        A dictionary from the name of the file (``figure1_basins``, ...) to the table.
    """
    entropy = tables["sequence_entropy"]
    entropy = entropy.assign(per_token=entropy["entropy"] / entropy["tokens"])
    return dict(
        zip(
            FIGURE_TABLES,
            (
                summarize(tables["basins"], [*RUN, "denoiser", "set", "share"], "recovered"),
                summarize(tables["recovery"], [*RUN, "denoiser", "set", "t"], "recovered"),
                _ends(tables["examples"]),
                histogram(_ends(tables["token_entropy"]), [*RUN, "set", "outcome"], "entropy"),
                histogram(of_denoiser(entropy), [*RUN, "set"], "entropy"),
                summarize(entropy, [*RUN, "denoiser", "set"], "per_token"),
                tables["validation"],
                transition_intervals(tables["recovery"]),
            ),
        )
    )


def read_tables(folder):
    """The tables of :func:`figure_tables` from the folder where they were saved.

    Raises:
        FileNotFoundError, ValueError: if one is missing or damaged; the message names it.
    """
    return {name: read_table(resolve(folder) / f"{name}.csv") for name in FIGURE_TABLES}


def _ends(frame):
    """The rows of the smallest and the largest n of every corpus and size."""
    n = frame.groupby(["corpus", "size"])["n"]
    return frame[
        (frame["n"] == n.transform("min")) | (frame["n"] == n.transform("max"))
    ].reset_index(drop=True)
