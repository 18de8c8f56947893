"""Memories that need no symmetric couplings, and so no energy (paper section 3.1).

Where J is symmetric, the updates of eq. (6), one neuron after the other, never raise the energy
-1/2 sum_ij s_i J_ij s_j. Otherwise nothing forbids it.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from uddm_lib._checks import positive_integer
from uddm_lib.theory._arguments import Couplings, States, check_memory, check_positive
from uddm_lib.theory.hopfield import corrupt, hebb, margins, stable
from uddm_lib.theory.patterns import random_patterns
from uddm_lib.theory.pseudo_likelihood import train

__all__ = ["asymmetry", "one_way", "relaxation", "symmetric_part", "symmetry_controls"]


def asymmetry(couplings: Couplings) -> float:
    """||J - J^T|| / ||J + J^T||: 0 if J is symmetric, 1 if of J_ij and J_ji one is always 0."""
    return ((couplings - couplings.T).norm() / (couplings + couplings.T).norm()).item()


def symmetric_part(couplings: Couplings) -> Couplings:
    """(J + J^T) / 2, the only part that the energy sees."""
    return (couplings + couplings.T) / 2


def one_way(size: int, generator: torch.Generator | None = None) -> Couplings:
    """A mask (N, N) of 0 and 1: of J_ij and J_ji it keeps one, by a fair coin; float64."""
    positive_integer("size", size)
    upper = torch.randint(2, (size, size), generator=generator, dtype=torch.float64).triu(1)
    return upper + (1 - upper).triu(1).T


def relaxation(
    couplings: Couplings,
    patterns: States,
    share: float,
    sweeps: int = 20,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """Every flip on the way back from damaged patterns, one neuron after the other (eq. (6)).

    Args:
        couplings: J of shape (N, N).
        patterns: states of shape (P, N).
        share: share of bits flipped at the start, in [0, 1].
        sweeps: most updates of all neurons.
        generator: of the damage.

    Returns:
        A table with a row per run and flip, and one of flip 0, the start: ``run, flip``;
        ``energy``, -1/2 sum_ij s_i J_ij s_j / N; ``overlap`` of state and pattern.
    """
    check_memory(couplings, patterns)
    positive_integer("sweeps", sweeps)
    states = corrupt(patterns, share, generator)
    symmetric, size = symmetric_part(couplings), len(couplings)
    energy, wrong = -(states @ symmetric * states).mean(1) / 2, (states != patterns).sum(1)
    runs, flips = torch.arange(len(states)), torch.zeros_like(wrong)
    seen = [(runs, flips.clone(), energy.clone(), wrong.clone())]
    for _ in range(sweeps):
        before = states.clone()
        for i in range(size):
            moved = (states[:, i] * (states @ couplings[i]) < 0).nonzero()[:, 0]
            if len(moved):
                states[moved, i] *= -1
                flips[moved] += 1
                energy[moved] -= states[moved, i] * (states[moved] @ symmetric[i]) * 2 / size
                wrong[moved] += torch.where(states[moved, i] == patterns[moved, i], -1, 1)
                seen.append((moved, flips[moved], energy[moved], wrong[moved]))
        if torch.equal(states, before):
            break
    run, flip, energy, wrong = map(torch.cat, zip(*seen))
    table = pd.DataFrame({"run": run, "flip": flip, "energy": energy})
    table["overlap"] = (1 - 2 * wrong / size).tolist()
    return table.sort_values(["run", "flip"], ignore_index=True)


def symmetry_controls(
    loads: Sequence[float],
    share: float,
    size: int = 100,
    samples: int = 8,
    steps: int = 300,
    seed: int = 1,
) -> pd.DataFrame:
    """What symmetric, asymmetric and one-way couplings store and restore.

    The trained couplings have rows of length one, which changes nothing in the dynamics.

    Args:
        loads: loads P / N.
        share: share of flipped bits, in [0, 1].
        size: number N of neurons.
        samples: independent sets of patterns.
        steps: descent steps of the pseudo-likelihood.
        seed: of the patterns, the damage and the directions of the one-way couplings.

    Returns:
        A table with a row per sample, load and ``couplings``: ``asymmetry``; ``margin``, the
        smallest of all (eq. (7)); ``stable``, the share of patterns that are fixed points;
        ``overlap`` reached from damaged patterns, one neuron after the other; ``rises``, the share
        of flips that raise the energy.
    """
    rows = []
    for sample in range(samples):
        for load in loads:
            check_positive("load", load)
            generator = torch.Generator().manual_seed(seed + sample)
            patterns = random_patterns(max(1, round(load * size)), size, generator)
            damage = generator.get_state()
            for name, couplings in _kinds(patterns, steps, seed + sample).items():
                path = relaxation(couplings, patterns, share, generator=generator.set_state(damage))
                rises = path.groupby("run")["energy"].diff().dropna() > 1e-12
                row = {
                    "asymmetry": asymmetry(couplings),
                    "margin": margins(couplings, patterns).min().item(),
                    "stable": stable(couplings, patterns).double().mean().item(),
                    "overlap": path.groupby("run")["overlap"].last().mean(),
                    "rises": rises.mean(),
                }
                rows.append({"sample": sample, "load": load, "couplings": name, **row})
    return pd.DataFrame(rows)


def _kinds(patterns: States, steps: int, seed: int) -> dict[str, Couplings]:
    """The couplings that :func:`symmetry_controls` compares."""
    free = train(patterns, steps)
    free = free / free.norm(dim=1, keepdim=True)
    mask = one_way(patterns.shape[1], torch.Generator().manual_seed(seed))
    return {
        "Hebbian": hebb(patterns),
        "trained": free,
        "trained, then symmetrized": symmetric_part(free),
        "trained symmetric": train(patterns, steps, project=symmetric_part),
        "trained one-way": train(patterns, steps, project=mask.mul),
    }
