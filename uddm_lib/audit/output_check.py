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
SURE = 2.0  # standard errors of the difference between two outputs


@dataclass(frozen=True)
class OutputCheck:
    """How far a prediction moves with the noisy token at its own position.

    Attributes:
        stated: what the model's facts call its output.
        moved: for every output that it may be, how far the leave-one-out law that is made of it
            moves: the mean total variation, in [0, 1]. It is 0 for what the output is.
        contradicts: whether it moves more for ``stated`` than for another, beyond doubt.
    """

    stated: str
    moved: dict[str, float]
    contradicts: bool

    @property
    def reason(self) -> str:
        """A sentence for the reasons of an audit."""
        found = "a prediction moves with its own noisy token by " + ", ".join(
            f"{moved:.2f} if it is read as {output}" for output, moved in self.moved.items()
        )
        if not self.contradicts:
            return f"what was measured does not contradict output={self.stated!r}: {found}"
        return (
            f"output={self.stated!r} is contradicted: {found}. The NELBO trains a leave-one-out "
            "output, cross-entropy a denoiser: correct the fact in config.json (of our format, "
            "which uddm convert writes) and ask again"
        )


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
        sequences: tokens, and which positions may be drawn. Those with none are left out; of
            the others the first 64 are taken, and at least 2 are needed.
        seed: of the corruptions, positions and other tokens.

    Raises:
        ValueError: if fewer than 2 sequences have such positions.
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
    if len(moved) < 2:
        raise ValueError(f"sequences with tokens that count: {len(moved)}; 2 or more are needed")
    each = torch.tensor(moved, dtype=torch.float64)
    names, means = [reading.output for reading in readings], each.mean(0)
    excess = each[:, names.index(facts.output), None] - each
    doubt = SURE * excess.std(0) / len(each) ** 0.5
    contradicts = means[names.index(facts.output)] > LEAST and (excess.mean(0) > doubt).any()
    return OutputCheck(facts.output, dict(zip(names, means.tolist())), bool(contradicts))
