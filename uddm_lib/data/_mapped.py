"""Token blocks in memory-mapped ``.npy`` files: what :mod:`uddm_lib.data.packing` does, for more text than memory holds."""

import hashlib
import os

import numpy as np
import pyarrow.compute as pc

ROWS = 65_536  # blocks that are copied at once


def pack(ids, path, length, bos, eos, dtype):
    """Write a stream of tokens, cut into pieces of L - 2, as blocks BOS + piece + EOS; drop what is left at the end.

    Args:
        ids: the stream, as a ``pyarrow.ChunkedArray`` of lists of token ids, of type ``dtype``.
        path: of the ``.npy`` file, for an array (B, L) of type ``dtype``.
        length: tokens in a block, L, at least 3.
        bos, eos: token ids of BOS and EOS.
        dtype: a NumPy type of integers.
    """
    inner = length - 2
    blocks = _create(path, (pc.sum(pc.list_value_length(ids)).as_py() or 0) // inner, length, dtype)
    rest, row = np.empty(0, dtype), 0
    for chunk in ids.chunks:
        stream = np.concatenate([rest, chunk.flatten().to_numpy()])
        pieces, rest = np.split(stream, [len(stream) // inner * inner])
        pieces = pieces.reshape(-1, inner)
        blocks[row : row + len(pieces)] = np.pad(
            pieces, ((0, 0), (1, 1)), constant_values=((0, 0), (bos, eos))
        )
        row += len(pieces)
    blocks.flush()


def drop_repeats(path, seen):
    """Drop from a file of blocks those that repeat, and those with a digest in ``seen``.

    Digests have 64 bits. That any two different ones of LM1B's 7 million blocks share one has a chance of 1 in
    700,000; the later of the two would be dropped.

    Args:
        path: of a ``.npy`` file, (B, L).
        seen: digests, uint64.

    Returns:
        How many blocks are left, the digests of all, uint64 (B,), and how many blocks were dropped.
    """
    blocks = np.load(path, mmap_mode="r")
    rows = (hashlib.blake2b(row, digest_size=8).digest() for row in np.asarray(blocks))
    digests = np.fromiter((int.from_bytes(digest) for digest in rows), np.uint64, len(blocks))
    kept = np.zeros(len(blocks), bool)
    kept[np.unique(digests, return_index=True)[1]] = True  # the first of each
    kept &= ~np.isin(digests, seen)
    index = np.flatnonzero(kept)
    if len(index) < len(blocks):
        shorter = path.with_suffix(".shorter")
        left = _create(shorter, len(index), blocks.shape[1], blocks.dtype)
        for start in range(0, len(index), ROWS):
            left[start : start + ROWS] = blocks[index[start : start + ROWS]]
        left.flush()
        os.replace(shorter, path)
    return len(index), digests, len(blocks) - len(index)


def _create(path, rows, length, dtype):
    return np.lib.format.open_memmap(path, "w+", dtype, (rows, length))
