"""Comparisons of tokens: recovery rates (paper eq. (12)) and the distance to stored sequences."""

import pandas as pd
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from uddm_lib import _checks

__all__ = ["novelty", "recovery_rates", "scored_positions"]


def recovery_rates(
    x: Shaped[Tensor, "B L"],
    z_t: Shaped[Tensor, "B L"],
    restored: Shaped[Tensor, "B L"],
    scored: Bool[Tensor, " L"] | None = None,
) -> pd.DataFrame:
    """Rates that compare original, corrupted and restored tokens, sequence by sequence.

    Anything that can be equal may stand for tokens, such as the spins of a binary memory.

    Returns:
        A table with a row a sequence: ``sequence``; ``corrupted``, the number of positions where
        z_t differs from x; ``recovered``, the share of them where the restored token is the
        original (NaN when there are none); ``unstable``, the share of untouched positions that the
        process changed (NaN when there are none); ``exact``, whether all positions are right. Only
        ``scored`` positions count.

    Raises:
        ValueError: if no position is scored.
    """
    scored = scored_positions(x, scored)
    changed, right = (z_t != x)[:, scored], (restored == x)[:, scored]
    corrupted, untouched = changed.sum(1).double(), (~changed).sum(1).double()
    return pd.DataFrame(
        {
            "sequence": range(len(x)),
            "corrupted": changed.sum(1).tolist(),
            "recovered": ((changed & right).sum(1) / corrupted).tolist(),
            "unstable": ((~changed & ~right).sum(1) / untouched).tolist(),
            "exact": right.all(1).int().tolist(),
        }
    )


def novelty(
    generated: Int[Tensor, "G L"],
    stored: Int[Tensor, "N L"],
    scored: Bool[Tensor, " L"] | None = None,
    chunk: int = 2**22,
) -> pd.DataFrame:
    """How far generated sequences are from the nearest stored one, by comparison with each of them.

    Args:
        generated: tokens; on their device the comparison runs.
        stored: training sequences, on any device: also a memory-mapped tensor of millions.
        scored: mask of the positions that count; all by default.
        chunk: stored tokens compared at once.

    Returns:
        A table with a row a generated sequence: ``overlap``, the largest share of equal tokens with
        a stored sequence, and ``copy``, whether that is all of them.

    Raises:
        ValueError: if no position is scored, or ``chunk`` is not a positive integer.
    """
    scored = scored_positions(generated, scored)
    generated, length = generated[:, scored], int(scored.sum())
    best = torch.zeros(len(generated), dtype=torch.int64, device=generated.device)
    for part in stored.split(max(_checks.positive_integer("chunk", chunk) // length, 1)):
        part = part.to(generated.device)[:, scored]
        nearest = torch.stack([(part == sequence).sum(1).max() for sequence in generated])
        best = torch.maximum(best, nearest)
    return pd.DataFrame({"overlap": (best / length).tolist(), "copy": (best == length).tolist()})


def scored_positions(
    x: Shaped[Tensor, "B L"], scored: Bool[Tensor, " L"] | None
) -> Bool[Tensor, " L"]:
    """The mask of the positions that count, on the device of x; by default all positions.

    Raises:
        ValueError: if the mask has another length than the sequences, or is empty.
    """
    if scored is None:
        return torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
    if scored.shape != x.shape[1:] or not scored.any():
        raise ValueError(
            f"scored has shape {tuple(scored.shape)} with {int(scored.sum())} positions; "
            f"sequences have {x.shape[1]}, of which at least one must count"
        )
    return scored.to(x.device)
