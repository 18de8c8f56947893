"""From what a denoiser predicts to the leave-one-out conditional, by its facts."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib.facts import Facts
from uddm_lib.noise import hybrid_noise
from uddm_lib.oracles import inverse_temperature
from uddm_lib.schedule import Level, LogLinearSchedule

__all__ = ["check_time", "converted", "is_too_small"]


def converted(
    logits: Float[Tensor, "B L V"], facts: Facts, z_t: Int[Tensor, "B L"], level: Level
) -> Float[Tensor, "B L V"]:
    """Leave-one-out log-probabilities, float64; see :func:`uddm_lib.denoiser.leave_one_out`."""
    logits = logits.double()
    if facts.mask_id is not None:
        masked = torch.tensor([facts.mask_id], device=logits.device)
        logits = logits.index_fill(-1, masked, -math.inf)
    if facts.output != "leave-one-out":
        own = z_t.long()[..., None]
        excess = _excess(facts, logits.shape[-1], z_t, level)
        logits = logits.scatter(-1, own, logits.gather(-1, own) - excess[..., None])
    return logits.log_softmax(-1)


def _excess(
    facts: Facts, vocab_size: int, z_t: Int[Tensor, "B L"], level: Level
) -> Float[Tensor, "B L"]:
    """By how much the logit of the noisy token exceeds that of the leave-one-out law."""
    if (noise := hybrid_noise(facts, vocab_size)) is not None:
        if facts.output == "approximate":
            return noise.dynamic_excess(z_t, level)
        return noise.token_log_odds(z_t, level)
    excess = inverse_temperature(level, vocab_size).to(z_t.device)
    return excess.reshape(-1, 1).expand(z_t.shape)


def is_too_small(facts: Facts, sigma: Level) -> bool:
    """Whether a noise level is below a trained denoiser's least."""
    if facts.output != "denoiser" or not facts.least_t:
        return False
    least = LogLinearSchedule().sigma(facts.least_t).item()
    return bool((torch.as_tensor(sigma, dtype=torch.float64) < least * (1 - 1e-9)).any())


def check_time(facts: Facts, vocab_size: int, sigma: Level) -> None:
    """Refuse to convert a denoiser's output where that is ill-conditioned.

    Raises:
        ValueError: if the level is below a trained denoiser's ``least_t``, or the conversion takes
            off more than half of a softcap; with the least time that is allowed.
    """
    if facts.output != "denoiser" or facts.noise != "uniform":
        return
    least, most = facts.least_t, inverse_temperature(sigma, vocab_size).max().item()
    if facts.softcap is not None and most > facts.softcap / 2:
        odds = math.expm1(facts.softcap / 2) / vocab_size  # alpha / (1 - alpha) at the limit
        share = 1 / (1 + odds) / (1 - LogLinearSchedule().eps)
        least = max(least, math.ceil(1e6 * share) / 1e6)
    elif not is_too_small(facts, sigma):
        return
    under = "" if facts.softcap is None else f" under a softcap of {facts.softcap:g}"
    raise ValueError(
        f"sigma={torch.as_tensor(sigma).min():.2g} is too small for this denoiser: its law given "
        f"all noisy tokens is {most:.1f} nats from the leave-one-out law, too far for what was "
        f"trained{under}; use t of at least {least:.6g}"
    )
