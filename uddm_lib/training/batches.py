"""What a training step sees, as pure functions of (seed, step): blocks, times, noise and dropout.

All of it is made for the global batch, of which every process takes its share. What a sequence
sees depends on its place in that batch. It depends neither on the number of processes nor on how
many sequences a device takes at once. (The device that trains draws the noise: a GPU draws other
noise than a CPU.)
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib.diffusion import corrupt, gaussian_latent
from uddm_lib.schedule import LogLinearSchedule, duality_alpha
from uddm_lib.training.options import TrainingOptions

__all__ = [
    "Batch",
    "Mixture",
    "batch_indices",
    "global_batch",
    "sample_times",
    "seeded_dropout",
    "shares",
]

_GAMMA = -3.5, -1.75  # of the Gaussian curriculum, at t = 0 and t = 1
_MOST_EPOCHS = 8  # in a batch whose epochs are shuffled one by one
_ORDER = 0xE90C  # purpose of a generator: the order of the blocks

# Tokens and weights of the curriculum's soft inputs.
Mixture = tuple[Int[Tensor, "B L K"], Float[Tensor, "B L K"]]


class Batch(NamedTuple):
    """Sequences of a step.

    The loss is the sum over tokens and sequences of ``scale`` times the NELBO of the token.
    ``alpha_t``, ``dalpha_t`` and ``scale`` are float64. ``mixture`` is None without curriculum.
    """

    z_t: Int[Tensor, "B L"]
    x: Int[Tensor, "B L"]
    alpha_t: Float[Tensor, "B"]
    dalpha_t: Float[Tensor, "B"]
    scale: Float[Tensor, "B"]
    mixture: Mixture | None

    def take(self, part: slice) -> "Batch":
        """The sequences of the slice ``part``."""
        mixture = self.mixture
        if mixture is not None:
            tokens, weights = mixture
            mixture = tokens[part].contiguous(), weights[part].contiguous()
        return Batch(
            self.z_t[part].contiguous(),
            self.x[part].contiguous(),
            self.alpha_t[part].contiguous(),
            self.dalpha_t[part].contiguous(),
            self.scale[part].contiguous(),
            mixture,
        )


def global_batch(
    blocks: Int[Tensor, "n L"], options: TrainingOptions, vocab_size: int, step: int
) -> Batch:
    """The whole batch of a step.

    Args:
        blocks: training blocks, on the device that draws the noise.
        options: how to train.
        vocab_size: V.
        step: number of the step, from 0.

    Returns:
        ``options.batch_size`` sequences, times in rising order.
    """
    device, schedule = blocks.device, LogLinearSchedule()
    t, weight = sample_times(
        options.batch_size, options.t_min, _generator(options.seed, step), options.t_sampling
    )
    t, scale = t.to(device), (weight / (options.batch_size * blocks.shape[1])).to(device)
    rows = batch_indices(len(blocks), options.batch_size, step, options.seed)
    x = blocks[rows.to(device)].long()
    noise = _generator(options.seed, step, 1, device)
    if options.curriculum == "none" or step >= options.curriculum_steps:
        alpha_t = schedule.alpha(t)
        z_t = corrupt(x, alpha_t, vocab_size, noise)
        return Batch(z_t, x, alpha_t, schedule.dalpha(t), scale, None)
    start, end = _GAMMA
    gamma = (start + (end - start) * t).requires_grad_()
    alpha_t = duality_alpha(gamma, vocab_size)
    (slope,) = torch.autograd.grad(alpha_t.sum(), gamma)
    z_t, tokens, weights = gaussian_latent(x, gamma.detach(), vocab_size, noise)
    return Batch(z_t, x, alpha_t.detach(), (end - start) * slope, scale, (tokens, weights))


def shares(batch_size: int, process: int, processes: int, at_once: int = 0) -> list[slice]:
    """Which sequences of the global batch a process takes, in parts.

    A process takes every ``processes``-th sequence, so that all have times from the whole range.

    Args:
        batch_size: sequences in the global batch.
        process: number of the process, from 0.
        processes: number of processes.
        at_once: most sequences in a part; 0: all.

    Raises:
        ValueError: if there are fewer sequences than processes.
    """
    if batch_size < processes:
        raise ValueError(
            f"batch_size={batch_size!r} is not allowed; it must be at least the number of "
            f"processes, {processes}"
        )
    stride = processes * (at_once or batch_size)
    return [slice(start, start + stride, processes) for start in range(process, batch_size, stride)]


def batch_indices(n: int, batch_size: int, step: int, seed: int) -> Int[Tensor, "batch_size"]:
    """Which of n blocks step ``step`` takes: consecutive pieces of one shuffle per epoch.

    A batch of more than eight epochs begins with a new one, so that all can be shuffled at once:
    the time does not grow with their number.
    """
    if batch_size > _MOST_EPOCHS * n:
        shuffles = torch.rand(-(-batch_size // n), n, generator=_generator(seed, step, _ORDER))
        return shuffles.argsort(1).flatten()[:batch_size]
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions.div(n, rounding_mode="floor")
    index = torch.empty_like(positions)
    for epoch in epochs.unique().tolist():
        here = epochs == epoch
        index[here] = _shuffle(n, seed, epoch)[positions[here] % n]
    return index


def sample_times(
    batch_size: int, t_min: float, generator: torch.Generator, sampling: str = "uniform"
) -> tuple[Float[Tensor, "batch_size"], Float[Tensor, "batch_size"]]:
    """Antithetic times of a batch in [t_min, 1]: one in each interval of equal probability.

    The NELBO's integrand varies as t^(-1/2) from draw to draw: it is about 1/t where a token was
    replaced, which has a chance of about t. ``importance`` draws times with that density, which
    has the least variance for such an integrand.

    Args:
        batch_size: number of times, and of intervals.
        t_min: the smallest time.
        generator: on the CPU.
        sampling: ``uniform`` or ``importance``.

    Returns:
        Times, and the weights that turn a weighted mean into one over uniform times (ones if
        ``uniform``); float64.
    """
    jitter = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    quantile = (torch.arange(batch_size) + jitter) / batch_size
    if sampling == "uniform":
        return t_min + (1 - t_min) * quantile, torch.ones_like(quantile)
    root = t_min**0.5 + (1 - t_min**0.5) * quantile
    return root**2, 2 * root / (1 + t_min**0.5)


@contextlib.contextmanager
def seeded_dropout(
    rate: float, seed: int, step: int, process: int, device: torch.device
) -> Iterator[None]:
    """Seed torch's global generator, the only one that dropout uses, and put it back at the end."""
    if not rate:
        yield
        return
    # Nothing is drawn on other devices.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed + 2**20 * (step + 1) + process)
        yield


@functools.lru_cache(maxsize=2)  # a step takes from one shuffle or, at its end, two
def _shuffle(n: int, seed: int, epoch: int) -> Int[Tensor, "n"]:
    return torch.randperm(n, generator=_generator(seed, epoch, _ORDER))


def _generator(
    seed: int, step: int, purpose: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator that depends on (seed, step, purpose) alone."""
    return torch.Generator(device).manual_seed(((seed * 0x10001 + purpose) * 2**32 + step) % 2**63)
