"""What a denoiser is, and what sampling and probes ask of one.

A denoiser maps (z_t, sigma_t) to logits of the clean tokens. The trained network is one; exact
solutions of known sources are others. A network also gives hidden states, of which a linear layer
makes the logits. The functions here are the one place that tells the two apart. From a network they
never make (B, L, V) tensors (but for the total variation, which few sequences need), and a reverse
step asks it only about the sequences whose next state depends on it.

Sampling and probes are about the leave-one-out conditional, which the NELBO trains a network to
give. A denoiser whose facts (:mod:`uddm_lib.facts`) name another output is converted first, by
:func:`leave_one_out`.
"""

import math
from collections.abc import Callable
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from uddm_lib import diffusion
from uddm_lib.devices import flushed_denormals
from uddm_lib.diffusion import HybridNoise, ReverseWeights
from uddm_lib.facts import Facts, facts_of
from uddm_lib.oracles import inverse_temperature
from uddm_lib.schedule import Level

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
        logits = _conditional(denoiser, z_t, sigma)
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
        ValueError: if the conversion is ill-conditioned: it takes off more than half of what a
            softcap lets the logits reach. There the cap has flattened them.
    """
    facts = facts_of(denoiser)
    logits = _logits(denoiser, z_t, level).double()
    if facts.mask_id is not None:
        logits[..., facts.mask_id] = -math.inf
    if facts.output != "leave-one-out":
        own = z_t[..., None]
        excess = _excess(facts, denoiser.vocab_size, z_t, level)
        logits = logits.scatter(-1, own, logits.gather(-1, own) - excess[..., None])
    return logits.log_softmax(-1)


def _excess(
    facts: Facts, vocab_size: int, z_t: Int[Tensor, "B L"], level: Level
) -> Float[Tensor, "B L"]:
    """By how much the logit of the noisy token exceeds that of the leave-one-out law."""
    if facts.p_uniform is not None and facts.mask_id is not None:
        noise = HybridNoise(facts.p_uniform, vocab_size, facts.mask_id)
        if facts.output == "approximate":
            return noise.dynamic_excess(z_t, level)
        return noise.token_log_odds(z_t, level)
    excess = inverse_temperature(level, vocab_size).to(z_t.device)
    if facts.softcap is not None and (most := excess.max().item()) > facts.softcap / 2:
        odds = math.expm1(facts.softcap / 2) / vocab_size  # alpha / (1 - alpha) at the limit
        least = math.ceil(1e6 / (1 + odds)) / 1e6
        raise ValueError(
            f"sigma={torch.as_tensor(level).min():.2g} is too small for this denoiser: the "
            f"leave-one-out law is {most:.1f} nats away, more than half of the softcap "
            f"{facts.softcap:g} of its logits; use t of at least {least:g}"
        )
    return excess.reshape(-1, 1).expand(z_t.shape)


def _is_network(denoiser: Denoiser) -> TypeGuard[_Network]:
    """Whether hidden states and their layer give the leave-one-out conditional."""
    _check_noise(facts := facts_of(denoiser))
    return (
        facts.output == "leave-one-out"
        and hasattr(denoiser, "hidden")
        and hasattr(denoiser, "head")
    )


def _check_noise(facts: Facts) -> None:
    if facts.noise != "uniform":
        raise ValueError(
            f"the {facts.noise} noise of this {facts.family} model is not allowed here: reverse "
            "steps, NELBO and entropies are those of uniform noise"
        )


def _conditional(
    denoiser: Denoiser, z_t: Int[Tensor, "B L"], sigma: Level
) -> Float[Tensor, "B L V"]:
    """Logits of the leave-one-out conditional, as they are made where that is what they are."""
    if facts_of(denoiser).output == "leave-one-out":
        return _logits(denoiser, z_t, sigma)
    return leave_one_out(denoiser, z_t, sigma)


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
    return from_logits(_conditional(denoiser, z_t, sigma), *rest)


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
