"""What runs cost, counted before they start: parameters, operations, bytes on disk.

Operations are the floating-point operations of the matrix products
(:attr:`~uddm_lib.model.UDDMConfig.forward_flops`). A *pass* is one sequence that goes forward
through the network once. The numbers of passes are upper bounds: a stochastic step asks the network
only about the sequences in which a token may move. Little beside the rest, and not counted, are
validation and samples of notebook 02, the curriculum's soft input, text examples, and the exact
denoisers of the Markov corpus.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.sampling import time_grid, trajectory
from uddm_lib.schedule import LogLinearSchedule

__all__ = [
    "DEVICES",
    "entropy_passes",
    "model_bytes",
    "parameter_count",
    "probe_flops",
    "recovery_passes",
    "state_bytes",
    "table_bytes",
    "training_flops",
]

DEVICES = {  # vendors' peak rates of dense matrix products, TFLOPS: bfloat16, float32
    "a100": (312, 19.5),
    "l40s": (362, 91.6),
    "h100": (989, 67),
    "h200": (989, 67),
}
_ROW = {  # bytes of a row, measured on profile laptop
    "recovery": 70,
    "basins": 75,
    "sequence_entropy": 48,
    "token_entropy": 46,
}
_PAGES = 2_000_000  # bytes of a run's three notebooks and their pages, likewise
_WEIGHT = 4  # bytes: models and states are stored in float32


def parameter_count(config: UDDMConfig) -> int:
    """Number of parameters of a :class:`~uddm_lib.model.UDDM`; no memory is taken for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in UDDM(config).parameters())


def training_flops(config: UDDMConfig, steps: int, batch_size: int) -> int:
    """Operations of a training: backward takes twice as many as forward."""
    return 3 * config.forward_flops * config.length * batch_size * steps


def probe_flops(config: UDDMConfig, passes: int) -> int:
    """Operations of ``passes`` sequences that go forward once."""
    return config.forward_flops * config.length * passes


def recovery_passes(
    sequences: int,
    levels: Sequence[float],
    steps: int,
    shares: Sequence[float],
    greedy_steps: int,
    start_t: float,
) -> int:
    """Passes of notebook 03, from its parameters: training and test sequences, random control."""
    stochastic = sum(len(time_grid(steps, level)) for level in levels)
    return _probed(sequences) * (stochastic + len(shares) * _greedy_calls(greedy_steps, start_t))


def entropy_passes(sequences: int, generated: int, steps: int, outcome_t: float) -> int:
    """Passes of notebook 04, from its parameters: restoration, generation, entropies."""
    restored = 2 * sequences * (len(time_grid(steps, outcome_t)) + 1)
    return restored + generated * len(time_grid(steps)) + 2 * sequences + generated


def state_bytes(parameters: int) -> int:
    """Size of a training's checkpoint: weights, their averages, two moments each."""
    return 4 * _WEIGHT * parameters


def model_bytes(parameters: int) -> int:
    """Size of a finished model."""
    return _WEIGHT * parameters


def table_bytes(
    config: UDDMConfig,
    recovery: Mapping[str, Any],
    entropy: Mapping[str, Any],
    denoisers: int = 1,
) -> int:
    """About how much a run's tables and executed notebooks take.

    Args:
        config: the model's configuration.
        recovery: parameters of notebook 03.
        entropy: parameters of notebook 04.
        denoisers: probed in each run: 1, or 3 where the source is known.
    """
    network = _probed(recovery["sequences"]) + 2 * (denoisers - 1) * recovery["sequences"]
    changed = 1 - float(LogLinearSchedule().alpha(entropy["outcome_t"]))
    rows = {
        "recovery": network * len(recovery["levels"]),
        "basins": network * len(recovery["shares"]),
        "sequence_entropy": denoisers * (2 * entropy["sequences"] + entropy["generated"]),
        "token_entropy": 2 * entropy["sequences"] * config.length * changed,
    }
    return _PAGES + round(sum(_ROW[name] * count for name, count in rows.items()))


def _probed(sequences: int) -> int:
    return 2 * sequences + -(-sequences // 4)


@lru_cache
def _greedy_calls(steps: int, start_t: float) -> int:
    """Steps of a greedy process at which the network is asked: those that may move a token."""
    counter = _Counter()
    start = torch.zeros(1, 1, dtype=torch.int64)
    for _ in trajectory(counter, start, start_t, steps, greedy=True):
        pass
    return counter.calls


class _Counter:
    """A denoiser that counts how often it is asked."""

    vocab_size = 2

    def __init__(self) -> None:
        self.calls = 0

    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Any) -> Float[Tensor, "B L 2"]:
        self.calls += 1
        return torch.zeros(*z_t.shape, self.vocab_size)
