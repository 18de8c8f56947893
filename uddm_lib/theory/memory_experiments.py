"""Experiments on the binary associative memory (paper section 3.1), each a table: basins, training, capacity, unseen.

Two rules are compared: ``hebbian`` couplings (:func:`uddm_lib.theory.hopfield.hebb`) and ``pseudo-likelihood`` ones
(:func:`uddm_lib.theory.hopfield.train`).
"""

import pandas as pd
import torch

from uddm_lib.theory.hopfield import (
    descent,
    hebb,
    loss,
    margins,
    pattern_weights,
    random_patterns,
    recovery,
    retrieve,
    train,
)

__all__ = ["basins", "capacity", "course", "generalization"]

RULES = ("hebbian", "pseudo-likelihood")
# In the theory of Hebbian couplings (Amit et al. 1987) a retrieval state has at least this overlap with its pattern;
# it has exactly this one at the load 0.138, beyond which there is none.
LEAST_OVERLAP = 0.967


def basins(loads, shares, size=200, samples=1, steps=300, seed=1):
    """Basins of attraction of random patterns: overlap reached against the share of flipped bits.

    Returns:
        A table with a row per sample, load, rule (``hebbian``, ``pseudo-likelihood``), share and pattern:
        ``sample, load, rule, share`` and the columns of :func:`recovery`.
    """
    tables = []
    for i in range(samples):
        for load in loads:
            patterns = _loaded(load, size, seed + i)
            for rule, couplings in _rules(patterns, steps):
                for share in shares:
                    table = recovery(couplings, patterns, share, generator=_seeded(seed + i))
                    tables.append(_labelled(table, sample=i, load=load, rule=rule, share=share))
    return pd.concat(tables, ignore_index=True)


def course(patterns, stages, beta=1.0, rate=5.0):
    """Training seen at several steps: (summary, margins), two tables.

    The summary has a row a stage: ``step``; ``loss``, nats a bit; ``smallest`` margin (eq. (7)); ``separated``, the
    share of neurons with positive margins; ``cosine`` between descent direction and Hebbian couplings, 1 where all
    margin factors are equal; ``patterns``, the effective number that carry a neuron's gradient, (sum f)^2 / sum f^2,
    averaged over neurons. The second table has a row per stage, pattern and neuron: ``step, pattern, neuron, margin,
    weight``, the last the margin factor divided by its sum over patterns.
    """
    summary, details = [], []
    for step, couplings in descent(patterns, stages, beta, rate):
        weight = pattern_weights(couplings, patterns, beta)
        margin = margins(couplings, patterns)
        direction = ((weight * patterns).T @ patterns).fill_diagonal_(0)
        cosine = torch.nn.functional.cosine_similarity(direction, hebb(patterns), dim=1).mean()
        summary.append(
            {
                "step": step,
                "loss": loss(couplings, patterns, beta).item() / patterns.numel(),
                "smallest": margin.min().item(),
                "separated": (margin.amin(0) > 0).double().mean().item(),
                "cosine": cosine.item(),
                "patterns": (1 / weight.square().sum(0)).mean().item(),
            }
        )
        rows, columns = torch.meshgrid(*(torch.arange(n) for n in patterns.shape), indexing="ij")
        details.append(
            pd.DataFrame(
                {
                    "step": step,
                    "pattern": rows.flatten().tolist(),
                    "neuron": columns.flatten().tolist(),
                    "margin": margin.flatten().tolist(),
                    "weight": weight.flatten().tolist(),
                }
            )
        )
    return pd.DataFrame(summary), pd.concat(details, ignore_index=True)


def capacity(loads, size=200, samples=1, steps=1000, rules=RULES, seed=1):
    """How many random patterns are held, against the load.

    Returns:
        A table with a row per sample, load and rule: ``stable``, the share of patterns that are exactly fixed points;
        ``bits``, the share of bits that are; ``retrieved``, the share of patterns near which the dynamics stays, with
        an overlap of at least 0.967 (``LEAST_OVERLAP``); ``overlap``, its mean; ``separated``, the share of neurons
        without a wrong bit, to compare with :func:`uddm_lib.theory.hopfield.cover_probability`.
    """
    rows = []
    for i in range(samples):
        for load in loads:
            patterns = _loaded(load, size, seed + i)
            for rule, couplings in _rules(patterns, steps, rules):
                right = margins(couplings, patterns) >= 0
                overlap = (retrieve(couplings, patterns) * patterns).mean(1)
                rows.append(
                    {
                        "sample": i,
                        "load": load,
                        "rule": rule,
                        "stable": right.all(1).double().mean().item(),
                        "bits": right.double().mean().item(),
                        "retrieved": (overlap >= LEAST_OVERLAP).double().mean().item(),
                        "overlap": overlap.mean().item(),
                        "separated": right.all(0).double().mean().item(),
                    }
                )
    return pd.DataFrame(rows)


def generalization(
    source,
    counts,
    share=0.1,
    probes=None,
    reference=None,
    unseen=200,
    steps=200,
    parallel=True,
    rules=RULES,
    seed=1,
):
    """Recovery of stored and of unseen examples against the number P of stored ones.

    The stored sets are nested. Unseen examples are draws that no stored set holds, with either sign: an unbiased
    memory that stores a state also stores its negative.

    Args:
        source: maps (count, generator) to examples (count, N).
        counts: numbers of stored examples.
        share: share of flipped bits.
        probes: further states to restore, a dict of name to (K, N), for example the hidden features.
        reference: couplings that know the source, measured on stored and unseen examples as rule ``reference``.
        unseen: number of unseen examples, and the most stored ones that are measured.
        steps, parallel: of :func:`train` and :func:`retrieve`.
        rules: which couplings to measure.

    Returns:
        A table with a row per rule, P, group (stored, unseen and the names of ``probes``) and example: ``rule, P,
        group`` and the columns of :func:`recovery`.

    Raises:
        ValueError: if most draws were stored: the largest count then nearly exhausts the source.
    """
    pool = source(max(counts), _seeded(seed))
    fresh = source(4 * unseen, _seeded(seed + 1))
    both = torch.cat([pool, fresh])
    known = (both * both[:, :1]).unique(dim=0, return_inverse=True)[1]
    fresh = fresh[~torch.isin(known[len(pool) :], known[: len(pool)])][:unseen]
    if len(fresh) < unseen:
        raise ValueError(
            f"counts holds {max(counts)}, which leaves {len(fresh)} of {4 * unseen} draws unseen; "
            f"unseen={unseen} are needed"
        )
    groups = {"unseen": fresh, **(probes or {})}
    tables = []
    for count in counts:
        stored = {"stored": pool[: min(count, unseen)]}
        memories = [
            (rule, J, {**stored, **groups}) for rule, J in _rules(pool[:count], steps, rules)
        ]
        if reference is not None:
            memories.append(("reference", reference, {**stored, "unseen": fresh}))
        for rule, couplings, states in memories:
            for group, examples in states.items():
                table = recovery(
                    couplings, examples, share, parallel=parallel, generator=_seeded(seed + 2)
                )
                tables.append(_labelled(table, rule=rule, P=count, group=group))
    return pd.concat(tables, ignore_index=True)


def _rules(patterns, steps, rules=RULES):
    """Pairs (rule, couplings)."""
    known = {"hebbian": hebb, "pseudo-likelihood": lambda states: train(states, steps)}
    for rule in rules:
        if rule not in known:
            raise ValueError(f"rules holds {rule!r}; allowed are {', '.join(known)}")
        yield rule, known[rule](patterns)


def _loaded(load, size, seed):
    if not load > 0:
        raise ValueError(f"load={load!r} is not allowed; it must be above 0")
    return random_patterns(max(1, round(load * size)), size, _seeded(seed))


def _labelled(table, **labels):
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)


def _seeded(seed):
    return torch.Generator().manual_seed(seed)
