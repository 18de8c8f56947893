"""What a training step sees, as pure functions of (seed, step): blocks, times, noise and dropout.

All of it is made for the global batch, of which every process takes its share: what a sequence sees depends on its
place in that batch, and neither on the number of processes nor on how many sequences a device takes at once. (The
noise is drawn on the device that trains: a GPU draws other noise than a CPU.)
"""

import contextlib
import functools
from typing import NamedTuple

import torch

from uddm_lib.diffusion import corrupt, gaussian_latent
from uddm_lib.schedule import LogLinearSchedule, duality_alpha

__all__ = ["Batch", "batch_indices", "global_batch", "sample_times", "seeded_dropout", "shares"]

_GAMMA = -3.5, -1.75  # of the Gaussian curriculum, at t = 0 and t = 1


class Batch(NamedTuple):
    """Sequences of a step; their NELBOs per token, times ``scale``, summed over tokens and sequences, are its loss."""

    z_t: torch.Tensor  # (B, L)
    x: torch.Tensor  # (B, L)
    alpha_t: torch.Tensor  # (B,) float64, as the next two
    dalpha_t: torch.Tensor
    scale: torch.Tensor
    mixture: tuple | None  # tokens and weights of the curriculum's soft inputs, (B, L, K) each

    def take(self, part):
        """The sequences of the slice ``part``."""
        *tensors, mixture = self
        return Batch(
            *(tensor[part].contiguous() for tensor in tensors),
            mixture and tuple(tensor[part].contiguous() for tensor in mixture),
        )


def global_batch(blocks, options, vocab_size, step):
    """The whole batch of a step.

    Args:
        blocks: training blocks, shape (n, L), on the device that draws the noise.
        options: a :class:`~uddm_lib.training.options.TrainingOptions`.
        vocab_size: V.
        step: the number of the step, from 0.

    Returns:
        A :class:`Batch` of ``options.batch_size`` sequences, times in rising order.
    """
    device, schedule = blocks.device, LogLinearSchedule()
    t, weight = sample_times(
        options.batch_size, options.t_min, _generator(options.seed, step), options.t_sampling
    )
    t, scale = t.to(device), (weight / (options.batch_size * blocks.shape[1])).to(device)
    x = blocks[batch_indices(len(blocks), options.batch_size, step, options.seed).to(device)].long()
    noise = _generator(options.seed, step, 1, device)
    if options.curriculum == "none" or step >= options.curriculum_steps:
        alpha_t = schedule.alpha(t)
        return Batch(
            corrupt(x, alpha_t, vocab_size, noise), x, alpha_t, schedule.dalpha(t), scale, None
        )
    start, end = _GAMMA
    gamma = (start + (end - start) * t).requires_grad_()
    alpha_t = duality_alpha(gamma, vocab_size)
    (slope,) = torch.autograd.grad(alpha_t.sum(), gamma)
    z_t, *mixture = gaussian_latent(x, gamma.detach(), vocab_size, noise)
    return Batch(z_t, x, alpha_t.detach(), (end - start) * slope, scale, tuple(mixture))


def shares(batch_size, process, processes, at_once=0):
    """Which sequences of the global batch a process takes: a list of slices of at most ``at_once`` (0: all) each.

    A process takes every ``processes``-th sequence, so that all have times from the whole range.

    Raises:
        ValueError: if there are fewer sequences than processes.
    """
    if batch_size < processes:
        raise ValueError(
            f"batch_size={batch_size!r} is not allowed; it must be at least the number of processes, "
            f"{processes}"
        )
    stride = processes * (at_once or batch_size)
    return [slice(start, start + stride, processes) for start in range(process, batch_size, stride)]


def batch_indices(n, batch_size, step, seed):
    """Which of n blocks step ``step`` takes: consecutive pieces of one shuffle per epoch, shape (batch_size,)."""
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    index = torch.empty_like(positions)
    for epoch in positions.div(n, rounding_mode="floor").unique().tolist():
        here = positions.div(n, rounding_mode="floor") == epoch
        index[here] = _shuffle(n, seed, epoch)[positions[here] % n]
    return index


def sample_times(batch_size, t_min, generator, sampling="uniform"):
    """Times of a batch in [t_min, 1], antithetic: one in each of batch_size intervals of equal probability.

    The NELBO's integrand varies as t^(-1/2) from draw to draw: where a token was replaced, which has a chance of about
    t, it is about 1/t. ``importance`` draws times with that density, the least variance for such an integrand.

    Returns:
        Times, and the weights that make the weighted mean one over uniform times (ones if ``uniform``); float64, of
        shape (batch_size,).
    """
    jitter = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    share = (torch.arange(batch_size) + jitter) / batch_size
    if sampling == "uniform":
        return t_min + (1 - t_min) * share, torch.ones_like(share)
    root = t_min**0.5 + (1 - t_min**0.5) * share
    return root**2, 2 * root / (1 + t_min**0.5)


@contextlib.contextmanager
def seeded_dropout(rate, seed, step, process, device):
    """Set torch's global state, the only one that dropout draws from, from the step; then put it back."""
    if not rate:
        yield
        return
    with torch.random.fork_rng(
        [device] if device.type == "cuda" else []
    ):  # of other devices, nothing is drawn
        torch.manual_seed(seed + 2**20 * (step + 1) + process)
        yield


@functools.lru_cache(maxsize=2)  # a step takes from one shuffle or, at its end, two
def _shuffle(n, seed, epoch):
    return torch.randperm(n, generator=_generator(seed, epoch, 0xE90C))


def _generator(seed, step, purpose=0, device="cpu"):
    """A generator that depends on (seed, step, purpose) alone."""
    return torch.Generator(device).manual_seed(((seed * 0x10001 + purpose) * 2**32 + step) % 2**63)
