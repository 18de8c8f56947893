"""Up to which diffusion time the exact memorizer tells its stored sequences apart.

Below the *condensation time* of n random sequences the :class:`~uddm_lib.oracles.Memorizer` knows
the original of a noisy version. At a later time even a stored sequence, seen without noise, has
half of the weight only. It still is a local minimum of the energy there.
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
    "class_weights",
    "condensation_time",
    "energy_path",
    "half_weight_time",
    "original_weights",
    "speciation_time",
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
    alpha: float | Float[Tensor, "*shape"], vocab_size: int, tokens: int | None = None
) -> Float[Tensor, "*shape"]:
    """Mutual information of a clean token, uniform over m of V, and its noisy version, in nats.

    Every other token has the probability (1 - alpha) / V. So for m = V the information is
    beta (alpha + (1 - alpha) / V) + log(1 - alpha), with beta the inverse temperature.

    Args:
        alpha: share of tokens kept, in (0, 1), a number or any tensor.
        vocab_size: V.
        tokens: m; by default V.
    """
    alpha, tokens = torch.as_tensor(alpha, dtype=torch.float64), tokens or vocab_size
    beta, other = inverse_temperature(-torch.log(alpha), vocab_size), (1 - alpha) / vocab_size
    among = alpha + tokens * other  # chance that the noisy token is one of the m
    rare = torch.log1p(-alpha) - torch.log(vocab_size / tokens * among)
    return beta * (alpha + other) + among * rare


def condensation_time(n: int, length: int, vocab_size: int, tokens: int | None = None) -> float:
    """Time at which the memory of n random sequences, of ``tokens`` tokens of V, condenses.

    It solves log n = L I(t), with I the :func:`channel_information`. At smaller t one stored
    sequence outweighs all others together; at larger t none does. It is Shannon's random-coding
    bound: the noisy channel can tell n = exp(L I) sequences of L tokens apart.

    Returns:
        t in (0, 1]; 1.0 if it stays condensed.
    """
    return _time_at(
        math.log(n) / length, lambda alpha: channel_information(alpha, vocab_size, tokens)
    )


def speciation_time(length: int, vocab_size: int, tokens: int) -> float:
    """Time below which a noisy sequence shows its class (Biroli 2024, for uniform noise).

    There are two classes. At each position they have ``tokens`` tokens each, none in common. The
    largest eigenvalue of the covariance of the one-hot tokens is L / (2 tokens), in the direction
    that tells the classes apart. The noise has 1 / V there. The class shows from
    alpha_t^2 L / (2 tokens) = 1 / V on.

    Returns:
        t in (0, 1); 0 if even clean sequences do not reach it.

    Raises:
        ValueError: if the vocabulary is too small for two classes of so many tokens.
    """
    if not 1 <= tokens <= vocab_size // 2:
        raise ValueError(
            f"tokens={tokens!r} is not allowed; two classes of V={vocab_size} tokens have from 1 "
            f"to {vocab_size // 2} each"
        )
    alpha = math.sqrt(2 * tokens / (length * vocab_size))
    return max(0.0, (1 - alpha) / (1 - LogLinearSchedule().eps))


def half_weight_time(n: int, length: int, vocab_size: int, tokens: int | None = None) -> float:
    """Time at which one of n random stored sequences, seen without noise, has half of the weight.

    The sequences are of ``tokens`` tokens of V, by default all. Then it solves
    log n = L (beta + log(1 - alpha)). There the others weigh as much as the sequence itself:
    n E[exp(-beta mismatches)] = 1. A local minimum of the energy outlives this time.

    Returns:
        t in (0, 1]; 1.0 if the weight stays above one half.
    """

    def rate(alpha: Float[Tensor, ""]) -> Float[Tensor, ""]:
        mismatch = torch.exp(-inverse_temperature(-torch.log(alpha), vocab_size))
        same = 1 / (tokens or vocab_size)
        return -torch.log(same + (1 - same) * mismatch)

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


def class_weights(
    n: int,
    length: int,
    vocab_size: int,
    tokens: int,
    times: Sequence[float],
    draws: int = 64,
    seed: int = 1,
) -> pd.DataFrame:
    """How much of the memorizer's weight lies on the right class, and on the right sequence.

    Args:
        n: number of stored sequences, half of them of each class of :func:`speciation_time`.
        length, vocab_size, tokens: of :func:`speciation_time`.
        times, draws, seed: of :func:`original_weights`.

    Returns:
        A table ``t, own_class, original`` of mean weights.
    """
    schedule, rows = LogLinearSchedule(), []
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    stored = torch.randint(tokens, (n, length), generator=generator) + tokens * labels[:, None]
    memory = Memorizer(stored, vocab_size)
    for t in times:
        chosen = torch.randint(n, (draws,), generator=generator)
        z_t = corrupt(stored[chosen], schedule.alpha(t), vocab_size, generator)
        weight = memory.weights(z_t, schedule.sigma(t))
        alike = labels == labels[chosen, None]
        original = weight.gather(1, chosen[:, None])
        weights = {"own_class": (weight * alike).sum(1), "original": original}
        rows.append({"t": t, **{name: value.mean().item() for name, value in weights.items()}})
    return pd.DataFrame(rows)
