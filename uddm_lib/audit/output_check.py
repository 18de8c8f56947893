"""Is a model's output what its facts say? It is measured: a leave-one-out law ignores one token."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from uddm_lib._conversion import converted
from uddm_lib.audit.generated import T_REGIME
from uddm_lib.denoiser import Denoiser
from uddm_lib.facts import facts_of
from uddm_lib.noise import noise_of

__all__ = ["OutputCheck", "check_output"]

SEQUENCES = 64  # the model is asked twice about each
# Fixed on five of the calibration's sources. A model that is sure of every token moves less,
# whatever its output: its leave-one-out law and its law given all tokens are then the same.
LEAST = 0.03


@dataclass(frozen=True)
class OutputCheck:
    """How far a prediction moves with the noisy token at its own position.

    Attributes:
        stated: what the model's facts call its output.
        moved: for every output that it may be, how far the leave-one-out law that is made of it
            moves: the mean total variation, in [0, 1]. It is 0 for what the output is.
    """

    stated: str
    moved: dict[str, float]

    @property
    def contradicts(self) -> bool:
        """Whether the law moves, and more than that of another output."""
        return self.moved[self.stated] > max(LEAST, min(self.moved.values()))

    @property
    def reason(self) -> str:
        """A sentence for the reasons of an audit."""
        measured = ", ".join(f"{moved:.2f} as {output}" for output, moved in self.moved.items())
        found = f"how far a prediction moves with its own noisy token: {measured}"
        if self.contradicts:
            likely = min(self.moved, key=self.moved.__getitem__)
            return (
                f"the facts say output={self.stated!r}, yet the model's output looks like "
                f"{likely!r} ({found}): find out how it was trained (the NELBO gives "
                "'leave-one-out', cross-entropy 'denoiser'), correct its facts and ask again"
            )
        if max(self.moved.values()) <= LEAST:
            return f"the model is too sure to check its output={self.stated!r}; {found}"
        return f"its output is {self.stated!r}, as its facts say; {found}"


@torch.inference_mode()
def check_output(
    denoiser: Denoiser,
    sequences: Iterable[tuple[Int[Tensor, "_"], Bool[Tensor, "_"]]],
    seed: int = 1,
) -> OutputCheck:
    """Change a noisy token, and see whether the prediction at its position moves.

    Each sequence is corrupted as for the audit of a regime, and one of its positions is drawn.

    Args:
        denoiser: any but one that was trained with masks alone.
        sequences: tokens, and which positions may be drawn. Those with none are left out, and of
            the others all but the first 64.
        seed: of the corruptions, positions and other tokens.

    Raises:
        ValueError: if no position may be drawn.
    """
    facts, noise = facts_of(denoiser), noise_of(denoiser)
    approximate = ["approximate"] if facts.noise == "hybrid" else []
    readings = [
        replace(facts, output=output) for output in ("leave-one-out", "denoiser", *approximate)
    ]
    generator = torch.Generator().manual_seed(seed)
    t = noise.like_uniform(T_REGIME)
    level, device = noise.level(t), getattr(denoiser, "device", "cpu")
    moved = []
    for x, scored in islice((pair for pair in sequences if pair[1].any()), SEQUENCES):
        z_t = noise.corrupt(x.cpu()[None], t, generator).repeat(2, 1)
        own = torch.multinomial(scored.cpu().double(), 1, generator=generator)
        z_t[1, own] += torch.randint(1, denoiser.vocab_size, (1,), generator=generator)
        z_t[1, own] %= denoiser.vocab_size
        logits = denoiser.denoise(z_t.to(device), level.to(device))[:, own].cpu()
        laws = [converted(logits, reading, z_t[:, own], level).exp() for reading in readings]
        moved.append([(law[0] - law[1]).abs().sum().item() / 2 for law in laws])
    if not moved:
        raise ValueError("no token may be drawn: every one is special")
    means = torch.tensor(moved, dtype=torch.float64).mean(0).tolist()
    return OutputCheck(facts.output, {r.output: mean for r, mean in zip(readings, means)})
