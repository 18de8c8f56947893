"""What a model's own sequences show: how sure it is of their tokens, and how often it repeats."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.audit.birthday import Birthday, birthday_estimate, groups_of_twins
from uddm_lib.denoiser import ENTRIES, Denoiser, leave_one_out
from uddm_lib.facts import facts_of
from uddm_lib.noise import check_readable, noise_of
from uddm_lib.probes import token_nelbo
from uddm_lib.sampling import generate

__all__ = [
    "SETTINGS",
    "SURE",
    "T_REGIME",
    "Generated",
    "Measures",
    "first",
    "generated_by",
    "measures_of",
    "read",
]

# Every kind of output can be read here: a trained denoiser from t = 0.05 on, one with a softcap of
# 30 from 0.075 on. A tenth of the tokens are noise, and a memorizer is sure all the same.
T_REGIME = 0.1
SURE = 0.1  # nats below which a model is sure of a token
MOST = 50.0  # nats of a token that an exact model excludes
DRAWS = 8  # corruptions of a sequence for its NELBO
# Reverse steps for a number of sequences: what is calibrated, the best first. The last is for large
# models on small machines.
SETTINGS = {512: 50, 256: 50, 128: 50, 64: 20}


@dataclass(frozen=True)
class Generated:
    """Sequences of a model and what it says of each token.

    Attributes:
        tokens: the sequences.
        scored: which tokens count: all but special ones.
        entropies: leave-one-out conditional entropy of every token at t = 0.1, in nats.
        losses: minus the leave-one-out log-probability of every token, from the same predictions.
        nelbo: negative evidence lower bound of every sequence, nats per scored token.
    """

    tokens: Int[Tensor, "N L"]
    scored: Bool[Tensor, "N L"]
    entropies: Float[Tensor, "N L"]
    losses: Float[Tensor, "N L"]
    nelbo: Float[Tensor, " N"]


@dataclass(frozen=True)
class Measures:
    """What tells the regime.

    Attributes:
        entropy: mean conditional entropy of a token, in nats.
        loss: mean of minus the log-probability of a token, in nats.
        nelbo: nats per token.
        low: share of the tokens whose entropy is below 0.1 nats.
        sure: share of the sequences whose mean entropy is below 0.1 nats. In the transition there
            are both kinds.
        ratio: ``entropy`` over ``nelbo``, in [0, 1]. The NELBO counts what a sequence tells; the
            entropy what its tokens tell that the others do not. A memorizer's sequences are like
            code words: they differ, but each token follows from the rest.
        overconfidence: ``loss`` minus ``entropy``, over ``nelbo``, in [0, 1]. A model that knows
            its source is as often wrong as it says. One that memorizes is surer than it is
            right, on all but its stored sequences.
        twins: share of the sequences with a twin, which agrees in 90 % of the tokens.
        birthday: the number of sequences that they seem to come from.
    """

    entropy: float
    loss: float
    nelbo: float
    low: float
    sure: float
    ratio: float
    overconfidence: float
    twins: float
    birthday: Birthday


def generated_by(
    denoiser: Denoiser,
    n: int,
    length: int,
    steps: int = 50,
    special: tuple[int, ...] = (),
    seed: int = 1,
    show_progress: bool = False,
    precision: str = "fp32",
) -> Generated:
    """Generate sequences and take the entropy and the NELBO of each.

    Args:
        denoiser: any but one that was trained with masks alone.
        n: sequences.
        length: tokens a sequence, L.
        steps: of the reverse process.
        special: tokens that do not count, such as BOS, EOS and padding.
        seed: of all that is random.
        show_progress: show a progress bar of the generation.
        precision: of the generation, see :func:`~uddm_lib.sampling.trajectory`; the sequences are
            read in float32.

    Raises:
        ValueError: if a number is not positive, or the denoiser's output cannot be read at t = 0.1.
    """
    check_readable(denoiser)
    steps = _checks.positive_integer("steps", steps)
    device = getattr(denoiser, "device", "cpu")
    generator = torch.Generator(device).manual_seed(seed)
    tokens = generate(
        denoiser,
        n,
        length,
        steps,
        generator,
        device=device,
        show_progress=show_progress,
        precision=precision,
    )
    return read(denoiser, tokens, special, seed)


def read(
    denoiser: Denoiser, tokens: Int[Tensor, "N L"], special: tuple[int, ...] = (), seed: int = 1
) -> Generated:
    """Entropy and NELBO of sequences; for the arguments see :func:`generated_by`."""
    check_readable(denoiser)
    scored = ~torch.isin(tokens, torch.tensor(special, dtype=tokens.dtype, device=tokens.device))
    generator = torch.Generator(tokens.device).manual_seed(seed)
    noise = noise_of(denoiser)
    t = noise.like_uniform(T_REGIME)
    level = noise.level(t).to(tokens.device)
    entropies, losses = [], []
    for part in tokens.split(max(1, ENTRIES // (tokens.shape[1] * denoiser.vocab_size))):
        z_t = noise.corrupt(part, t, generator)
        log_p = leave_one_out(denoiser, z_t, level)
        entropies.append(torch.special.entr(log_p.exp()).sum(-1))
        losses.append(-log_p.gather(-1, part[..., None])[..., 0].clamp(min=-MOST))
    least = max(facts_of(denoiser).least_t, noise.like_uniform(0.05))
    size = max(1, 2**14 // tokens.shape[1])
    bound = token_nelbo(denoiser, tokens, DRAWS, seed, size, least).double().clamp(max=MOST)
    counts = scored.sum(1).clamp(min=1)
    return Generated(
        tokens, scored, torch.cat(entropies), torch.cat(losses), (bound * scored).sum(1) / counts
    )


def first(generated: Generated, n: int) -> Generated:
    """The first n sequences."""
    return Generated(*(part[:n] for part in vars(generated).values()))


def measures_of(generated: Generated) -> Measures:
    """The measures of sequences.

    Sequences of special tokens alone are left out.

    Raises:
        ValueError: if no token counts, or a prediction is not finite.
    """
    counted = generated.scored.any(1)
    if not counted.any():
        raise ValueError("every generated token is a special one: nothing can be measured")
    scored, entropies = generated.scored[counted], generated.entropies[counted]
    losses = generated.losses[counted]
    if not (entropies.isfinite() & losses.isfinite()).all():
        raise ValueError("the model's predictions are not finite: nothing can be measured")
    means = (entropies * scored).sum(1) / scored.sum(1)
    label = groups_of_twins(generated.tokens[counted], scored)
    entropy, loss = entropies[scored].mean().item(), losses[scored].mean().item()
    nelbo = generated.nelbo[counted].mean().item()
    return Measures(
        entropy=entropy,
        loss=loss,
        nelbo=nelbo,
        low=(entropies[scored] < SURE).double().mean().item(),
        sure=(means < SURE).double().mean().item(),
        ratio=_share(entropy, nelbo),
        overconfidence=_share(loss - entropy, nelbo),
        twins=float((np.bincount(label)[label] > 1).mean()),
        birthday=birthday_estimate(label),
    )


def _share(part: float, whole: float) -> float:
    return min(max(part / max(whole, 1e-6), 0.0), 1.0)
