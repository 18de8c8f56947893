"""Made-up tables of a sweep for which the paper's claims hold, and changes to them."""

import itertools
from statistics import NormalDist

import numpy as np
import pandas as pd

NS = (8, 64, 512, 4096)
SIZES = ("small", "large")
SEEDS = (1, 2, 3)
SEQUENCES = 60  # of recovery; five times as many of entropy
LEVELS = {  # at each n; for both sizes, or for one
    "train": (1.0, 0.7, 0.5, 0.5),
    "train of large": (1.0, 0.95, 0.5, 0.5),
    "test": (0.05, 0.5, 0.5, 0.5),
    "greedy": (0.0, 0.0, 0.0, 0.0),  # greedy minus stochastic recovery
    "unstable": (0.8, 0.5, 0.02, 0.02),
    "recovered": (0.9, 0.9, 0.9, 0.9),  # share of sure tokens among these
    "failed": (0.1, 0.1, 0.1, 0.1),
    "entropy": (0.01, 0.1, 0.5, 0.5),  # of training sequences, nats per token
    "generated": (0.02, 0.6, 0.5, 0.5),
    "nelbo": (2.0, 3.0, 1.5, 1.5),
}
_RANDOM = 0.03  # recovery of the control


def sweep(changes=None, sizes=SIZES, ns=NS, seeds=SEEDS):
    """Tables as :func:`uddm_lib.statistics.collect.read_runs` gives them.

    Args:
        changes: from (name of a level, place of n), or also a size, to (value, spread): trainings
            differ by the spread, around the value.
    """
    changes, parts = changes or {}, {}
    for size, (k, n), (place, seed) in itertools.product(sizes, enumerate(ns), enumerate(seeds)):

        def level(name, size=size, k=k, place=place):
            value = LEVELS.get(f"{name} of {size}", LEVELS[name])[k]
            value, spread = changes.get((name, k, size), changes.get((name, k), (value, 0)))
            return value + spread * (place - (len(seeds) - 1) / 2)

        model = {"corpus": "made", "size": size, "n": n, "seed": seed}
        for name, rows, columns in _run(level, seed, copies=k == 0):
            columns = {**model, "denoiser": "network", "sequence": np.arange(rows), **columns}
            parts.setdefault(name, []).append(
                {key: np.broadcast_to(value, rows) for key, value in columns.items()}
            )
    return {
        name: pd.DataFrame({key: np.concatenate([part[key] for part in of_table]) for key in first})
        for name, of_table in parts.items()
        for first in of_table[:1]
    }


def _run(level, seed, copies):
    """The tables of one training, in parts: name, number of rows, columns."""
    noise = _normal(SEQUENCES)
    yield "validation", 1, {"nelbo": level("nelbo")}
    for name in ("train", "test", "random"):
        rate = _RANDOM if name == "random" else level(name)
        for table, key, shift in (("recovery", "t", 0), ("basins", "share", level("greedy"))):
            for value in (0.1, 0.5):
                rates = {"recovered": rate + shift + 0.02 * noise, "unstable": level("unstable")}
                yield table, SEQUENCES, {"set": name, key: value, **rates}
    for name, outcome in itertools.product(("train", "test"), ("recovered", "failed")):
        sure = np.arange(SEQUENCES) < round(level(outcome) * SEQUENCES)
        columns = {"set": name, "outcome": outcome, "entropy": np.where(sure, 0.01, 1)}
        yield "token_entropy", SEQUENCES, columns
    noise = _normal(5 * SEQUENCES)
    for name, label, overlap in (
        ("train", "entropy", np.nan),
        ("generated", "generated", 1.0 if copies else 0.5),
    ):
        order = np.random.default_rng([seed, len(name)]).permutation(len(noise))
        entropy = 16 * (level(label) + 0.002 * noise[order])
        columns = {"set": name, "entropy": entropy, "tokens": 16, "overlap": overlap}
        yield "sequence_entropy", len(noise), columns


def _normal(count):
    """Equally likely values of a normal variable."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])
