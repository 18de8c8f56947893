"""The transition from memorization to generalization: where it lies, how far a model is from either end, the claims."""

import numpy as np
import pandas as pd

from uddm_lib.statistics.summary import RUN, need, of_denoiser, pivot

__all__ = ["claims", "distances", "gaps", "transition", "transition_intervals"]


def gaps(recovery):
    """Training minus test recovery of the trained networks, from a summary of recovery.

    Returns:
        A table with the columns ``corpus, size, n, t, train, test, gap``.

    Raises:
        ValueError: if a column or one of the two sets is missing.
    """
    need(recovery, [*RUN, "set", "t", "mean"])
    recovery = of_denoiser(recovery)
    if missing := {"train", "test"} - set(recovery["set"]):
        raise ValueError(
            f"the table has no set {', '.join(sorted(missing))}; it has {sorted(set(recovery['set']))}"
        )
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
        rows.append((*key, _crossing(part["n"].to_numpy(float), part["gap"].to_numpy(), threshold)))
    return pd.DataFrame(rows, columns=["corpus", "size", "transition_n"])


def transition_intervals(recovery, threshold=0.3, draws=1000, seed=0, level=0.95):
    """:func:`transition` at every t, with its percentile bootstrap interval over sequences.

    Args:
        recovery: recovery of the runs, a row a sequence (a table of :func:`collect`).
        threshold: share of corrupted tokens.
        draws, seed, level: of the bootstrap, as in :func:`bootstrap`.

    Returns:
        A table ``corpus, size, t, transition_n, low, high``; n is infinite where the gap never falls that low.

    Raises:
        ValueError: if a column is missing.
    """
    need(recovery, [*RUN, "set", "t", "recovered"])
    recovery, rows = of_denoiser(recovery), []
    for key, part in recovery.groupby(["corpus", "size", "t"], sort=False):
        generator, many, gap = np.random.default_rng(seed), np.sort(part["n"].unique()), []
        for n in many:
            means = []
            for name in ("train", "test"):
                values = (
                    part.loc[(part["n"] == n) & (part["set"] == name), "recovered"]
                    .dropna()
                    .to_numpy()
                )
                sampled = values[generator.integers(len(values), size=(draws, len(values)))].mean(1)
                means.append(np.append(values.mean(), sampled))
            gap.append(means[0] - means[1])
        found = [_crossing(many.astype(float), column, threshold) for column in np.array(gap).T]
        # "lower" keeps an infinite neighbour from making a quantile NaN
        low, high = np.quantile(found[1:], [(1 - level) / 2, (1 + level) / 2], method="lower")
        rows.append((*key, found[0], low, high))
    return pd.DataFrame(rows, columns=["corpus", "size", "t", "transition_n", "low", "high"])


def distances(tables, most=0.5):
    """How far every trained network is from the two exact limits, where these are known.

    Args:
        tables: the tables of :func:`figure_tables`.
        most: largest diffusion time that counts.

    Returns:
        A table with a row per corpus, size and n: the mean absolute difference of recovery rates over training and
        test sequences and t <= ``most``, in points (hundredths), and of the conditional entropy of training and
        generated sequences in nats per token, from the memorizer and from the generalizer.
    """
    parts = []
    for table, unit, scale in (("figure2_recovery", "points", 100), ("figure5_entropy", "nats", 1)):
        frame = tables[table]
        if unit == "points":
            frame = frame[(frame["t"] <= most) & (frame["set"] != "random")]
        else:
            frame = frame[frame["set"] != "test"]
        frame = frame[frame["corpus"].isin(of_denoiser(frame, "memorizer")["corpus"])]
        wide = pivot(frame, [*RUN, *(["t"] if unit == "points" else []), "set"], ["denoiser"])
        for limit in ("memorizer", "generalizer"):
            far = (
                (wide["network"] - wide[limit]).abs()
                if limit in wide
                else pd.Series(dtype=float, index=wide.index)
            )
            parts.append(scale * far.groupby(RUN, sort=False).mean().rename(f"{limit} ({unit})"))
    return pd.concat(parts, axis=1).reset_index()


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
            raise ValueError(
                f"limits of {corpus} are {given!r}; give a dictionary, from limit to number"
            )
        if unknown := sorted(set(given) - set(_CLAIMS) - set(_SETTINGS)):
            raise ValueError(
                f"unknown limit {', '.join(unknown)} of {corpus}; allowed: "
                f"{', '.join([*_CLAIMS, *_SETTINGS])}"
            )
        if wrong := [
            f"{name}={value!r}"
            for name, value in given.items()
            if isinstance(value, bool) or not isinstance(value, (int, float))
        ]:
            raise ValueError(f"limits of {corpus} must be numbers; got {', '.join(wrong)}")
        recovery = tables["figure2_recovery"]
        if corpus not in set(recovery["corpus"]):
            raise ValueError(
                f"claims name corpus {corpus!r}; the tables hold {sorted(set(recovery['corpus']))}"
            )
        recovery, entropy = (
            table[table["corpus"] == corpus] for table in (recovery, tables["figure5_entropy"])
        )
        t = given.get("t", 0.1)
        for size in recovery["size"].unique():
            measured = _measure(
                recovery[recovery["size"] == size], entropy[entropy["size"] == size], t
            )
            for name, (text, sign) in _CLAIMS.items():
                if name in given:
                    holds = (
                        measured[name] >= given[name]
                        if sign == ">="
                        else measured[name] <= given[name]
                    )
                    limit = f"{sign} {given[name]:g}"
                    rows.append(
                        (corpus, size, text.format(t=t), limit, measured[name], bool(holds))
                    )
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
    h = pivot(of_denoiser(entropy), ["n"], ["set"]).sort_index()
    if missing := {"train", "generated"} - set(h):
        raise ValueError(
            f"the entropies have no set {', '.join(sorted(missing))}; they have {', '.join(h)}"
        )
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


def _crossing(n, gap, threshold):
    """Where a gap first falls below a threshold, interpolated in log n; infinite if it never does."""
    below = np.flatnonzero(gap < threshold)
    if not len(below):
        return np.inf
    i = below[0]
    if i == 0:
        return n[0]
    return n[i - 1] * (n[i] / n[i - 1]) ** ((gap[i - 1] - threshold) / (gap[i - 1] - gap[i]))


def _at(table, t):
    rows = table[np.isclose(table["t"], t)]
    if rows.empty:
        raise ValueError(
            f"t={t!r} is not in the table; it has {', '.join(f'{x:g}' for x in sorted(set(table['t'])))}"
        )
    return rows
