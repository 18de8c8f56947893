"""What a denoiser is and what its predictions mean: their condition, and the noise.

Nothing in the numbers tells it. Two models can hold the same posterior and give different
predictions, because one was trained by the NELBO and the other by cross-entropy.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.schedule import Level

__all__ = ["Denoiser", "Facts", "facts_of"]

_CHOICES = {
    "output": ("leave-one-out", "denoiser", "approximate"),
    "level": ("sigma", "t", "none"),
}


@runtime_checkable
class Denoiser(Protocol):
    """Predicts the clean tokens from noisy ones."""

    @property
    def vocab_size(self) -> int:
        """V, the number of tokens."""
        ...

    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
        """Logits of the clean tokens at the noise level sigma = -log alpha_t.

        ``sigma`` is a number, or has the shape (), (B,) or (B, 1). Under hybrid noise it is t.
        """
        ...


@dataclass(frozen=True)
class Facts:
    """Facts of a denoiser; the defaults are those of a UDDM that the NELBO trained.

    Args:
        family: where the model comes from.
        output: what is predicted of a clean token. ``leave-one-out``: its law given the *other*
            noisy tokens, the optimum of the NELBO. ``denoiser``: its law given all of them, the
            optimum of cross-entropy. ``approximate``: leave-one-out up to a known factor at the
            noisy token, the optimum of GIDD's "dynamic" weights.
        level: what the network is told of the noise: ``sigma``, which is -log alpha_t, the time
            ``t`` (under hybrid noise, and only there), or ``none``.
        p_uniform: share of uniform noise in the hybrid noise of GIDD; None: the noise is uniform.
        mask_id: the token of hybrid noise that no clean sequence holds; None: there is none.
        softcap: bound on the size of the logits; None: they have none.
        least_t: below this time a trained denoiser's output is not converted to leave-one-out: of
            what is left besides the noisy token, training has pinned down too little. Under hybrid
            noise sampling and audits ask about no earlier time.
        untrained: which predictions training left alone, in words; empty: none that is known of.

    Raises:
        ValueError: naming the fact that is unknown or contradicts another.
    """

    family: str = "uddm"
    output: str = "leave-one-out"
    level: str = "sigma"
    p_uniform: float | None = None
    mask_id: int | None = None
    softcap: float | None = None
    least_t: float = 0.0
    untrained: str = ""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(
                    f"{name}={value!r} is not allowed; it must be one of {', '.join(allowed)}"
                )
        for name, least, most in (("p_uniform", 0, 1), ("softcap", 0, math.inf), ("least_t", 0, 1)):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and least <= value < most):
                raise ValueError(f"{name}={value!r} is not a number in [{least}, {most})")
        if self.mask_id is not None:
            _checks.integer("mask_id", self.mask_id, 0)
        if (self.p_uniform is None) != (self.mask_id is None):
            raise ValueError(
                f"p_uniform={self.p_uniform!r} and mask_id={self.mask_id!r}: hybrid noise has "
                "both, uniform noise has neither"
            )
        if self.output == "approximate" and self.p_uniform is None:
            raise ValueError("output='approximate' is of hybrid noise; p_uniform is None")
        if (self.level == "t") != (self.p_uniform is not None):
            raise ValueError(
                f"level={self.level!r} and p_uniform={self.p_uniform!r}: under hybrid noise, and "
                "only there, the level is 't'"
            )

    @property
    def noise(self) -> str:
        """``uniform``, or ``hybrid``: masks and uniform noise."""
        return "uniform" if self.p_uniform is None else "hybrid"

    @property
    def needs_conversion(self) -> bool:
        """Whether logits are not yet those of the leave-one-out law."""
        # Under hybrid noise no clean token is the mask, of which the logits may know nothing.
        return self.output != "leave-one-out" or self.noise == "hybrid"

    def stored(self) -> dict[str, Any]:
        """The facts that differ from the defaults, for a model's configuration."""
        standard = asdict(Facts())
        return {name: value for name, value in asdict(self).items() if value != standard[name]}


def facts_of(denoiser: object) -> Facts:
    """The facts that a denoiser carries; the defaults for one that carries none.

    The exact solutions in :mod:`uddm_lib.oracles` are such, but for ``OrdinaryPosterior``.
    """
    facts = getattr(denoiser, "facts", None)
    return facts if isinstance(facts, Facts) else Facts()
