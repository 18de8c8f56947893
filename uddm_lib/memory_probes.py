"""Probes that take a denoiser for an associative memory (paper section 3.1).

Its most probable prediction is an update of all tokens at once, s <- sign(J s) of a binary memory.
Does that update reach a fixed point? And does a position see its own token, the diagonal of J?
"""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.denoiser import Denoiser, mode, total_variation
from uddm_lib.metrics import scored_positions
from uddm_lib.noise import noise_of
from uddm_lib.sampling import T_END

__all__ = ["dependence_on_tokens", "iterated_mode"]


def iterated_mode(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    t: float = T_END,
    limit: int = 50,
    one_by_one: bool = False,
) -> tuple[Int[Tensor, "B L"], pd.DataFrame]:
    """Iterate s <- argmax x_theta(s, t), until every sequence repeats a state.

    All tokens change at once, or one after the other. One after the other, the exact leave-one-out
    conditionals of a law never make a sequence less likely, so they end at a fixed point (iterated
    conditional modes, Besag 1986).

    Args:
        denoiser: predicts the clean tokens.
        z_t: tokens to start from.
        t: time in (0, 1] that the denoiser is told at every update.
        limit: updates after which the iteration ends in any case.
        one_by_one: an update goes through the positions from left to right; each token takes its
            most probable value before the next one is looked at.

    Returns:
        The last states, and a table with a row a sequence. ``updates`` is how many led to the first
        state that came back (``limit`` if none did). ``period`` is 1 at a fixed point, the length
        of a cycle, or 0 if no state came back.

    Raises:
        ValueError: if ``t`` or ``limit`` is out of range.
    """
    limit = _checks.positive_integer("limit", limit)
    level = noise_of(denoiser).level(t).to(z_t.device)
    states = [z_t]
    updates, period = torch.full_like(z_t[:, 0], limit), torch.zeros_like(z_t[:, 0])
    while len(states) <= limit and not period.all():
        state = states[-1].clone()
        for place in range(state.shape[1]) if one_by_one else [slice(None)]:
            state[:, place] = mode(denoiser, state, level)[:, place]
        states.append(state)
        for step, earlier in enumerate(states[:-1]):
            returned = (states[-1] == earlier).all(1) & (period == 0)
            updates[returned], period[returned] = step, len(states) - 1 - step
    return states[-1], pd.DataFrame({"updates": updates.tolist(), "period": period.tolist()})


def dependence_on_tokens(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    times: Sequence[float],
    scored: Bool[Tensor, " L"] | None = None,
    seed: int = 1,
) -> pd.DataFrame:
    """How far a prediction moves when one token changes: its own noisy token, or a neighbor.

    Every sequence is corrupted at t, and one of its scored positions drawn. There the prediction is
    made three times: as it is, with another token at that position, and with another token at the
    next one (at the last position: the one before). A distance is the total variation between two
    predictions, half the sum of absolute differences: 0 for equal ones, 1 for disjoint ones. The
    leave-one-out conditional, which the NELBO asks for, has ``own`` = 0.

    Args:
        denoiser: predicts the clean tokens.
        x: clean tokens, at least two a sequence.
        times: in (0, 1].
        scored: mask of the positions that are drawn; all by default.
        seed: the draws at a time depend on it and on the time's position alone.

    Returns:
        A table with a row per time and sequence: ``t, sequence, own, neighbor``.

    Raises:
        ValueError: if a time or a token is out of range, or sequences have one token.
    """
    if x.shape[1] < 2:
        raise ValueError(f"x has {x.shape[1]} token a sequence; allowed are 2 or more")
    noise, positions = noise_of(denoiser), scored_positions(x, scored).nonzero()[:, 0]
    levels, rows = (
        [noise.level(t).to(x.device) for t in times],
        torch.arange(len(x), device=x.device),
    )
    tables = []
    for i, (t, level) in enumerate(zip(times, levels)):
        generator = torch.Generator(x.device).manual_seed(seed * 1_000 + i)
        z_t = noise.corrupt(x, t, generator)
        drawn = torch.randint(len(positions), (len(x),), generator=generator, device=x.device)
        own = positions[drawn]
        neighbor = torch.where(own + 1 < x.shape[1], own + 1, own - 1)
        shift = torch.randint(
            1, denoiser.vocab_size, (len(x),), generator=generator, device=x.device
        )
        columns = {"t": t, "sequence": rows.tolist()}
        for name, changed in {"own": own, "neighbor": neighbor}.items():
            other = z_t.clone()
            other[rows, changed] = (other[rows, changed] + shift) % denoiser.vocab_size
            distance = total_variation(denoiser, z_t, other, level)
            columns[name] = distance[rows, own].tolist()
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)
