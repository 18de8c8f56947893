"""A sweep's tables: those of its runs, and the small ones that the figures are drawn from.

The runs' tables have a row per sequence or token (:func:`read_runs`). The small ones
(:func:`figure_tables`) are kept beside the figures and can be read back
(:func:`read_figure_tables`). Both carry the versions of the code that made the runs.
"""

import json
import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uddm_lib.data import chain_entropy, markov_chain
from uddm_lib.results import input_versions, read_run, read_table, resolve
from uddm_lib.statistics.entropies import entropy_gap, token_auc
from uddm_lib.statistics.summary import (
    RUN_COLUMNS,
    first_seeds,
    histogram,
    of_denoiser,
    summarize,
)
from uddm_lib.statistics.transition import transition_intervals

__all__ = [
    "FIGURE_TABLES",
    "figure_tables",
    "read_figure_tables",
    "read_runs",
    "smallest_and_largest_n",
]

RUN_TABLES = ("validation", "recovery", "basins", "examples", "token_entropy", "sequence_entropy")
FIGURE_TABLES = (
    "corpora",
    "entropy_gap",
    "figure1_basins",
    "figure2_recovery",
    "figure2_trainings",
    "figure3_examples",
    "figure3_token_entropy",
    "figure4_sequence_entropy",
    "figure5_entropy",
    "figure5_trainings",
    "perplexity",
    "token_auc",
    "transition",
)


def read_runs(folder: str | Path, left_out: Collection[str] = ()) -> dict[str, pd.DataFrame]:
    """The tables of all runs in a profile's folder, joined: small models and small n first.

    Trainings of the same size and n are ordered by their seed.

    Args:
        folder: the profile's.
        left_out: names of runs in it that don't count.

    Returns:
        From a table's name (``recovery``, ``basins``, ...) to the table. One more, ``corpora``,
        has the columns ``corpus, vocab_size, tokens`` (of a sequence, those that count) and
        ``entropy`` (of the source, in nats per token; NaN where it is unknown). The commits and
        code digests of the runs are in a table's ``attrs["provenance"]["inputs"]``.

    Warns:
        UserWarning: if different versions of the code made the runs, or if runs of a corpus were
            measured with different parameters.

    Raises:
        FileNotFoundError: if the folder holds no run, or runs lack tables; the message names them.
    """
    folder = resolve(folder)
    found = [path.parent for path in folder.glob("*/run.json")]
    runs = [(read_run(path), path) for path in found if path.name not in left_out]
    if not runs:
        raise FileNotFoundError(
            f"{folder} holds no run (no */run.json): train first, or give another folder"
        )
    runs.sort(key=lambda run: _rank(run[0]))
    folders = [path for _, path in runs]
    missing = [
        f"{path.name}/{name}.csv"
        for path in folders
        for name in RUN_TABLES
        if not (path / f"{name}.csv").is_file()
    ]
    if missing:
        raise FileNotFoundError(
            f"{folder} has unfinished runs, without {', '.join(sorted(missing))}: finish the "
            "sweep, or delete their folders"
        )
    parts = {name: [read_table(path / f"{name}.csv") for path in folders] for name in RUN_TABLES}
    versions = _versions([table for tables in parts.values() for table in tables])
    if len(versions["code"]) > 1:
        warnings.warn(
            f"{folder}: {len(versions['code'])} versions of the code made these runs (commits "
            f"{', '.join(versions['commits'])}); figures drawn from them mix these versions",
            stacklevel=2,
        )
    _check_alike(parts)
    joined = {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
    joined["corpora"] = _corpora([run for run, _ in runs], joined["sequence_entropy"])
    return _with_versions(joined, versions)


def figure_tables(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The small tables that the figures are drawn from, out of those of :func:`read_runs`.

    Means are over trainings, histograms count all trainings, and ``seeds`` is their number.
    Examples are those of one training, that of the smallest seed.

    Returns:
        From the name of the file (one of ``FIGURE_TABLES``) to the table, which carries the
        versions of the runs as theirs do.
    """
    entropy = tables["sequence_entropy"]
    entropy = entropy.assign(per_token=entropy["entropy"] / entropy["tokens"])
    run, recovery = RUN_COLUMNS, tables["recovery"]
    small = {
        "corpora": tables["corpora"].copy(),
        "entropy_gap": entropy_gap(entropy),
        "figure1_basins": summarize(
            tables["basins"], [*run, "denoiser", "set", "share"], "recovered", (0, 1)
        ),
        "figure2_recovery": summarize(
            tables["recovery"], [*run, "denoiser", "set", "t"], "recovered", (0, 1)
        ),
        "figure2_trainings": _trainings(recovery, ["set", "t"], "recovered"),
        "figure3_examples": smallest_and_largest_n(first_seeds(tables["examples"])),
        "figure3_token_entropy": histogram(
            smallest_and_largest_n(tables["token_entropy"]), [*run, "set", "outcome"], "entropy"
        ),
        "figure4_sequence_entropy": histogram(of_denoiser(entropy), [*run, "set"], "entropy"),
        "figure5_entropy": summarize(
            entropy, [*run, "denoiser", "set"], "per_token", (0, math.inf)
        ),
        "figure5_trainings": _trainings(entropy, ["set"], "per_token"),
        "perplexity": _perplexities(tables["validation"]),
        "token_auc": token_auc(smallest_and_largest_n(tables["token_entropy"])),
        "transition": transition_intervals(recovery),
    }
    return _with_versions(small, _versions(tables.values()))


def read_figure_tables(folders: str | Path | Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """The tables of :func:`figure_tables`, and ``claims``, from the folder where they were saved.

    Args:
        folders: a folder of figures, or several. A corpus is that of the first folder that has it.

    Raises:
        FileNotFoundError: if a table is missing; the message names it.
        ValueError: if one is damaged; the message names it. Or if ``folders`` is empty.
    """
    folders = [folders] if isinstance(folders, str | Path) else folders
    if not folders:
        raise ValueError("folders: give at least one folder of figures")
    known: set[str] = set()
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in (*FIGURE_TABLES, "claims")}
    for folder in folders:
        tables = {name: read_table(resolve(folder) / f"{name}.csv") for name in parts}
        for name, table in tables.items():
            if new := set(table["corpus"]) - known:
                parts[name].append(table[table["corpus"].isin(new)])
        known.update(tables["corpora"]["corpus"])
    joined = {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}
    versions = _versions(table for tables in parts.values() for table in tables)
    return _with_versions(joined, versions)


def _rank(run: dict[str, Any]) -> tuple[str, int, int, int]:
    """What runs are sorted by: corpus, size of the model, number of training blocks, seed."""
    scale = run["n_blocks"] * run["hidden_size"] ** 2
    return run["corpus"], scale, run.get("blocks", run["n"]), run.get("seed", 1)


def _corpora(runs: Iterable[dict[str, Any]], sequence_entropy: pd.DataFrame) -> pd.DataFrame:
    """What the figures' reference lines need to know of each corpus, from one of its runs."""
    tokens, rows = sequence_entropy.groupby("corpus")["tokens"].first(), []
    for name, run in {run["corpus"]: run for run in runs}.items():
        entropy = np.nan
        if name == "markov":
            chain = markov_chain(run["vocab_size"], seed=run["corpus_seed"])
            entropy = chain_entropy(*chain, run["length"]) / run["length"]
        rows.append((name, run["vocab_size"], tokens[name], entropy))
    return pd.DataFrame(rows, columns=["corpus", "vocab_size", "tokens", "entropy"])


def _trainings(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """The mean of every training by itself: thin lines in the figures."""
    training = [*RUN_COLUMNS, "seed"] if "seed" in frame else RUN_COLUMNS
    means = of_denoiser(frame).groupby([*training, *by], sort=False)[value].mean()
    return means.rename("mean").reset_index()


def _perplexities(validation: pd.DataFrame) -> pd.DataFrame:
    """Perplexity at the mean NELBO of each point's trainings, with its interval over them."""
    nats = summarize(validation, RUN_COLUMNS, "nelbo").rename(columns={"mean": "nelbo"})
    perplexity = np.exp(nats[["nelbo", "low", "high"]])
    table = nats.assign(
        perplexity=perplexity["nelbo"], low=perplexity["low"], high=perplexity["high"]
    )
    return table[[*RUN_COLUMNS, "nelbo", "perplexity", "low", "high", "seeds"]]


def _check_alike(parts: Mapping[str, list[pd.DataFrame]]) -> None:
    """Warn if tables of one name and corpus were measured with different parameters."""
    for name, tables in parts.items():
        found: dict[str, set[str]] = {}
        for table in tables:
            about = table.attrs.get("provenance", {}).get("parameters", {})
            chosen = {key: value for key, value in about.items() if key != "limits"}
            corpus = str(table["corpus"].iloc[0])
            found.setdefault(corpus, set()).add(json.dumps(chosen, sort_keys=True))
        if mixed := [corpus for corpus, choices in found.items() if len(choices) > 1]:
            warnings.warn(
                f"tables {name}.csv of {', '.join(mixed)} were measured with different parameters, "
                "which the figures mix: run their notebook again for all runs",
                stacklevel=3,
            )


def smallest_and_largest_n(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the smallest and the largest n of every corpus and size."""
    n = frame.groupby(["corpus", "size"])["n"]
    ends = (frame["n"] == n.transform("min")) | (frame["n"] == n.transform("max"))
    return frame[ends].reset_index(drop=True)


def _versions(tables: Iterable[pd.DataFrame]) -> dict[str, list[str]]:
    return input_versions(table.attrs.get("provenance", {}) for table in tables)


def _with_versions(
    tables: dict[str, pd.DataFrame], versions: dict[str, list[str]]
) -> dict[str, pd.DataFrame]:
    for table in tables.values():
        table.attrs = {"provenance": {"inputs": versions}}
    return tables
