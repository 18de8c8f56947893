"""Corpora of text: documents are read from files, packed into blocks, and kept in a cache."""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from uddm_lib._checks import integer
from uddm_lib.data._paths import cache_folder, candidates, find
from uddm_lib.data.blocks import check_blocks
from uddm_lib.data.corpus import Corpus, CorpusRequest
from uddm_lib.data.packing import SPECIAL_TOKENS, PackedText, PackingJob
from uddm_lib.data.tokenizers import given_tokenizer, vocabulary_size, wrap_tokenizer
from uddm_lib.results import atomic_write

__all__ = ["corpus_of_documents", "inner_positions", "load"]

LENGTH, VOCAB_SIZE = 64, 96  # defaults


def load(request: CorpusRequest) -> Corpus:
    """The corpus ``text:<path>``: a UTF-8 file, or a folder of them; a document is a line."""
    if not request.source:
        raise ValueError(
            f"corpus {request.name!r} lacks its path: give text:<path>, a UTF-8 file or folder"
        )
    path = find(request.source)
    if path is None:
        places = " or ".join(map(str, candidates(request.source)))
        raise FileNotFoundError(f"corpus {request.name!r}: there is no file or folder {places}")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.txt") if file.is_file())
    lines = [line.strip() for file in files for line in re.split(r"\r\n|\r|\n", _read(file))]
    documents = [line for line in lines if line]
    if not documents:
        reason = "is empty (blank lines do not count)" if files else "holds no *.txt file"
        raise ValueError(f"corpus {request.name!r}: {path} {reason}")
    return corpus_of_documents(request, documents)


def corpus_of_documents(
    request: CorpusRequest, documents: Sequence[str], groups: Sequence[int] | None = None
) -> Corpus:
    """Pack documents, or take the blocks from the cache where the same were packed before.

    Args:
        request: what the caller asks for.
        documents: texts, in order.
        groups: a label for each document; documents of one label are held out together. By
            default each document is a group of its own.
    """
    length = integer("length", LENGTH if request.length is None else request.length, 3)
    if request.tokenizer is None:
        tokenizer = None
        vocab_size = VOCAB_SIZE if request.vocab_size is None else request.vocab_size
        job = PackingJob(request.name, documents, length, vocab_size, request.seed, groups=groups)
    else:
        tokenizer = given_tokenizer(request.tokenizer, request.vocab_size)
        job = PackingJob(
            request.name,
            documents,
            length,
            vocabulary_size(tokenizer),
            request.seed,
            tokenizer.backend_tokenizer,
            (tokenizer.bos_token_id, tokenizer.eos_token_id),
            groups,
        )
    packed = job.pack() if request.cache is False else _pack_once(job, cache_folder(request.cache))
    if tokenizer is None:
        tokenizer = wrap_tokenizer(packed.tokenizer, **SPECIAL_TOKENS)
    return Corpus(
        request.name,
        packed.train,
        packed.test,
        tokenizer,
        inner_positions(length),
        packed.duplicates,
    )


def inner_positions(length: int) -> Bool[Tensor, "L"]:
    """True for the positions of a packed block between BOS and EOS."""
    inner = torch.ones(length, dtype=torch.bool)
    inner[[0, -1]] = False
    return inner


def _read(file: Path) -> str:
    """Text of a UTF-8 file, without a byte-order mark; an error names the first bad byte."""
    raw = file.read_bytes()
    zero = raw.find(b"\0")
    if zero >= 0:
        raise ValueError(
            f"{file} is binary: byte {zero} (from 0) is zero; a corpus must be UTF-8 text"
        )
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 text: byte {error.start} (from 0) is "
            f"0x{raw[error.start]:02x}, {error.reason}; convert the file to UTF-8"
        ) from None


def _pack_once(job: PackingJob, folder: Path) -> PackedText:
    """What ``job`` gives, from its file in ``folder`` where there is a good one."""
    file = folder / job.file_name
    packed = _read_cache(file, job.length)
    if packed is None:
        packed = job.pack()
        _write_cache(file, packed)
    return packed


def _read_cache(file: Path, length: int) -> PackedText | None:
    """What :func:`_write_cache` wrote, or None where there is nothing or something else."""
    from tokenizers import Tokenizer

    try:
        with safe_open(file, framework="pt") as opened:
            train, test = (opened.get_tensor(part).long() for part in ("train", "test"))
            metadata = opened.metadata()
        tokenizer = Tokenizer.from_str(metadata["tokenizer"])
        for part in (train, test):
            check_blocks(part, vocabulary_size(tokenizer))
            if part.shape[1] != length or not len(part):
                return None
        return PackedText(train, test, tokenizer, json.loads(metadata["duplicates"]))
    except Exception:  # damage shows in any way, and tokenizers raises bare exceptions
        return None


def _write_cache(file: Path, packed: PackedText) -> None:
    """Blocks and tokenizer in one file, so that one rename makes both appear."""
    metadata = {
        "tokenizer": packed.tokenizer.to_str(),
        "duplicates": json.dumps(packed.duplicates),
    }
    tensors = {"train": packed.train.int(), "test": packed.test.int()}
    # A disk that is full or read-only costs the next process time, nothing else.
    with contextlib.suppress(OSError):
        atomic_write(file, serialize(tensors, metadata))
