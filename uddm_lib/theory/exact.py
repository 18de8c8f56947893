"""The computations behind the theory notebook that enumerate, integrate or sample something small.

Maximum margins of patterns, the NELBO on pairs of tokens by enumeration, the condensation of the exact memorizer, the
uniform-Gaussian duality by sampling, and entropy against curvature in a double well.
"""

import math

import numpy as np
import pandas as pd
import torch
from sklearn.svm import SVC

from uddm_lib.diffusion import corrupt, nelbo
from uddm_lib.oracles import Memorizer, inverse_temperature
from uddm_lib.schedule import LogLinearSchedule

__all__ = [
    "argmax_alpha",
    "channel_information",
    "condensation",
    "condensation_time",
    "double_well",
    "energy_path",
    "maximum_margins",
    "merging_time",
    "nelbo_integrands",
]


def maximum_margins(patterns, neurons):
    """Largest smallest margin (paper eq. (7)) that couplings without diagonal can give to patterns, by an SVM.

    Each pattern is given together with its negative, which takes the bias out of scikit-learn's hard-margin SVM.

    Args:
        patterns: states +-1, shape (P, N), separable.
        neurons: indices of the neurons to do.

    Returns:
        A float64 tensor with a margin per neuron.
    """
    found = []
    for neuron in neurons:
        inputs = (patterns * patterns[:, neuron, None]).double()
        inputs = torch.cat([inputs[:, :neuron], inputs[:, neuron + 1 :]], 1).numpy()
        signs = [1] * len(inputs) + [-1] * len(inputs)
        machine = SVC(kernel="linear", C=1e8, tol=1e-6).fit(
            np.concatenate([inputs, -inputs]), signs
        )
        direction = machine.coef_[0]
        found.append((inputs @ direction).min() / np.linalg.norm(direction))
    return torch.tensor(found, dtype=torch.float64)


def nelbo_integrands(joint, times):
    """Integrand of the NELBO (paper eq. (3)) on pairs of tokens with a joint law, by enumeration.

    Args:
        joint: law of the pair, float64 (V, V).
        times: diffusion times in (0, 1], shape (T,).

    Returns:
        A table with a row per time, ``t``, and a column for each prediction, in nats, summed over both positions:
        ``leave-one-out conditional``, ``ordinary posterior``, ``uniform prediction``.
    """
    size, schedule = len(joint), LogLinearSchedule()
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    rows = []
    for t in times:
        alpha = schedule.alpha(t)
        kernel = alpha * torch.eye(size, dtype=torch.float64) + (1 - alpha) / size
        others = torch.stack(
            [(joint @ kernel).T[pairs[:, 1]], (joint.T @ kernel).T[pairs[:, 0]]], 1
        )
        predictions = {
            "leave-one-out conditional": others,
            "ordinary posterior": others * kernel.T[pairs],
            "uniform prediction": torch.ones_like(others),
        }
        x, z = torch.cartesian_prod(torch.arange(len(pairs)), torch.arange(len(pairs))).unbind(1)
        weight = joint[tuple(pairs[x].T)] * kernel[pairs[x], pairs[z]].prod(1)
        rows.append(
            {"t": t.item()}
            | {
                name: (
                    weight * nelbo(p.log()[z], pairs[z], pairs[x], alpha, schedule.dalpha(t)).sum(1)
                )
                .sum()
                .item()
                for name, p in predictions.items()
            }
        )
    return pd.DataFrame(rows)


def energy_path(vocab_size, length, times, seed=1):
    """Energy of the exact memorizer of two random sequences along the way from one to the other.

    Token by token the first is replaced by the second, in random order.

    Returns:
        A table ``t, step, energy``: nats per token, relative to the first sequence's; ``step`` is the share replaced.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(vocab_size, (length,), generator=generator)
    second = (first + torch.randint(1, vocab_size, (length,), generator=generator)) % vocab_size
    rank = torch.randperm(length, generator=generator)
    path = torch.stack([torch.where(rank < step, second, first) for step in range(length + 1)])
    memory, schedule, tables = (
        Memorizer(torch.stack([first, second]), vocab_size),
        LogLinearSchedule(),
        [],
    )
    for t in times:
        energy = memory.energy(path, schedule.sigma(t)) / length
        tables.append(
            pd.DataFrame(
                {"t": t, "step": torch.arange(length + 1) / length, "energy": energy - energy[0]}
            )
        )
    return pd.concat(tables, ignore_index=True)


def channel_information(alpha, vocab_size):
    """Mutual information of a clean token, uniform over V, and its noisy version, in nats.

    (1 - alpha) / V is the law of every other token, so it is beta (alpha + (1 - alpha) / V) + log(1 - alpha).

    Args:
        alpha: share of tokens kept, in (0, 1), a number or any tensor.
        vocab_size: V.
    """
    alpha = torch.as_tensor(alpha, dtype=torch.float64)
    beta = inverse_temperature(-torch.log(alpha), vocab_size)
    return beta * (alpha + (1 - alpha) / vocab_size) + torch.log1p(-alpha)


def condensation_time(n, length, vocab_size):
    """Time at which the memory of n random sequences condenses: log n = L I(t), I the :func:`channel_information`.

    Before it (t smaller) one stored sequence outweighs all others together; after it none does. It is Shannon's
    random-coding bound: n = exp(L I) sequences are what L uses of the noisy channel can tell apart.

    Returns:
        t in (0, 1); a float, 1.0 if the sequences never merge.
    """
    return _time_at(math.log(n) / length, lambda alpha: channel_information(alpha, vocab_size))


def merging_time(n, length, vocab_size):
    """Time at which the minima of n random stored sequences merge: log n = L (beta + log(1 - alpha)).

    There the others weigh as much as a stored sequence itself, seen without noise: n E[exp(-beta mismatches)] = 1.

    Returns:
        t in (0, 1); a float, 1.0 if they never do.
    """

    def rate(alpha):
        return inverse_temperature(-torch.log(alpha), vocab_size) + torch.log1p(-alpha)

    return _time_at(math.log(n) / length, rate)


def _time_at(rate, falling):
    """The time at which a falling function of alpha_t reaches ``rate``, by bisection; 1.0 if it stays above."""
    schedule, low, high = LogLinearSchedule(), 1e-12, 1.0
    if rate < falling(schedule.alpha(high)):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(schedule.alpha(middle)) > rate else (low, middle)
    return high


def condensation(counts, length, vocab_size, times, draws=64, seed=1):
    """How much of the memorizer's weight lies on the sequence that was corrupted, for n random stored sequences.

    Args:
        counts: numbers n of stored sequences.
        length, vocab_size: L and V.
        times: diffusion times of the corruption, in (0, 1].
        draws: corrupted sequences a point.
        seed: of the sequences and of the corruption.

    Returns:
        A table ``n, t, weight, error``: mean weight of the original in the softmax, and its standard error.
    """
    schedule, rows = LogLinearSchedule(), []
    for n in counts:
        generator = torch.Generator().manual_seed(seed)
        stored = torch.randint(vocab_size, (n, length), generator=generator)
        memory = Memorizer(stored, vocab_size)
        for t in times:
            chosen = torch.randint(n, (draws,), generator=generator)
            z_t = corrupt(stored[chosen], schedule.alpha(t), vocab_size, generator)
            own = memory.weights(z_t, schedule.sigma(t)).gather(1, chosen[:, None])
            rows.append(
                {
                    "n": n,
                    "t": t,
                    "weight": own.mean().item(),
                    "error": own.std().item() / draws**0.5,
                }
            )
    return pd.DataFrame(rows)


def argmax_alpha(gammas, vocab_size, draws, seed=1):
    """alpha of the argmax of noisy one-hot vectors, by drawing Gaussians (paper eq. (15)-(17)).

    Args:
        gammas: noise levels gamma, as in :func:`~uddm_lib.schedule.duality_alpha`.
        vocab_size: V.
        draws: vectors of V Gaussians at each gamma.
        seed: of the draws.

    Returns:
        A table ``vocab_size, gamma, alpha, error``, with the binomial standard error.
    """
    generator, rows = torch.Generator().manual_seed(seed), []
    at_once = max(1, 2**24 // vocab_size)
    for gamma in gammas:
        signal, noise = (math.sqrt(1 / (1 + math.exp(sign * gamma))) for sign in (1, -1))
        right = 0
        for start in range(0, draws, at_once):
            w = noise * torch.randn(min(at_once, draws - start), vocab_size, generator=generator)
            w[:, 0] += signal
            right += (w.argmax(1) == 0).sum().item()
        share, scale = right / draws, vocab_size / (vocab_size - 1)
        rows.append(
            {
                "vocab_size": vocab_size,
                "gamma": gamma,
                "alpha": scale * (share - 1 / vocab_size),
                "error": scale * math.sqrt(share * (1 - share) / draws),
            }
        )
    return pd.DataFrame(rows)


def double_well(stiffness, coupling=4.0, points=2001):
    """Entropy against curvature in one well of E(x, y) = k (x^2 - 1)^2 / 4 + c (y - x)^2 / 2 (paper eq. (19)-(23)).

    The Hessian at the minima (1, 1) and (-1, -1) is [[2 k + c, -c], [-c, c]], of determinant 2 k c.

    Args:
        stiffness: values of k, positive.
        coupling: c, positive.
        points: quadrature points in x; the integral over y is a Gaussian's.

    Returns:
        A table ``stiffness, log_det, entropy, laplace``: the entropy of p = exp(-E) / Z restricted to x > 0, by
        quadrature, and log(2 pi e) - log_det / 2, which eq. (23) puts in its place; nats.
    """
    x = torch.linspace(0, 3, points, dtype=torch.float64)
    rows = []
    for k in stiffness:
        well = k * (x**2 - 1) ** 2 / 4
        mass = torch.trapezoid(torch.exp(-well), x)
        in_x = torch.trapezoid(torch.exp(-well) * well, x) / mass + mass.log()
        given_x = 0.5 * math.log(2 * math.pi * math.e / coupling)
        log_det = math.log(2 * k * coupling)
        rows.append(
            {
                "stiffness": k,
                "log_det": log_det,
                "entropy": in_x.item() + given_x,
                "laplace": math.log(2 * math.pi * math.e) - log_det / 2,
            }
        )
    return pd.DataFrame(rows)
