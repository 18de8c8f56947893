"""Corpora of text: documents are read from files, packed into blocks, and kept in a cache."""

import contextlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from uddm_lib._checks import integer
from uddm_lib.data._paths import cache_folder, candidates, find
from uddm_lib.data.blocks import check_blocks
from uddm_lib.data.corpus import Corpus, CorpusRequest
from uddm_lib.data.documents import Documents, files_of
from uddm_lib.data.packing import SPECIAL_TOKENS, PackedText, PackingJob
from uddm_lib.data.tokenizers import given_tokenizer, vocabulary_size, wrap_tokenizer

__all__ = ["corpus_of_documents", "inner_positions", "load"]

LENGTH, VOCAB_SIZE = 64, 96  # defaults
LARGEST_VOCABULARY = 512  # that a text of many characters has by default
SMALL_ALPHABET = 32  # characters, without a space: sequences of proteins or DNA
CHARACTERS = 500  # of a text for each token of a block; a shorter text has shorter blocks
IN_MEMORY = 2**26  # tokens; more training blocks stay in their file


def load(request: CorpusRequest) -> Corpus:
    """The corpus ``text:<path>``: a file, or a folder of files."""
    path, option = _path_and_option(request)
    files = files_of(path)
    documents = Documents.of_files(files, option)
    survey = documents.survey
    if not survey.documents:
        raise ValueError(f"corpus {request.name!r}: {path} is empty (blank lines do not count)")
    if request.length is None:
        request = replace(request, length=_default_length(survey.characters))
    if request.vocab_size is None and request.tokenizer is None:
        request = replace(request, vocab_size=_default_vocab_size(survey.alphabet))
    return corpus_of_documents(request, documents)


def _path_and_option(request: CorpusRequest) -> tuple[Path, str]:
    """What exists under the given path, and what follows its last ``#``."""
    if not request.source:
        raise ValueError(
            f"corpus {request.name!r} lacks its path: give text:<path>, a file or folder"
        )
    if path := find(request.source):
        return path, ""
    source, mark, option = request.source.rpartition("#")
    if mark and (path := find(source)):
        return path, option
    places = " or ".join(map(str, candidates(source if mark else request.source)))
    raise FileNotFoundError(f"corpus {request.name!r}: there is no file or folder {places}")


def _default_length(characters: int) -> int:
    length = LENGTH
    while length > 8 and characters < CHARACTERS * length:
        length //= 2
    return length


def _default_vocab_size(alphabet: frozenset[str]) -> int:
    least = len(SPECIAL_TOKENS) + len(set("".join(alphabet).encode()))
    if least <= len(SPECIAL_TOKENS) + SMALL_ALPHABET and not "".join(alphabet).count(" "):
        return least
    wide = sum(not character.isascii() for character in alphabet)
    return min(LARGEST_VOCABULARY, max(VOCAB_SIZE, least + wide))


def corpus_of_documents(
    request: CorpusRequest,
    documents: Sequence[str] | Documents,
    groups: Sequence[int] | None = None,
) -> Corpus:
    """Pack documents, or take the blocks from the cache where the same were packed before.

    Args:
        request: what the caller asks for.
        documents: texts, in order.
        groups: a label for each document; documents of one label are held out together. By
            default each document is a group of its own.
    """
    if not isinstance(documents, Documents):
        documents = Documents.of_texts(documents)
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
    job = replace(job, progress=request.progress)
    packed = job.pack() if request.cache is False else _pack_once(job, cache_folder(request.cache))
    if tokenizer is None:
        tokenizer = wrap_tokenizer(packed.tokenizer, **SPECIAL_TOKENS)
    train = packed.train
    return Corpus(
        request.name,
        train.long() if train.numel() <= IN_MEMORY else train,
        packed.test.long(),
        tokenizer,
        inner_positions(length),
        packed.duplicates,
    )


def inner_positions(length: int) -> Bool[Tensor, "L"]:
    """True for the positions of a packed block between BOS and EOS."""
    inner = torch.ones(length, dtype=torch.bool)
    inner[[0, -1]] = False
    return inner


def _pack_once(job: PackingJob, folder: Path) -> PackedText:
    """What ``job`` gives, from its file in ``folder`` where there is a good one."""
    file = folder / job.file_name
    packed = _read_cache(file, job.length)
    if packed is None:
        # A temporary file belongs beside the cache: the system's folder may lie in memory.
        near = (place for place in (folder, *folder.parents) if place.is_dir())
        packed = job.pack(next((place for place in near if os.access(place, os.W_OK)), None))
        _write_cache(file, packed)
    return packed


def _read_cache(file: Path, length: int) -> PackedText | None:
    """What :func:`_write_cache` wrote, or None where there is nothing or something else."""
    from tokenizers import Tokenizer

    try:
        with safe_open(file, framework="pt") as opened:
            train, test = (opened.get_tensor(part) for part in ("train", "test"))
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
    tensors = {"train": packed.train, "test": packed.test}
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    # A disk that is full or read-only costs the next process time, nothing else.
    with contextlib.suppress(OSError, SafetensorError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, temporary, metadata)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
