"""Experiments on the binary memory (paper section 3.1), each a table.

They are about basins, training, capacity and unseen examples. Two rules are compared: ``hebbian``
couplings (:func:`uddm_lib.theory.hopfield.hebb`) and ``pseudo-likelihood`` ones
(:func:`uddm_lib.theory.pseudo_likelihood.train`).
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from uddm_lib.theory._arguments import Couplings, States, check_positive
from uddm_lib.theory.hopfield import hebb, margins, recovery, retrieve
from uddm_lib.theory.patterns import random_patterns
from uddm_lib.theory.pseudo_likelihood import descent, loss, pattern_weights, train

__all__ = ["basins", "capacity", "generalization", "training_history"]

RULES = ("hebbian", "pseudo-likelihood")
# In the theory of Hebbian couplings (Amit et al. 1987) a retrieval state has at least this overlap
# with its pattern. It has exactly this one at the load 0.138, beyond which there is none.
LEAST_OVERLAP = 0.967


def basins(
    loads: Sequence[float],
    shares: Sequence[float],
    size: int = 200,
    samples: int = 1,
    steps: int = 300,
    seed: int = 1,
) -> pd.DataFrame:
    """Basins of attraction of random patterns: overlap reached against the share of flipped bits.

    Args:
        loads: loads P / N.
        shares: shares of flipped bits, in [0, 1].
        size: number N of neurons.
        samples: independent sets of patterns.
        steps: descent steps of the pseudo-likelihood.
        seed: of the patterns and of the corruption.

    Returns:
        A table with a row per sample, load, rule, share and pattern: ``sample, load, rule, share``
        and the columns of :func:`uddm_lib.theory.hopfield.recovery`.
    """
    tables = []
    for sample in range(samples):
        for load in loads:
            patterns = _patterns_at(load, size, seed + sample)
            for rule, couplings in _couplings(patterns, steps):
                for share in shares:
                    table = recovery(couplings, patterns, share, generator=_seeded(seed + sample))
                    tables.append(_labeled(table, sample=sample, load=load, rule=rule, share=share))
    return pd.concat(tables, ignore_index=True)


def training_history(
    patterns: States, stages: Sequence[int], beta: float = 1.0, rate: float = 5.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pseudo-likelihood training seen at several steps: (summary, margins), two tables.

    Args:
        patterns: states of shape (P, N).
        stages: steps at which the training is seen.
        beta, rate: of :func:`uddm_lib.theory.pseudo_likelihood.train`.

    Returns:
        The summary has a row a stage: ``step``; ``loss``, nats a bit; ``smallest`` margin
        (eq. (7)); ``separated``, the share of neurons with positive margins; ``cosine`` between
        descent direction and Hebbian couplings, 1 where all margin factors are equal; ``patterns``,
        the effective number that carry a neuron's gradient, (sum f)^2 / sum f^2 of the margin
        factors f, averaged over neurons.

        The margins have a row per stage, pattern and neuron: ``step, pattern, neuron, margin,
        weight``. The weight is the margin factor divided by its sum over patterns.
    """
    summary, details = [], []
    for step, couplings in descent(patterns, stages, beta, rate):
        weight = pattern_weights(couplings, patterns, beta)
        margin = margins(couplings, patterns)
        direction = ((weight * patterns).T @ patterns).fill_diagonal_(0)
        summary.append(
            {
                "step": step,
                "loss": loss(couplings, patterns, beta).item() / patterns.numel(),
                "smallest": margin.min().item(),
                "separated": (margin.amin(0) > 0).double().mean().item(),
                "cosine": cosine_similarity(direction, hebb(patterns), dim=1).mean().item(),
                "patterns": (1 / weight.square().sum(0)).mean().item(),
            }
        )
        details.append(_labeled(_by_pattern_and_neuron(margin=margin, weight=weight), step=step))
    return pd.DataFrame(summary), pd.concat(details, ignore_index=True)


def capacity(
    loads: Sequence[float],
    size: int = 200,
    samples: int = 1,
    steps: int = 1000,
    rules: Sequence[str] = RULES,
    seed: int = 1,
) -> pd.DataFrame:
    """How many random patterns are held, against the load.

    Args:
        loads: loads P / N.
        size: number N of neurons.
        samples: independent sets of patterns.
        steps: descent steps of the pseudo-likelihood.
        rules: which couplings to measure.
        seed: of the patterns.

    Returns:
        A table with a row per sample, load and rule: ``stable``, the share of patterns that are
        exactly fixed points; ``bits``, the share of bits that are; ``retrieved``, the share of
        patterns near which the dynamics stays, with an overlap of at least 0.967
        (``LEAST_OVERLAP``); ``overlap``, its mean; ``separated``, the share of neurons without a
        wrong bit, to compare with :func:`uddm_lib.theory.separability.cover_probability`.
    """
    rows = []
    for sample in range(samples):
        for load in loads:
            patterns = _patterns_at(load, size, seed + sample)
            for rule, couplings in _couplings(patterns, steps, rules):
                measured = _held(couplings, patterns)
                rows.append({"sample": sample, "load": load, "rule": rule, **measured})
    return pd.DataFrame(rows)


def generalization(
    source: Callable[[int, torch.Generator], States],
    counts: Sequence[int],
    share: float = 0.1,
    probes: Mapping[str, Float[Tensor, "_ N"]] | None = None,
    reference: Couplings | None = None,
    unseen: int = 200,
    steps: int = 200,
    parallel: bool = True,
    rules: Sequence[str] = RULES,
    seed: int = 1,
) -> pd.DataFrame:
    """Recovery of stored and of unseen examples against the number P of stored ones.

    Args:
        source: maps (count, generator) to examples (count, N).
        counts: numbers of stored examples; the stored sets are nested.
        share: share of flipped bits.
        probes: further states to restore, name -> (K, N), for example the hidden features.
        reference: couplings that know the source, measured as rule ``reference``.
        unseen: number of unseen examples, and the most stored ones that are measured.
        steps, rules: of :func:`capacity`.
        parallel: of :func:`uddm_lib.theory.hopfield.retrieve`.
        seed: of the examples and of the corruption.

    Returns:
        A table with a row per rule, P, group (stored, unseen and the names of ``probes``) and
        example: ``rule, P, group`` and the columns of :func:`uddm_lib.theory.hopfield.recovery`.

    Raises:
        ValueError: if the largest count nearly exhausts the source, so that too few are unseen.
    """
    pool = source(max(counts), _seeded(seed))
    fresh = _unseen(source(4 * unseen, _seeded(seed + 1)), pool, unseen)
    measure, tables = functools.partial(recovery, share=share, parallel=parallel), []
    for count in counts:
        seen = {"stored": pool[: min(count, unseen)], "unseen": fresh}
        memories = [
            (rule, couplings, {**seen, **(probes or {})})
            for rule, couplings in _couplings(pool[:count], steps, rules)
        ]
        if reference is not None:
            memories.append(("reference", reference, seen))
        for rule, couplings, groups in memories:
            for group, examples in groups.items():
                table = measure(couplings, examples, generator=_seeded(seed + 2))
                tables.append(_labeled(table, rule=rule, P=count, group=group))
    return pd.concat(tables, ignore_index=True)


def _couplings(
    patterns: States, steps: int, rules: Sequence[str] = RULES
) -> Iterator[tuple[str, Couplings]]:
    """Pairs (rule, the couplings that it gives the patterns)."""
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "hebbian": hebb,
        "pseudo-likelihood": lambda states: train(states, steps),
    }
    for rule in rules:
        if rule not in known:
            raise ValueError(f"rules holds {rule!r}; allowed are {', '.join(known)}")
        yield rule, known[rule](patterns)


def _held(couplings: Couplings, patterns: States) -> dict[str, float]:
    """What :func:`capacity` measures of one memory."""
    right = margins(couplings, patterns) >= 0
    overlap = (retrieve(couplings, patterns) * patterns).mean(1)
    return {
        "stable": right.all(1).double().mean().item(),
        "bits": right.double().mean().item(),
        "retrieved": (overlap >= LEAST_OVERLAP).double().mean().item(),
        "overlap": overlap.mean().item(),
        "separated": right.all(0).double().mean().item(),
    }


def _unseen(
    draws: Float[Tensor, "draws N"], pool: Float[Tensor, "pool N"], count: int
) -> Float[Tensor, "count N"]:
    """The first ``count`` draws that ``pool`` does not hold.

    The sign of a state does not matter: an unbiased memory that stores it stores its negative too.
    """
    both = torch.cat([pool, draws])
    identity = (both * both[:, :1]).unique(dim=0, return_inverse=True)[1]
    new = draws[~torch.isin(identity[len(pool) :], identity[: len(pool)])][:count]
    if len(new) < count:
        raise ValueError(
            f"counts holds {len(pool)}, which leaves {len(new)} of {len(draws)} draws unseen; "
            f"unseen={count} are needed"
        )
    return new


def _by_pattern_and_neuron(**values: Float[Tensor, "P N"]) -> pd.DataFrame:
    """A table ``pattern, neuron`` with a column for each value, a row per pattern and neuron."""
    shape = next(iter(values.values())).shape
    rows, columns = torch.meshgrid(*(torch.arange(length) for length in shape), indexing="ij")
    flat = {"pattern": rows, "neuron": columns, **values}
    return pd.DataFrame({name: tensor.flatten().tolist() for name, tensor in flat.items()})


def _patterns_at(load: float, size: int, seed: int) -> States:
    """Random patterns of ``size`` bits, ``load`` times as many."""
    check_positive("load", load)
    return random_patterns(max(1, round(load * size)), size, _seeded(seed))


def _labeled(table: pd.DataFrame, **labels: object) -> pd.DataFrame:
    """The table with the same labels in every row, as its first columns."""
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
