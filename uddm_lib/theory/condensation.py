"""Up to which diffusion time the exact memorizer tells its stored sequences apart.

The :class:`~uddm_lib.oracles.Memorizer` of n random sequences has two transitions. At the
*condensation* a noisy version of a sequence stops pointing to its original. Later the minima of the
energy *merge*: even a stored sequence without noise no longer points to itself.
"""

import math
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from uddm_lib.diffusion import corrupt
from uddm_lib.oracles import Memorizer, inverse_temperature
from uddm_lib.schedule import LogLinearSchedule

__all__ = [
    "channel_information",
    "condensation_time",
    "energy_path",
    "merging_time",
    "original_weights",
]


def energy_path(
    vocab_size: int, length: int, times: Sequence[float], seed: int = 1
) -> pd.DataFrame:
    """Energy of the exact memorizer of two random sequences on the way from one to the other.

    The first is replaced by the second token by token, in random order.

    Args:
        vocab_size: V.
        length: L.
        times: diffusion times in (0, 1].
        seed: of the sequences and of the order.

    Returns:
        A table ``t, step, energy``: ``step`` is the share replaced; the energy is in nats per
        token, relative to the first sequence's.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(vocab_size, (length,), generator=generator)
    second = (first + torch.randint(1, vocab_size, (length,), generator=generator)) % vocab_size
    rank = torch.randperm(length, generator=generator)
    path = torch.stack([torch.where(rank < step, second, first) for step in range(length + 1)])
    memory, schedule = Memorizer(torch.stack([first, second]), vocab_size), LogLinearSchedule()
    steps, tables = torch.arange(length + 1) / length, []
    for t in times:
        energy = memory.energy(path, schedule.sigma(t)) / length
        tables.append(pd.DataFrame({"t": t, "step": steps, "energy": energy - energy[0]}))
    return pd.concat(tables, ignore_index=True)


def channel_information(
    alpha: float | Float[Tensor, "*shape"], vocab_size: int
) -> Float[Tensor, "*shape"]:
    """Mutual information of a clean token, uniform over V, and its noisy version, in nats.

    Every other token has the probability (1 - alpha) / V. So the information is
    beta (alpha + (1 - alpha) / V) + log(1 - alpha), with beta the inverse temperature.

    Args:
        alpha: share of tokens kept, in (0, 1), a number or any tensor.
        vocab_size: V.
    """
    alpha = torch.as_tensor(alpha, dtype=torch.float64)
    beta = inverse_temperature(-torch.log(alpha), vocab_size)
    return beta * (alpha + (1 - alpha) / vocab_size) + torch.log1p(-alpha)


def condensation_time(n: int, length: int, vocab_size: int) -> float:
    """Time at which the memory of n random sequences condenses.

    It solves log n = L I(t), with I the :func:`channel_information`. At smaller t one stored
    sequence outweighs all others together; at larger t none does. It is Shannon's random-coding
    bound: the noisy channel can tell n = exp(L I) sequences of L tokens apart.

    Returns:
        t in (0, 1]; 1.0 if the sequences never merge.
    """
    return _time_at(math.log(n) / length, lambda alpha: channel_information(alpha, vocab_size))


def merging_time(n: int, length: int, vocab_size: int) -> float:
    """Time at which the minima of n random stored sequences merge.

    It solves log n = L (beta + log(1 - alpha)). There the others weigh as much as a stored sequence
    itself, seen without noise: n E[exp(-beta mismatches)] = 1.

    Returns:
        t in (0, 1]; 1.0 if they never do.
    """

    def rate(alpha: Float[Tensor, ""]) -> Float[Tensor, ""]:
        return inverse_temperature(-torch.log(alpha), vocab_size) + torch.log1p(-alpha)

    return _time_at(math.log(n) / length, rate)


def _time_at(rate: float, rate_at: Callable[[Tensor], Tensor]) -> float:
    """Time at which ``rate_at(alpha_t)``, falling in t, reaches ``rate``; 1.0 if it never does."""
    schedule, low, high = LogLinearSchedule(), 1e-12, 1.0
    if rate < rate_at(schedule.alpha(high)):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rate_at(schedule.alpha(middle)) > rate else (low, middle)
    return high


def original_weights(
    counts: Sequence[int],
    length: int,
    vocab_size: int,
    times: Sequence[float],
    draws: int = 64,
    seed: int = 1,
) -> pd.DataFrame:
    """How much of the memorizer's weight lies on the sequence that was corrupted.

    Args:
        counts: numbers n of random stored sequences.
        length, vocab_size: L and V.
        times: diffusion times of the corruption, in (0, 1].
        draws: corrupted sequences a point.
        seed: of the sequences and of the corruption.

    Returns:
        A table ``n, t, weight, error``: mean weight of the original in the softmax over stored
        sequences, and its standard error.
    """
    schedule, rows = LogLinearSchedule(), []
    for n in counts:
        generator = torch.Generator().manual_seed(seed)
        stored = torch.randint(vocab_size, (n, length), generator=generator)
        memory = Memorizer(stored, vocab_size)
        for t in times:
            chosen = torch.randint(n, (draws,), generator=generator)
            z_t = corrupt(stored[chosen], schedule.alpha(t), vocab_size, generator)
            weight = memory.weights(z_t, schedule.sigma(t)).gather(1, chosen[:, None])
            error = weight.std().item() / draws**0.5
            rows.append({"n": n, "t": t, "weight": weight.mean().item(), "error": error})
    return pd.DataFrame(rows)
