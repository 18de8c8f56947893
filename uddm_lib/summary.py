"""Statistics of tables: means with bootstrap intervals, histograms, the transition, and the claims they support.

Two kinds of tables: those of the runs, a row a sequence or a token (:func:`collect`), and the small ones that the
figures are drawn from (:func:`figure_tables`), which are kept beside the figures (:func:`read_tables`).
"""

import numpy as np
import pandas as pd

from uddm_lib.results import read_run, read_table, resolve

__all__ = ["bootstrap", "claims", "collect", "figure_tables", "gaps", "histogram", "need", "pivot", "read_tables",
           "summarise", "transition"]

RUN_TABLES = ("validation", "recovery", "basins", "examples", "token_entropy", "sequence_entropy")
FIGURE_TABLES = ("figure1_basins", "figure2_recovery", "figure3_examples", "figure3_token_entropy",
                 "figure4_sequence_entropy", "figure5_entropy", "perplexity")
RUN = ["corpus", "size", "n"]


def need(frame, columns):
    """Check that a table has ``columns``; the ValueError names what it lacks and what it has."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")


def bootstrap(values, draws=1000, seed=0, level=0.95):
    """Mean of the values and its percentile bootstrap interval over them.

    Args:
        values: one number a sequence; NaN (nothing to measure in that sequence) is left out.
        draws: resamples, at least 1.
        seed: of the resampling.
        level: coverage, in (0, 1).

    Returns:
        mean, low, high; three NaN where there are no values.

    Raises:
        ValueError: if ``draws`` or ``level`` is out of range.
    """
    if draws < 1 or not 0 < level < 1:
        raise ValueError(f"draws={draws!r}, level={level!r}: draws must be at least 1, level in (0, 1)")
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    generator, at_once = np.random.default_rng(seed), max(1, 2**20 // len(values))  # a few MB, however many values
    means = np.concatenate([values[generator.integers(len(values), size=(min(at_once, draws - i), len(values)))].mean(1)
                            for i in range(0, draws, at_once)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return values.mean(), low, high


def summarise(frame, by, value):
    """Mean and 95 % bootstrap interval over sequences of every group.

    Args:
        frame: a table with a row a sequence.
        by: columns that make the groups, kept in their order of appearance.
        value: the column averaged.

    Returns:
        A table with the columns ``by``, ``mean``, ``low``, ``high`` and ``sequences`` (those that have a value).

    Raises:
        ValueError: if a column is missing.
    """
    need(frame, [*by, value])
    rows = [(*key, *bootstrap(part), int(part.notna().sum()))
            for key, part in frame.groupby(by, sort=False, observed=True)[value]]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "sequences"])


def histogram(frame, by, value, bins=40):
    """Shares of each group's rows in equal bins, from 0 to the largest value of the group's corpus and size.

    Returns:
        A table with the columns ``by``, ``low``, ``high`` (edges of the bin), ``count`` and ``share`` (of the group).

    Raises:
        ValueError: if a column is missing, or there is nothing to count.
    """
    need(frame, [*RUN, *by, value])
    frame = frame[frame[value].notna()]
    if frame.empty:
        raise ValueError(f"column {value} of the table holds no values to count")
    tops = frame.groupby(["corpus", "size"])[value].max()
    tables = []
    for key, part in frame.groupby(by, sort=False, observed=True):
        top = max(tops[part["corpus"].iloc[0], part["size"].iloc[0]], 1e-3)
        count, edges = np.histogram(part[value].clip(lower=0), bins, (0, top))
        tables.append(pd.DataFrame({**dict(zip(by, key)), "low": edges[:-1], "high": edges[1:], "count": count,
                                    "share": count / len(part)}))
    return pd.concat(tables, ignore_index=True)


def pivot(frame, index, columns, value="mean"):
    """A table as it is read: a row for every combination of ``index`` in the order of appearance, columns sorted.

    Raises:
        ValueError: if a column is missing.
    """
    need(frame, [*index, *columns, value])
    wide = frame.set_index([*index, *columns])[value].unstack(columns)
    order = frame[index].drop_duplicates()
    return wide.loc[pd.MultiIndex.from_frame(order) if len(index) > 1 else order[index[0]]].sort_index(axis=1)


def gaps(recovery):
    """Training minus test recovery, from a summary of recovery.

    Returns:
        A table with the columns ``corpus, size, n, t, train, test, gap``.

    Raises:
        ValueError: if a column or one of the two sets is missing.
    """
    need(recovery, [*RUN, "set", "t", "mean"])
    if missing := {"train", "test"} - set(recovery["set"]):
        raise ValueError(f"the table has no set {', '.join(sorted(missing))}; it has {sorted(set(recovery['set']))}")
    table = pivot(recovery, [*RUN, "t"], ["set"])[["train", "test"]].dropna().reset_index()
    table = table.assign(gap=table["train"] - table["test"]).rename_axis(columns=None)
    return table[[*RUN, "t", "train", "test", "gap"]]


def transition(recovery, t, threshold=0.3):
    """The n at which the train - test gap at t first falls below a threshold, for every corpus and size.

    Between two neighbouring n the gap is interpolated linearly in log n.

    Args:
        recovery: summary of recovery, as in :func:`gaps`.
        t: diffusion time, one of the table's.
        threshold: share of corrupted tokens.

    Returns:
        A table ``corpus, size, transition_n``: infinite if the gap never falls below the threshold, the smallest n
        if it lies below from the start (the transition is then there or before).

    Raises:
        ValueError: if the table has no such t.
    """
    table = _at(gaps(recovery), t)
    rows = []
    for key, part in table.groupby(["corpus", "size"], sort=False):
        part = part.sort_values("n")
        gap, n = part["gap"].to_numpy(), part["n"].to_numpy(dtype=float)
        below = np.flatnonzero(gap < threshold)
        i = below[0] if len(below) else None
        if not i:
            found = np.inf if i is None else n[0]
        else:
            found = n[i - 1] * (n[i] / n[i - 1]) ** ((gap[i - 1] - threshold) / (gap[i - 1] - gap[i]))
        rows.append((*key, found))
    return pd.DataFrame(rows, columns=["corpus", "size", "transition_n"])


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
        raise FileNotFoundError(f"{folder} holds no run (no */run.json): train first, or give another folder")
    missing = [f"{path.name}/{name}.csv" for _, path in runs for name in RUN_TABLES
               if not (path / f"{name}.csv").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} has unfinished runs, without {', '.join(sorted(missing))}: finish the "
                                "sweep, or delete their folders")
    runs.sort(key=lambda run: (run[0]["corpus"], run[0]["n_blocks"] * run[0]["hidden_size"] ** 2,
                             run[0].get("blocks", run[0]["n"])))  # n = 0 asks for the whole corpus
    return {name: pd.concat([read_table(path / f"{name}.csv") for _, path in runs], ignore_index=True)
            for name in RUN_TABLES}


def figure_tables(tables):
    """The small tables that the figures are drawn from, out of the runs' tables of :func:`collect`.

    Returns:
        A dictionary from the name of the file (``figure1_basins``, ...) to the table.
    """
    entropy = tables["sequence_entropy"]
    entropy = entropy.assign(per_token=entropy["entropy"] / entropy["tokens"])
    return dict(zip(FIGURE_TABLES, (
        summarise(tables["basins"], [*RUN, "set", "share"], "recovered"),
        summarise(tables["recovery"], [*RUN, "set", "t"], "recovered"),
        _ends(tables["examples"]),
        histogram(_ends(tables["token_entropy"]), [*RUN, "set", "outcome"], "entropy"),
        histogram(entropy, [*RUN, "set"], "entropy"),
        summarise(entropy, [*RUN, "set"], "per_token"),
        tables["validation"],
    )))


def read_tables(folder):
    """The tables of :func:`figure_tables` from the folder where they were saved.

    Raises:
        FileNotFoundError, ValueError: if one is missing or damaged; the message names it.
    """
    return {name: read_table(resolve(folder) / f"{name}.csv") for name in FIGURE_TABLES}


_CLAIMS = {  # limit -> what is claimed, and whether the measured value must be at least or at most the limit
    "smallest_train": ("smallest n: train recovery at t = {t}", ">="),
    "smallest_test": ("smallest n: test recovery at t = {t}", "<="),
    "smallest_entropy": ("smallest n: entropy of training sequences", "<="),
    "near_zero": ("smallest n: entropy of training and of generated sequences", "<="),
    "apart": ("in between: entropy of generated minus training sequences, at its largest", ">="),
    "largest_test": ("largest n: test recovery at t = {t}", ">="),
    "largest_gap": ("largest n: |train - test| recovery at every t <= 0.5", "<="),
    "largest_entropy": ("largest n: entropy of training sequences", ">="),
    "above_zero": ("largest n: entropy of training and of generated sequences", ">="),
}
_SETTINGS = ("t", "transition_gap")


def claims(tables, limits):
    """What a sweep must show, measured: one row per claim, corpus and model size.

    Args:
        tables: the tables of :func:`figure_tables`.
        limits: per corpus, the limits of the claims to be made: at the smallest n ``smallest_train`` and
            ``smallest_test`` (recovery at time ``t``), ``smallest_entropy`` and ``near_zero``; in between
            ``apart``; at the largest n ``largest_test``, ``largest_gap``, ``largest_entropy`` and ``above_zero``.
            ``transition_gap`` claims that the n at which the gap at ``t`` falls below it grows with model size.
            A limit that is absent makes no claim.

    Returns:
        A table ``corpus, size, claim, limit, measured, holds``. Recovery is a share, entropy nats per token.

    Raises:
        ValueError: if a limit, corpus or time is unknown; the message lists the allowed ones.
    """
    rows = []
    for corpus, given in limits.items():
        if not isinstance(given, dict):
            raise ValueError(f"limits of {corpus} are {given!r}; give a dictionary, from limit to number")
        if unknown := sorted(set(given) - set(_CLAIMS) - set(_SETTINGS)):
            raise ValueError(f"unknown limit {', '.join(unknown)} of {corpus}; allowed: "
                             f"{', '.join([*_CLAIMS, *_SETTINGS])}")
        if wrong := [f"{name}={value!r}" for name, value in given.items()
                     if isinstance(value, bool) or not isinstance(value, (int, float))]:
            raise ValueError(f"limits of {corpus} must be numbers; got {', '.join(wrong)}")
        recovery = tables["figure2_recovery"]
        if corpus not in set(recovery["corpus"]):
            raise ValueError(f"claims name corpus {corpus!r}; the tables hold {sorted(set(recovery['corpus']))}")
        recovery, entropy = (table[table["corpus"] == corpus] for table in (recovery, tables["figure5_entropy"]))
        t = given.get("t", 0.1)
        for size in recovery["size"].unique():
            measured = _measure(recovery[recovery["size"] == size], entropy[entropy["size"] == size], t)
            for name, (text, sign) in _CLAIMS.items():
                if name in given:
                    holds = measured[name] >= given[name] if sign == ">=" else measured[name] <= given[name]
                    limit = f"{sign} {given[name]:g}"
                    rows.append((corpus, size, text.format(t=t), limit, measured[name], bool(holds)))
        if "transition_gap" in given:
            found, before = transition(recovery, t, given["transition_gap"]), 0.0
            text = f"n at which the gap at t = {t} falls below {given['transition_gap']:g}: grows with size"
            for size, n in zip(found["size"], found["transition_n"]):
                rows.append((corpus, size, text, f"> {before:.1f}", n, bool(before < n < np.inf)))
                before = n
    return pd.DataFrame(rows, columns=["corpus", "size", "claim", "limit", "measured", "holds"])


def _measure(recovery, entropy, t):
    """The measured side of the claims about one model size."""
    gap = gaps(recovery)
    h = pivot(entropy, ["n"], ["set"]).sort_index()
    if missing := {"train", "generated"} - set(h):
        raise ValueError(f"the entropies have no set {', '.join(sorted(missing))}; they have {', '.join(h)}")
    small, large = h.index.min(), h.index.max()
    at_t = _at(gap, t).set_index("n")
    between = h[(h.index > small) & (h.index < large)]
    return {
        "smallest_train": at_t.loc[small, "train"],
        "smallest_test": at_t.loc[small, "test"],
        "smallest_entropy": h.loc[small, "train"],
        "near_zero": h.loc[small, ["train", "generated"]].max(),
        "apart": (between["generated"] - between["train"]).max(),
        "largest_test": at_t.loc[large, "test"],
        "largest_gap": gap.loc[(gap["n"] == large) & (gap["t"] <= 0.5), "gap"].abs().max(),
        "largest_entropy": h.loc[large, "train"],
        "above_zero": h.loc[large, ["train", "generated"]].min(),
    }


def _at(table, t):
    rows = table[np.isclose(table["t"], t)]
    if rows.empty:
        raise ValueError(f"t={t!r} is not in the table; it has {', '.join(f'{x:g}' for x in sorted(set(table['t'])))}")
    return rows


def _ends(frame):
    """The rows of the smallest and the largest n of every corpus and size."""
    n = frame.groupby(["corpus", "size"])["n"]
    return frame[(frame["n"] == n.transform("min")) | (frame["n"] == n.transform("max"))].reset_index(drop=True)
