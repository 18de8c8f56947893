"""Blocks of LM1B: packed once, then memory-mapped.

Sentences are detokenized, tokenized by several processes, and packed as in the paper. An
end-of-sequence token follows each sentence. The stream of tokens is cut into pieces of L - 2, each
wrapped as BOS + piece + EOS; an incomplete piece at the very end is dropped. The stream is cut as
a whole, so the blocks do not depend on the number of processes.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from filelock import FileLock
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor

from uddm_lib.data._paths import cache_folder
from uddm_lib.data.lm1b.copies import MIRROR, PARTS, REVISION, Copy, find_copy
from uddm_lib.data.lm1b.mapped_packing import drop_repeats, pack, tokenize
from uddm_lib.data.lm1b.sentences import read_sentences
from uddm_lib.data.packing import quiet
from uddm_lib.data.tokenizers import vocabulary_size

if TYPE_CHECKING:
    import transformers

__all__ = ["lm1b_blocks"]

VARIABLE = "UDDM_LM1B"  # environment variable that names a local copy
CACHE_FORMAT = 1  # to be raised when the same input gives other blocks


def lm1b_blocks(
    source: str | Path,
    tokenizer: "transformers.PreTrainedTokenizerFast",
    length: int,
    cache: str | Path | Literal[False] | None = None,
    processes: int | None = None,
) -> tuple[Int[Tensor, "N L"], Int[Tensor, "M L"], dict[str, int]]:
    """Blocks of LM1B, from the cache where the same were packed before.

    Args:
        source: path of a local copy: the original archive, its unpacked folder, or a folder of
            Parquet files with a column ``text``; looked for in this order. If empty, what the
            environment variable ``UDDM_LM1B`` names, else the mirror on the Hugging Face hub.
            The content of a local copy is read once; later its files' sizes and times are
            compared.
        tokenizer: from :func:`uddm_lib.data.load_tokenizer`.
        length: tokens in a block, L, at least 3.
        cache: as in :func:`uddm_lib.data.load_corpus`.
        processes: how many tokenize; by default one for each core, fewer for small parts.

    Returns:
        - train (N, L), memory-mapped, int16 where that holds all token ids, else int32.
        - test (M, L), int64, in memory, in the order of the text.
        - How many duplicates were dropped. ``train``: repeated blocks. ``test``: blocks that
          repeat or are in train. ``documents``: test sentences that are in train as well.

    Raises:
        FileNotFoundError: if the local copy does not exist.
        OSError: if the mirror is needed and can't be loaded, or the cache can't be written.
        ValueError: if the local copy is not one of LM1B, lacks sentences, or is too small.

    Warns:
        UserWarning: if the local copy is a part of LM1B.
    """
    path = source or os.environ.get(VARIABLE, "")
    copy = find_copy(path) if path else None
    with contextlib.ExitStack() as stack:
        # What is memory-mapped outlives its folder.
        root = Path(
            stack.enter_context(tempfile.TemporaryDirectory())
            if cache is False
            else cache_folder(cache)
        )
        content = copy.digests(root) if copy else [MIRROR, REVISION]
        job = _Job(copy, tokenizer, length, processes)
        folder = root / f"lm1b-{job.key(content)}"
        packed = _read(folder, length)
        if packed is None:
            root.mkdir(parents=True, exist_ok=True)
            # Of many processes that start at once, one packs.
            stack.enter_context(FileLock(f"{folder}.lock"))
            packed = _read(folder, length)
        if packed is None:
            _build(folder, job)
            packed = _read(folder, length)
    if packed is None:
        raise OSError(f"lm1b: {folder} can't be read back; is the disk full or damaged?")
    if packed.available:
        warnings.warn(f"lm1b: {copy} holds a part only: {packed.available}", stacklevel=2)
    return torch.from_numpy(packed.train), torch.from_numpy(packed.test).long(), packed.duplicates


@dataclass(frozen=True)
class _Job:
    """What to pack, and how; without a copy, the mirror's sentences."""

    copy: Copy | None
    tokenizer: "transformers.PreTrainedTokenizerFast"
    length: int
    processes: int | None

    @property
    def backend(self) -> Tokenizer:
        return self.tokenizer.backend_tokenizer

    @property
    def ends(self) -> tuple[int, int]:
        """Token ids of BOS and EOS."""
        return self.tokenizer.bos_token_id, self.tokenizer.eos_token_id

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest signed type that holds all token ids, of two or four bytes."""
        return np.dtype(np.int16 if vocabulary_size(self.tokenizer) <= 2**15 else np.int32)

    def key(self, content: list[Any]) -> str:
        """Hexadecimal digits that differ for every other input with the given content."""
        parts = [CACHE_FORMAT, self.length, self.backend.to_str(), self.ends, content]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class _Packed(NamedTuple):
    """Memory-mapped blocks, and what is known about them.

    ``available`` says how many sentences there were, if not all of LM1B, else it is empty.
    """

    train: Int[np.ndarray, "N L"]
    test: Int[np.ndarray, "M L"]
    duplicates: dict[str, int]
    available: str


def _read(folder: Path, length: int) -> _Packed | None:
    """What :func:`_build` packed, or None where there is nothing, or something damaged."""
    try:
        # Copy on write, since torch warns about arrays that can't be written.
        train, test = (np.load(folder / f"{part}.npy", mmap_mode="c") for part in PARTS)
        about = json.loads((folder / "about.json").read_text())
        if train.shape[1] == test.shape[1] == length:
            return _Packed(train, test, about["duplicates"], about["part"])
    except (OSError, ValueError):
        pass
    return None


def _build(folder: Path, job: _Job) -> None:
    """Pack into ``folder``, which appears at the end; a later call goes on after a kill."""
    work = folder.with_name(f"{folder.name}.building")
    try:
        with quiet(progress=sys.stderr.isatty()), warnings.catch_warnings():
            # Python 3.12 warns about a fork beside threads; these processes use nothing that the
            # threads may hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            _pack_parts(work, job)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        os.replace(work / "done", folder)
    except Exception:
        shutil.rmtree(work, ignore_errors=True)  # gigabytes that another copy would not use
        raise
    shutil.rmtree(work)


def _pack_parts(work: Path, job: _Job) -> None:
    """Write the blocks of both parts and ``about.json`` to ``work/done``."""
    done = work / "done"
    done.mkdir(parents=True, exist_ok=True)
    sentences, available = read_sentences(job.copy, work, job.processes)
    sentences["test"], known = _unseen(sentences["train"], sentences["test"])
    duplicates = {"documents": known}
    bos, eos = job.ends
    seen = np.empty(0, np.uint64)
    for part in PARTS:
        file = done / f"{part}.npy"
        ids = tokenize(
            sentences[part], work / f"{part}.arrow", job.backend, job.dtype, eos, job.processes
        )
        pack(ids, file, job.length, bos, eos, job.dtype)
        left, seen, duplicates[part] = drop_repeats(file, seen)
        if not left:
            raise ValueError(
                f"lm1b: the {part} part ({len(sentences[part]):,} sentences) fills no block of "
                f"length {job.length}"
            )
    about = {"duplicates": duplicates, "part": available}
    (done / "about.json").write_text(json.dumps(about))


def _unseen(train: Dataset, test: Dataset) -> tuple[Dataset, int]:
    """Test sentences that are not in ``train``, and how many are."""
    train_text, test_text = (part.data.column("text") for part in (train, test))
    shared = train_text.filter(pc.is_in(train_text, value_set=test_text.combine_chunks())).unique()
    known = pc.is_in(test_text, value_set=shared).to_numpy(zero_copy_only=False)
    count = int(known.sum())
    return (test.select(np.flatnonzero(~known)) if count else test), count
