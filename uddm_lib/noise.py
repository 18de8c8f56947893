"""The noise that a denoiser was trained under, by diffusion times: uniform or hybrid."""

from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import diffusion
from uddm_lib.diffusion import T_EPS, HybridNoise, ReverseWeights, reverse_weights
from uddm_lib.facts import Denoiser, Facts, facts_of
from uddm_lib.schedule import Level, LogLinearSchedule

__all__ = ["Noise", "UniformNoise", "check_readable", "hybrid_noise", "noise_of"]


class UniformNoise:
    """The noise of paper eq. (1): a token that is not kept is redrawn from all V.

    Args:
        vocab_size: V.
        schedule: log-linear by default.
    """

    def __init__(self, vocab_size: int, schedule: LogLinearSchedule | None = None) -> None:
        self.vocab_size, self.schedule = vocab_size, schedule or LogLinearSchedule()

    def level(self, t: Level) -> Float[Tensor, "..."]:
        """What a denoiser is told of the noise: sigma_t = -log alpha_t."""
        return self.schedule.sigma(t)

    def like_uniform(self, t: float) -> float:
        """The time at which as many tokens are kept as under uniform noise at t: t itself."""
        return t

    def corrupt(
        self, x: Int[Tensor, "B L"], t: Level, generator: torch.Generator | None = None
    ) -> Int[Tensor, "B L"]:
        """See :func:`uddm_lib.diffusion.corrupt`."""
        return diffusion.corrupt(x, self.schedule.alpha(t), self.vocab_size, generator)

    def start(
        self,
        n: int,
        length: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Int[Tensor, "{n} {length}"]:
        """What is left of any sequences at t = 1, or almost: uniform noise."""
        return torch.randint(self.vocab_size, (n, length), generator=generator, device=device)

    def steps(self, times: Float[Tensor, " T"]) -> tuple[Float[Tensor, " T"], ReverseWeights]:
        """The times themselves, and the weights of the steps; the last ends at alpha_s = 1."""
        alpha = self.schedule.alpha(times)
        return times, reverse_weights(torch.cat([alpha[1:], alpha.new_ones(1)]), alpha)


Noise: TypeAlias = UniformNoise | HybridNoise
"""What sampling and probes ask of a noise, both have: every method of :class:`UniformNoise`."""


def noise_of(denoiser: Denoiser, given: Noise | None = None) -> Noise:
    """The noise of a denoiser by its facts, or the ``given`` one if it is of that kind.

    Raises:
        ValueError: if it is of another kind.
    """
    own = hybrid_noise(facts_of(denoiser), denoiser.vocab_size)
    if given is not None and isinstance(given, HybridNoise) != (own is not None):
        raise ValueError(
            f"noise={type(given).__name__} is not allowed: the denoiser's noise is "
            f"{facts_of(denoiser).noise}"
        )
    return given or own or UniformNoise(denoiser.vocab_size)


def check_readable(denoiser: Denoiser) -> None:
    """Refuse to read what a model says of tokens that it was not trained to predict.

    Raises:
        ValueError: if its only noise is the mask.
    """
    if facts_of(denoiser).p_uniform == 0:
        raise ValueError(
            f"the {facts_of(denoiser).family} model of p_uniform=0 is not allowed here: without "
            "uniform noise its predictions at tokens that are no masks are untrained"
        )


def hybrid_noise(facts: Facts, vocab_size: int) -> HybridNoise | None:
    """The noise of a model whose facts name hybrid noise."""
    if facts.p_uniform is None or facts.mask_id is None:
        return None
    return HybridNoise(facts.p_uniform, vocab_size, facts.mask_id, facts.least_t or T_EPS)
