"""What a denoiser is, and what sampling and probes ask of one.

A denoiser maps (z_t, sigma_t) to logits of the clean tokens. The trained network is one; exact
solutions of known sources are others. A network also gives hidden states, of which a linear layer
makes the logits. The functions here are the one place that tells the two apart. From a network they
never make (B, L, V) tensors (but for the total variation, which few sequences need), and a reverse
step asks it only about the sequences whose next state depends on it.
"""

from collections.abc import Callable
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from uddm_lib import diffusion
from uddm_lib.devices import flushed_denormals
from uddm_lib.diffusion import ReverseWeights
from uddm_lib.schedule import Level

__all__ = ["Denoiser", "entropy", "mode", "nelbo", "sharpness", "step", "total_variation"]


@runtime_checkable
class Denoiser(Protocol):
    """Predicts the clean tokens from noisy ones."""

    @property
    def vocab_size(self) -> int:
        """V, the number of tokens."""
        ...

    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
        """Logits of the clean tokens at the noise level sigma = -log alpha_t.

        ``sigma`` is a number, or has the shape (), (B,) or (B, 1).
        """
        ...


class _Network(Denoiser, Protocol):
    """A denoiser with hidden states, of which the layer ``head`` makes the logits."""

    @property
    def head(self) -> nn.Linear: ...

    def hidden(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L D"]: ...


@flushed_denormals()
@torch.inference_mode()
def step(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    sigma: Float[Tensor, ""],
    weights: ReverseWeights,
    generator: torch.Generator | None = None,
    greedy: bool = False,
) -> Int[Tensor, "B L"]:
    """One reverse step from z_t, by :func:`uddm_lib.diffusion.reverse_weights` of its noise levels.

    All sequences are at one noise level: the weights are scalars, on the device of ``z_t``. Greedy
    steps take the posterior's mode and need no ``generator``.
    """
    if not _is_network(denoiser):
        logits = _logits(denoiser, z_t, sigma)
        return diffusion.step_from_logits(logits, z_t, weights, generator, greedy)
    head = denoiser.head
    if greedy:
        hidden = denoiser.hidden(z_t, sigma)
        return diffusion.step_from_hidden(hidden, head.weight, head.bias, z_t, weights, None)
    u = diffusion.uniform_draws(z_t, generator)
    rows = _padded(diffusion.undecided(u, weights).any(1))
    z_s = z_t.clone()
    if len(rows):
        hidden = denoiser.hidden(z_t[rows], sigma)
        z_s[rows] = diffusion.step_from_hidden(
            hidden, head.weight, head.bias, z_t[rows], weights, u[rows]
        )
    return z_s


@flushed_denormals()
@torch.inference_mode()
def mode(
    denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Float[Tensor, ""]
) -> Int[Tensor, "B L"]:
    """The most probable clean token at every position."""
    return _predict(denoiser, z_t, sigma, diffusion.fused_mode, lambda logits: logits.argmax(-1))


@flushed_denormals()
@torch.inference_mode()
def entropy(denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L"]:
    """Conditional entropy of the predictions in nats (paper eq. (13))."""
    return _predict(denoiser, z_t, sigma, diffusion.fused_entropy, diffusion.entropy)


@flushed_denormals()
@torch.inference_mode()
def sharpness(denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "3 B L"]:
    """Entropy (nats), sum_v p (1 - p), and the largest minus the second largest probability."""
    return _predict(denoiser, z_t, sigma, diffusion.fused_sharpness, diffusion.sharpness)


@flushed_denormals()
@torch.inference_mode()
def nelbo(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    sigma: Level,
    x: Int[Tensor, "B L"],
    alpha_t: Level,
    dalpha_t: Level,
) -> Float[Tensor, "B L"]:
    """Integrand of the negative evidence lower bound in nats (paper eq. (3)).

    Raises:
        ValueError: if ``alpha_t`` is not inside (0, 1).
    """
    return _predict(
        denoiser, z_t, sigma, diffusion.fused_nelbo, diffusion.nelbo, z_t, x, alpha_t, dalpha_t
    )


@flushed_denormals()
@torch.inference_mode()
def total_variation(
    denoiser: Denoiser, z_t: Int[Tensor, "B L"], other: Int[Tensor, "B L"], sigma: Level
) -> Float[Tensor, "B L"]:
    """Total variation between the predictions given two inputs, in [0, 1]."""
    first, second = (_logits(denoiser, z, sigma).softmax(-1) for z in (z_t, other))
    return (first - second).abs().sum(-1) / 2


def _is_network(denoiser: Denoiser) -> TypeGuard[_Network]:
    return hasattr(denoiser, "hidden") and hasattr(denoiser, "head")


def _predict(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    sigma: Level,
    from_hidden: Callable[..., Tensor],
    from_logits: Callable[..., Tensor],
    *rest: Tensor | float,
) -> Tensor:
    """The same quantity by one of two functions: from hidden states where there are any."""
    if _is_network(denoiser):
        head = denoiser.head
        return from_hidden(denoiser.hidden(z_t, sigma), head.weight, head.bias, *rest)
    return from_logits(_logits(denoiser, z_t, sigma), *rest)


def _logits(denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
    """Logits of a denoiser that is no network, whose sums bfloat16 would spoil."""
    with torch.autocast(z_t.device.type, enabled=False):
        return denoiser.denoise(z_t, sigma)


def _padded(needed: Tensor) -> Int[Tensor, " n"]:
    """The needed rows and a few others, so that few different numbers of rows occur.

    The number is rounded up by at most a quarter: for every other shape a CPU has to generate
    bfloat16 kernels.
    """
    count = int(needed.sum())
    multiple = 1 << max(count.bit_length() - 3, 0)
    rows = needed.argsort(descending=True, stable=True)
    return rows[: -(-count // multiple) * multiple]
