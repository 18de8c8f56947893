"""Token blocks, whatever the corpus: check them, drop repeated ones, compute their digest."""

import hashlib

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["check_blocks", "digest", "distinct"]

ROWS_AT_ONCE = 65_536  # bounds the memory that memory-mapped blocks take


def check_blocks(blocks: Int[Tensor, "B L"], vocab_size: int) -> None:
    """Check that ``blocks`` is a (B, L) tensor of integers from 0 to V - 1.

    Raises:
        ValueError: if it is not; the message names the first token id outside, and its place.
    """
    if not isinstance(blocks, Tensor) or blocks.ndim != 2:
        actual = (
            f"shape {tuple(blocks.shape)}" if isinstance(blocks, Tensor) else type(blocks).__name__
        )
        raise ValueError(f"token blocks must be a tensor of shape (B, L); got {actual}")
    if blocks.dtype == torch.bool or blocks.is_floating_point() or blocks.is_complex():
        raise ValueError(f"token blocks must hold integers; got {blocks.dtype}")
    if not blocks.numel():
        return
    # As Python integers: vocab_size may be more than the blocks' type can hold, and would wrap.
    low, high = torch.stack(blocks.aminmax()).tolist()
    if low >= 0 and high < vocab_size:
        return
    for start in range(0, len(blocks), ROWS_AT_ONCE):
        rows = blocks[start : start + ROWS_AT_ONCE].long()
        outside = ((rows < 0) | (rows >= vocab_size)).nonzero().tolist()
        if outside:
            row, column = outside[0]
            raise ValueError(
                f"token id {rows[row, column].item()} (block {start + row}, position {column}) is "
                f"outside the vocabulary; allowed are 0 to {vocab_size - 1}"
            )


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


def distinct(
    train: Int[Tensor, "N L"], test: Int[Tensor, "M L"]
) -> tuple[Int[Tensor, "_ L"], Int[Tensor, "_ L"], dict[str, int]]:
    """Drop repeated blocks, and blocks of ``test`` that are in ``train``; the order stays.

    Returns:
        What is left of ``train`` and of ``test``, and how many blocks each of them lost.
    """
    _, group = torch.unique(torch.cat([train, test]), dim=0, return_inverse=True)
    index = torch.arange(len(group))
    first = torch.full_like(index, len(group)).scatter_reduce(0, group, index, "amin")
    kept_train, kept_test = (first[group] == index).split([len(train), len(test)])
    duplicates = {"train": int((~kept_train).sum()), "test": int((~kept_test).sum())}
    return train[kept_train], test[kept_test], duplicates
