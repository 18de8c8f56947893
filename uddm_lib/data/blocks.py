"""Token blocks, whatever the corpus: check them, drop repeated ones, compute their digest."""

import hashlib

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt64
from torch import Tensor

__all__ = [
    "check_blocks",
    "cut",
    "digest",
    "distinct",
    "have_run_in",
    "is_new",
    "row_digests",
]

FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, with bits of no pattern
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

    Blocks are told apart by digests of 64 bits. What is left is moved forward in place, so that
    memory-mapped blocks are never held in memory as a whole.

    Returns:
        What is left of ``train`` and of ``test``, and how many blocks each of them lost.
    """
    seen = row_digests(train.numpy())
    kept_train, kept_test = is_new(seen), is_new(row_digests(test.numpy()), seen)
    duplicates = {"train": int((~kept_train).sum()), "test": int((~kept_test).sum())}
    return _moved_forward(train, kept_train), _moved_forward(test, kept_test), duplicates


def cut(
    stream: Int[np.ndarray, "T"], length: int, bos: int, eos: int
) -> tuple[Int[np.ndarray, "B length"], Int[np.ndarray, "R"]]:
    """Blocks BOS + piece + EOS of a stream of tokens, and the R < L - 2 tokens that are left."""
    inner = length - 2
    pieces, rest = np.split(stream, [len(stream) // inner * inner])
    ends = ((0, 0), (bos, eos))
    return np.pad(pieces.reshape(-1, inner), ((0, 0), (1, 1)), constant_values=ends), rest


def row_digests(blocks: Int[np.ndarray, "B L"]) -> UInt64[np.ndarray, "B"]:
    """A digest of 64 bits for each block; blocks of one type can be compared."""
    rows = (hashlib.blake2b(row, digest_size=8).digest() for row in blocks)
    return np.fromiter((int.from_bytes(row) for row in rows), np.uint64, len(blocks))


def is_new(
    digests: UInt64[np.ndarray, "B"], seen: UInt64[np.ndarray, "_"] | None = None
) -> Bool[np.ndarray, "B"]:
    """Which digests are the first of their kind, and not in ``seen``."""
    new = np.zeros(len(digests), bool)
    new[np.unique(digests, return_index=True)[1]] = True
    return new if seen is None else new & ~np.isin(digests, seen)


def have_run_in(train: Int[Tensor, "N L"], test: Int[Tensor, "M L"], run: int) -> Bool[Tensor, "M"]:
    """Which blocks of ``test`` have ``run`` tokens in a row that stand in ``train``.

    The blocks of ``train`` are taken as one stream of tokens, in order. Runs are told apart by
    digests of 64 bits.
    """
    wanted = _run_digests(test.numpy(), run)
    known = np.unique(wanted)
    found = np.zeros(len(known), bool)
    # Most runs are not wanted; a table of the digests' first bits says so at once.
    shift = np.uint64(64 - 20)
    table = np.zeros(2**20, bool)
    table[known >> shift] = True
    tail = train[:0].flatten().numpy()
    for rows in train.split(ROWS_AT_ONCE):
        stream = np.concatenate([tail, rows.flatten().numpy()])
        tail = stream[max(0, len(stream) - run + 1) :]
        digests = _run_digests(stream, run)
        digests = digests[table[digests >> shift]]
        place = np.searchsorted(known, digests).clip(max=len(known) - 1)
        found[place[known[place] == digests]] = True
    return torch.from_numpy(found[np.searchsorted(known, wanted)].any(-1))


def _run_digests(tokens: Int[np.ndarray, "*B L"], run: int) -> UInt64[np.ndarray, "*B _"]:
    """A digest of 64 bits for every ``run`` tokens in a row."""
    single = tokens.astype(np.uint64) + np.uint64(1)

    def sums(size: int) -> UInt64[np.ndarray, "*B _"]:
        """Polynomials in FACTOR, modulo 2**64; those of long runs from those of their halves."""
        if size == 1:
            return single
        half = size // 2
        parts = sums(half)
        both = parts[..., :-half] * np.uint64(pow(int(FACTOR), half, 2**64)) + parts[..., half:]
        return both if size % 2 == 0 else both[..., :-1] * FACTOR + single[..., size - 1 :]

    digests = sums(run)
    # The first bits of a product depend on all bits of what is multiplied.
    return (digests ^ (digests >> np.uint64(32))) * FACTOR


def _moved_forward(blocks: Int[Tensor, "N L"], kept: Bool[np.ndarray, "N"]) -> Int[Tensor, "_ L"]:
    index = np.flatnonzero(kept)
    if len(index) < len(blocks):
        for start in range(0, len(index), ROWS_AT_ONCE):
            rows = index[start : start + ROWS_AT_ONCE]
            blocks[start : start + len(rows)] = blocks[torch.from_numpy(rows)]
    return blocks[: len(index)]
