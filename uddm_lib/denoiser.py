"""What sampling and probes ask of a denoiser.

A denoiser maps (z_t, sigma_t) to logits of the clean tokens. The trained network is one; exact
solutions of known sources are others. A network also gives hidden states, of which a linear layer
makes the logits. The functions here are the one place that tells the two apart. From a network they
never make (B, L, V) tensors (but for the total variation, which few sequences need), and a reverse
step asks it only about the sequences whose next state depends on it.

Sampling and probes are about the leave-one-out conditional, which the NELBO trains a network to
give. A denoiser whose facts (:mod:`uddm_lib.facts`) name another output is converted first, as
:func:`leave_one_out` does it. That takes (B, L, V) tensors, of a part of the sequences at a time.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeGuard

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from uddm_lib import diffusion
from uddm_lib._conversion import check_time, converted, is_too_small
from uddm_lib.devices import flushed_denormals
from uddm_lib.diffusion import HybridNoise, HybridSteps, ReverseWeights
from uddm_lib.facts import Denoiser, facts_of
from uddm_lib.noise import Noise, check_readable, noise_of
from uddm_lib.schedule import Level

ENTRIES = 2**22  # of the logits that are converted at once, 32 MiB in float64

__all__ = [
    "Denoiser",
    "entropy",
    "leave_one_out",
    "mode",
    "nelbo",
    "sharpness",
    "step",
    "total_variation",
]


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
    level: Float[Tensor, ""],
    weights: ReverseWeights | HybridSteps,
    generator: torch.Generator | None = None,
    greedy: bool = False,
) -> Int[Tensor, "B L"]:
    """One reverse step from z_t, by the weights that :meth:`Noise.steps` gives.

    All sequences are at one noise level: the weights are scalars, on the device of ``z_t``. Greedy
    steps take the posterior's mode and need no ``generator``. The step of a denoiser that sees the
    noisy token is that of its own law, at all times: sum_x f(x) q(z_s | z_t, x).

    Raises:
        ValueError: if the weights are of another noise than the denoiser.
    """
    noise = facts_of(denoiser).noise
    if isinstance(weights, HybridSteps) != (noise == "hybrid"):
        raise ValueError(
            f"weights={type(weights).__name__} is not allowed: the denoiser's noise is {noise}"
        )
    if isinstance(weights, HybridSteps):
        parts = _conditionals(denoiser, z_t, level, checked=False)
        return torch.cat([weights.take(log_p, z_t[i], generator, greedy) for i, log_p in parts])
    if not _is_network(denoiser):
        return torch.cat(
            [
                diffusion.step_from_logits(logits, z_t[rows], weights, generator, greedy)
                for rows, logits in _conditionals(denoiser, z_t, level, checked=False)
            ]
        )
    head = denoiser.head
    if greedy:
        hidden = denoiser.hidden(z_t, level)
        return diffusion.step_from_hidden(hidden, head.weight, head.bias, z_t, weights, None)
    u = diffusion.uniform_draws(z_t, generator)
    rows = _padded(diffusion.undecided(u, weights).any(1))
    z_s = z_t.clone()
    if len(rows):
        hidden = denoiser.hidden(z_t[rows], level)
        z_s[rows] = diffusion.step_from_hidden(
            hidden, head.weight, head.bias, z_t[rows], weights, u[rows]
        )
    return z_s


@flushed_denormals()
@torch.inference_mode()
def mode(
    denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Float[Tensor, ""]
) -> Int[Tensor, "B L"]:
    """The most probable clean token at every position.

    It is that of the leave-one-out conditional; below a trained denoiser's ``least_t`` that of its
    output as it is, which sees the noisy token.
    """
    if not _is_network(denoiser) and is_too_small(facts_of(denoiser), sigma):
        return _logits(denoiser, z_t, sigma).argmax(-1)
    return _predict(denoiser, z_t, sigma, diffusion.fused_mode, lambda logits: logits.argmax(-1))


@flushed_denormals()
@torch.inference_mode()
def entropy(denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L"]:
    """Conditional entropy of the predictions in nats (paper eq. (13)).

    Raises:
        ValueError: if the model was trained with masks alone.
    """
    check_readable(denoiser)
    return _predict(denoiser, z_t, sigma, diffusion.fused_entropy, diffusion.entropy)


@flushed_denormals()
@torch.inference_mode()
def sharpness(denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "3 B L"]:
    """Entropy (nats), sum_v p (1 - p), and the largest minus the second largest probability."""
    check_readable(denoiser)
    return _predict(denoiser, z_t, sigma, diffusion.fused_sharpness, diffusion.sharpness)


@flushed_denormals()
@torch.inference_mode()
def nelbo(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    x: Int[Tensor, "B L"],
    t: Level,
    noise: Noise | None = None,
) -> Float[Tensor, "B L"]:
    """Integrand of the negative evidence lower bound in nats (paper eq. (3)).

    Args:
        denoiser: predicts the clean tokens.
        z_t: noisy tokens.
        x: clean tokens.
        t: time of the noise in (0, 1): a number or shape (), (B,) or (B, 1).
        noise: by default the denoiser's.

    Raises:
        ValueError: if ``t`` is out of range, or the noise not the denoiser's.
    """
    noise = noise_of(denoiser, noise)
    level = noise.level(t).to(z_t.device)
    if not isinstance(noise, HybridNoise):
        alpha, dalpha = noise.schedule.alpha(t), noise.schedule.dalpha(t)
        return _predict(
            denoiser, z_t, level, diffusion.fused_nelbo, diffusion.nelbo, z_t, x, alpha, dalpha
        )
    return torch.cat(
        [
            noise.nelbo(log_p, z_t[rows], x[rows], _of_rows(t, rows, len(z_t)))
            for rows, log_p in _conditionals(denoiser, z_t, level)
        ]
    )


@flushed_denormals()
@torch.inference_mode()
def total_variation(
    denoiser: Denoiser, z_t: Int[Tensor, "B L"], other: Int[Tensor, "B L"], sigma: Level
) -> Float[Tensor, "B L"]:
    """Total variation between the predictions given two inputs, as they are made, in [0, 1]."""
    first, second = (_logits(denoiser, z, sigma).softmax(-1) for z in (z_t, other))
    return (first - second).abs().sum(-1) / 2


@flushed_denormals()
@torch.inference_mode()
def leave_one_out(
    denoiser: Denoiser, z_t: Int[Tensor, "B L"], level: Level
) -> Float[Tensor, "B L V"]:
    """Log-probabilities of each clean token given the *other* noisy tokens, whatever the output.

    A denoiser's law f, given all noisy tokens, and the leave-one-out law p are one factor apart:
    f(v) is proportional to p(v) q(z | v). As logits they differ at the noisy token alone, by
    log(1 + V alpha_t / (1 - alpha_t)) under uniform noise (arXiv 2605.22765 has the conversions).

    Args:
        denoiser: its ``facts`` say what it predicts.
        z_t: noisy tokens.
        level: sigma = -log alpha_t > 0, or the time t under hybrid noise: a number or shape (),
            (B,) or (B, 1).

    Returns:
        Log-probabilities, float64; -inf at the mask of hybrid noise.

    Raises:
        ValueError: if the conversion is ill-conditioned, saying which t to use: below a trained
            denoiser's ``least_t``, or where it takes off more than half of what a softcap lets the
            logits reach, which has then flattened them.
    """
    facts = facts_of(denoiser)
    check_time(facts, denoiser.vocab_size, level)
    return converted(_logits(denoiser, z_t, level), facts, z_t, level)


def _is_network(denoiser: Denoiser) -> TypeGuard[_Network]:
    """Whether hidden states and their layer give the leave-one-out conditional."""
    return (
        not facts_of(denoiser).needs_conversion
        and hasattr(denoiser, "hidden")
        and hasattr(denoiser, "head")
    )


def _conditionals(
    denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level, checked: bool = True
) -> Iterator[tuple[slice, Float[Tensor, "b L V"]]]:
    """Logits of the leave-one-out conditional: as they are made, or converted a part at a time."""
    facts = facts_of(denoiser)
    if not facts.needs_conversion:
        yield slice(None), _logits(denoiser, z_t, sigma)
        return
    if checked:
        check_time(facts, denoiser.vocab_size, sigma)
    size = max(1, ENTRIES // (z_t.shape[1] * denoiser.vocab_size))
    for start in range(0, len(z_t), size):
        rows = slice(start, start + size)
        level = _of_rows(sigma, rows, len(z_t))
        logits = _logits(denoiser, z_t[rows], level)
        yield rows, converted(logits, facts, z_t[rows], level)


def _of_rows(value: Tensor | float, rows: slice, count: int) -> Tensor | float:
    """The part of a value for each of ``count`` sequences; one value for all stays as it is."""
    if isinstance(value, Tensor) and value.ndim and len(value) == count:
        return value[rows]
    return value


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
    results = [
        from_logits(logits, *(_of_rows(value, rows, len(z_t)) for value in rest))
        for rows, logits in _conditionals(denoiser, z_t, sigma)
    ]
    # The sequences are the last dimension but one (sharpness has three values in front of them).
    return results[0] if len(results) == 1 else torch.cat(results, -2)


def _logits(denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
    """Logits as they are made; bfloat16 would spoil them."""
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
