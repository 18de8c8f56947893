"""Sentences as blocks in memory-mapped ``.npy`` files, for more text than memory holds."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from jaxtyping import Int, UInt64
from tokenizers import Tokenizer

from uddm_lib.data.blocks import cut, is_new, row_digests
from uddm_lib.data.lm1b.detokenize import detokenize
from uddm_lib.environment import available_cores

__all__ = ["drop_repeats", "pack", "tokenize", "worker_count"]

ROWS_AT_ONCE = 65_536  # blocks that are copied at once
SENTENCES_PER_PROCESS = 10_000  # fewer are not worth starting a process


def tokenize(
    sentences: Dataset,
    file: Path,
    tokenizer: Tokenizer,
    dtype: np.dtype[Any],
    eos: int,
    processes: int | None,
) -> pa.ChunkedArray:
    """Token ids of each sentence and EOS, in a column of lists that is memory-mapped to ``file``.

    Blank sentences give empty lists. For ``processes`` see :func:`worker_count`.
    """
    count = len(sentences)
    rows = sentences.with_format("arrow").map(
        _encode,
        batched=True,
        remove_columns="text",
        num_proc=worker_count(processes, count, count // SENTENCES_PER_PROCESS),
        fn_kwargs={"tokenizer": tokenizer, "eos": eos, "dtype": dtype},
        # With no fingerprint given, map would pickle the tokenizer to hash it; the file's name is
        # enough.
        new_fingerprint=file.stem,
        cache_file_name=str(file),
    )
    return rows.data.column("ids")


def pack(
    ids: pa.ChunkedArray, path: Path, length: int, bos: int, eos: int, dtype: np.dtype[Any]
) -> None:
    """Cut a stream of tokens into pieces of L - 2, and write blocks BOS + piece + EOS.

    An incomplete piece at the end is dropped.

    Args:
        ids: the stream, in lists of token ids of type ``dtype``.
        path: of the ``.npy`` file, for an array (B, L) of type ``dtype``.
        length: tokens in a block, L, at least 3.
        bos, eos: token ids of BOS and EOS.
        dtype: an integer type.
    """
    count = (pc.sum(pc.list_value_length(ids)).as_py() or 0) // (length - 2)
    blocks = _create(path, count, length, dtype)
    rest, row = np.empty(0, dtype), 0
    for chunk in ids.chunks:
        stream = np.concatenate([rest, chunk.flatten().to_numpy()])
        new, rest = cut(stream, length, bos, eos)
        blocks[row : row + len(new)] = new
        row += len(new)
    blocks.flush()


def drop_repeats(
    path: Path, seen: UInt64[np.ndarray, "_"]
) -> tuple[int, UInt64[np.ndarray, "B"], int]:
    """Drop from a file of blocks those that repeat, and those with a digest in ``seen``.

    Digests have 64 bits. The chance that any two different blocks of LM1B's 7 million have the
    same digest is 1 in 700,000; the later of the two would be dropped.

    Args:
        path: of a ``.npy`` file, (B, L).
        seen: digests.

    Returns:
        How many blocks are left, the digests of all B, and how many blocks were dropped.
    """
    blocks = np.load(path, mmap_mode="r")
    digests = row_digests(np.asarray(blocks))
    index = np.flatnonzero(is_new(digests, seen))
    if len(index) < len(blocks):
        shorter = path.with_suffix(".shorter")
        left = _create(shorter, len(index), blocks.shape[1], blocks.dtype)
        for start in range(0, len(index), ROWS_AT_ONCE):
            rows_kept = index[start : start + ROWS_AT_ONCE]
            left[start : start + ROWS_AT_ONCE] = blocks[rows_kept]
        left.flush()
        os.replace(shorter, path)
    return len(index), digests, len(blocks) - len(index)


def worker_count(processes: int | None, most: int, worth: int) -> int | None:
    """How many processes to start, as ``num_proc`` of ``datasets``: None for this process alone.

    Args:
        processes: that the caller asks for; None for one a core, but no more than ``worth``.
        most: pieces of work that there are.
        worth: processes that are worth their start.
    """
    if processes is None:
        processes = min(available_cores(), worth)
    count = min(processes, most)
    return count if count > 1 else None


def _encode(batch: pa.Table, tokenizer: Tokenizer, eos: int, dtype: np.dtype[Any]) -> pa.Table:
    # "[SEP]" in a sentence is text. Set here, since pickling forgets it.
    tokenizer.encode_special_tokens = True
    texts = [detokenize(text) for text in batch["text"].to_pylist()]
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    rows = [[*text.ids, eos] if text.ids else [] for text in encoded]
    return pa.table({"ids": pa.array(rows, pa.list_(pa.from_numpy_dtype(dtype)))})


def _create(path: Path, rows: int, length: int, dtype: np.dtype[Any]) -> Int[np.memmap, "rows L"]:
    return np.lib.format.open_memmap(path, "w+", dtype, (rows, length))
