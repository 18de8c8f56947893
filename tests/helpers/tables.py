"""Made-up tables of a sweep, seeded, with a transition like the paper's."""

import itertools

import numpy as np
import pandas as pd

SIZES = {"pico": 40, "nano": 150}  # size -> n at its transition
NS = (8, 64, 512, 4096)


def stored(size, n):
    """How much of the training set a model holds, from 1 to 0 as n grows."""
    return 1 / (1 + (n / SIZES[size]) ** 2)


def run_tables(corpus="markov", sequences=60, seeds=(1,)):
    """Tables as :func:`uddm_lib.statistics.collect.read_runs` gives them.

    Trainings of several seeds differ: recovery by 0.03 from one to the next, perplexity by 10 %.
    """
    generator, rows = (
        np.random.default_rng(0),
        {
            name: []
            for name in (
                "recovery",
                "basins",
                "examples",
                "token_entropy",
                "sequence_entropy",
                "validation",
            )
        },
    )
    for size, n, (place, seed) in itertools.product(SIZES, NS, enumerate(seeds)):
        m, shift = stored(size, n), place - (len(seeds) - 1) / 2
        model = {"corpus": corpus, "size": size, "n": n, "seed": seed}
        levels = {
            ("network", "train"): m + 0.6 * (1 - m),
            ("network", "test"): 0.1 * m + 0.6 * (1 - m),
            ("network", "random"): 0.03,
            ("memorizer", "train"): 1.0,
            ("memorizer", "test"): 0.1,
            ("generalizer", "train"): 0.6,
            ("generalizer", "test"): 0.6,
        }
        for (denoiser, name), level in levels.items():
            if denoiser == "network":
                level += 0.03 * shift
            for table, key, values in (
                ("recovery", "t", (0.1, 0.5)),
                ("basins", "share", (0.2, 0.6)),
            ):
                for value in values:
                    rate = np.clip(
                        level * (1 - value**2) + generator.normal(0, 0.02, sequences), 0, 1
                    )
                    rows[table] += [
                        {
                            **model,
                            "denoiser": denoiser,
                            "set": name,
                            key: value,
                            "sequence": i,
                            "corrupted": 3,
                            "recovered": r,
                            "unstable": 0.1,
                            "exact": 0,
                        }
                        for i, r in enumerate(rate)
                    ]
        entropies = {
            "train": 0.6 * (1 - m),
            "generated": 0.6 * (1 - m) + 0.6 * m * (1 - m),
            "test": 0.6,
        }
        entropies = {("network", name): h for name, h in entropies.items()}
        entropies |= {
            (denoiser, name): h
            for denoiser, h in (("memorizer", 0.0), ("generalizer", 0.6))
            for name in ("train", "generated", "test")
        }
        for (denoiser, name), h in entropies.items():
            rows["sequence_entropy"] += [
                {
                    **model,
                    "denoiser": denoiser,
                    "set": name,
                    "sequence": i,
                    "entropy": 16 * max(h, 0) + 0.1 * i,
                    "tokens": 16,
                }
                for i in range(10)
            ]
        for name in ("train", "test"):
            rows["examples"] += [
                {
                    **model,
                    "set": name,
                    "process": process,
                    "level": 0.1,
                    "position": i,
                    "original": "ab c"[i],
                    "perturbed": "xb c"[i],
                    "restored": "ab q"[i],
                }
                for process in ("stochastic", "greedy")
                for i in range(4)
            ]
            for outcome, top in (("recovered", 0.2), ("failed", 2.0)):
                rows["token_entropy"] += [
                    {**model, "set": name, "t": 0.1, "outcome": outcome, "entropy": h}
                    for h in generator.uniform(0, top, 30)
                ]
        nelbo = 2.0 + m + 0.1 * shift
        rows["validation"].append({**model, "nelbo": nelbo, "perplexity": np.exp(nelbo)})
    rows["corpora"] = [{"corpus": corpus, "vocab_size": 32, "tokens": 16, "entropy": 1.3}]
    return {name: pd.DataFrame(part) for name, part in rows.items()}
