"""Token blocks, whatever the corpus: their digest."""

import hashlib

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["digest"]

ROWS_AT_ONCE = 65_536


def digest(blocks: Int[Tensor, "N L"]) -> str:
    """SHA-256 of the token ids, which is the same for every signed integer type and device.

    Blocks with the same ids in the same order have the same digest. It is computed from the ids
    as little-endian 32-bit integers, row after row, a part of the rows at a time. Memory-mapped
    blocks are therefore never held in memory as a whole.

    Args:
        blocks: token ids below 2**31.

    Returns:
        64 hexadecimal digits.
    """
    sha256 = hashlib.sha256()
    for rows in blocks.split(ROWS_AT_ONCE):
        sha256.update(rows.to("cpu", torch.int32).contiguous().numpy().astype("<i4", copy=False))
    return sha256.hexdigest()
