"""The One Billion Word Benchmark, LM1B (Chelba et al., 2013), as memory-mapped token blocks.

Its sentences come from a local copy or a Parquet mirror, and are detokenised, tokenised by several processes, and
packed as in the paper: an end-of-sequence token after each sentence, the stream cut into pieces of L - 2 tokens, each
wrapped as BOS + piece + EOS; what is left at the very end, shorter than a piece, is dropped. The stream is cut as a
whole, so the blocks do not depend on the number of processes, and all of it is in memory-mapped files.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from datasets import load_dataset
from datasets.exceptions import DatasetGenerationError
from filelock import FileLock
from huggingface_hub import HfApi, snapshot_download

from uddm_lib.data import packing
from uddm_lib.data._mapped import drop_repeats, pack
from uddm_lib.results import resolve

__all__ = ["detokenize", "lm1b_blocks"]

SENTENCES = {"train": 30_301_028, "test": 306_688}  # of all of LM1B
SHARDS = {
    "train": 99,
    "test": 50,
}  # files of the original archive; the test part is its held-out hundredth
ARCHIVE = {
    "train": "training-monolingual.tokenized.shuffled/news.en-*",
    "test": "heldout-monolingual.tokenized.shuffled/news.en.heldout-*",
}
# Hugging Face's own conversion of its script data set (the branch refs/convert/parquet) to Parquet.
MIRROR, REVISION = "billion-word-benchmark/lm1b", "8d52bfd3cc2819fc1166dbb8144c328e2690de3e"
VARIABLE = "UDDM_LM1B"
EXPECTED = (
    "the folder or the .tar.gz of the original archive (1-billion-word-language-modeling-benchmark-r13output, "
    "https://www.statmt.org/lm-benchmark), or a folder of the mirror's Parquet files (train/*.parquet, "
    "test/*.parquet)"
)
CACHE_FORMAT = 1  # to be raised when the same input gives other blocks

# The archive has a space on both sides of every mark. These go: before apostrophes; before a full stop, where a plain
# word precedes; before other closing marks, around slashes, after currency signs; inside of quotes and brackets.
_SPACING = [
    (re.compile(pattern), joined)
    for pattern, joined in [
        (r" (?='\w)", ""),
        (r"( \w+) (?=\.(?: |$))", r"\1"),
        (r" (?=[,:;] |[?!](?: |$)|/ )|(?<= /) |(?<=[$£]) ", ""),
        *(
            (rf"\{left} ([^\{left}\{right}]+) \{right}", rf"{left}\1{right}")
            for left, right in ('""', "''", "()", "[]")
        ),
    ]
]


def detokenize(sentence):
    """A sentence of the archive nearly as it was written: ``" It 's 5 , " he said .`` is ``"It's 5," he said.``

    The same spaces go as in the function that published diffusion models of LM1B share (first in the code of Lou et
    al., arXiv 2310.16834), but where marks, or stops after single words, follow upon each other (``? ?``). To
    ``bert-base-uncased``, which splits at punctuation itself, only the one after a pound sign makes a difference.
    """
    sentence = sentence.strip()
    for pattern, joined in _SPACING:
        sentence = pattern.sub(joined, sentence)
    return sentence


def lm1b_blocks(source, tokenizer, length, cache=None, processes=None):
    """Blocks of LM1B, from the cache where the same were packed before.

    Args:
        source: a local copy, relative to the repository root or absolute: the folder or the ``.tar.gz`` of the
            original archive, or a folder of Parquet files with a column ``text``; looked for in this order. If empty,
            what the environment variable ``UDDM_LM1B`` names, else the mirror on the Hugging Face hub.
        tokenizer: of :func:`uddm_lib.data.tokenizers.load_tokenizer`.
        length: tokens in a block, L, at least 3.
        cache: folder of the cache, ``runs/cache`` by default; False keeps nothing.
        processes: that tokenise; by default as many as there are cores, fewer where there is little to do.

    Returns:
        train (N, L), memory-mapped, int16 where that holds all token ids and int32 elsewhere; test (M, L), int64, in
        memory; and how many duplicates were dropped: ``train``: repeated blocks, ``test``: blocks that repeat or are
        in train, ``documents``: test sentences that are in train as well.

    Raises:
        FileNotFoundError: if the local copy does not exist.
        OSError: if there is none and the mirror can't be loaded, or the cache can't be written.
        ValueError: if the local copy is not one of LM1B, lacks sentences, or is too small for a block.

    Warns:
        UserWarning: if the local copy is a part of LM1B.
    """
    copy = source or os.environ.get(VARIABLE, "")
    kind, files = _find(resolve(copy)) if copy else ("mirror", {})
    content = _digests(files) if copy else [MIRROR, REVISION]
    backend, ends = tokenizer.backend_tokenizer, (tokenizer.bos_token_id, tokenizer.eos_token_id)
    key = json.dumps([CACHE_FORMAT, length, backend.to_str(), ends, content]).encode()
    with contextlib.ExitStack() as stack:
        # What is memory-mapped outlives its folder.
        root = (
            stack.enter_context(tempfile.TemporaryDirectory())
            if cache is False
            else cache or packing.CACHE
        )
        folder = resolve(root) / f"lm1b-{hashlib.sha256(key).hexdigest()[:32]}"
        if (packed := _read(folder, length)) is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(
                FileLock(f"{folder}.lock")
            )  # of many runs that start at once, one packs
            if _read(folder, length) is None:
                _build(folder, kind, files, backend, len(tokenizer), length, ends, processes)
            packed = _read(folder, length)
    train, test, about = packed
    if about["part"]:
        warnings.warn(f"lm1b: {resolve(copy)} holds a part only: {about['part']}", stacklevel=2)
    return torch.from_numpy(train), torch.from_numpy(test).long(), about["duplicates"]


def _find(path):
    """What ``path`` holds: ``text``, ``archive`` or ``parquet``, and its files by part."""
    if not path.exists():
        raise FileNotFoundError(f"lm1b: there is no file or folder {path}; give {EXPECTED}")
    if path.is_file():
        if not tarfile.is_tarfile(path):
            raise ValueError(f"lm1b: {path} is no tar archive; give {EXPECTED}")
        return "archive", {"": [path]}
    files = _original(path)
    if all(files.values()):
        return "text", files
    archives = [file for file in sorted(path.glob("*.tar.gz")) if tarfile.is_tarfile(file)]
    if archives:
        return "archive", {"": archives[:1]}
    tables = sorted(path.rglob("*.parquet"))
    files = {
        part: [
            file for file in tables if re.search(f"(?<![a-z]){part}", str(file.relative_to(path)))
        ]
        for part in SENTENCES
    }
    if not all(files.values()):
        raise ValueError(
            f"lm1b: {path} holds no copy of LM1B with a train and a test part; give {EXPECTED}"
        )
    return "parquet", files


def _original(folder):
    """Files of the original archive by part, in the order of their numbers."""
    return {
        part: sorted(folder.rglob(pattern), key=lambda file: file.name)
        for part, pattern in ARCHIVE.items()
    }


def _digests(files):
    """What the files of each part hold, whatever their names and times."""

    def digest(file):
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock
        return [list(pool.map(digest, part)) for part in files.values()]


def _download():
    """The mirror's files by part, from the hub's cache where they are there."""
    asked = {
        "repo_id": MIRROR,
        "repo_type": "dataset",
        "revision": REVISION,
        "allow_patterns": "*/*/*.parquet",
    }
    with contextlib.suppress(Exception):  # not in the cache, or not all of it
        return _find(Path(snapshot_download(**asked, local_files_only=True)))[1]
    try:
        HfApi().dataset_info(
            MIRROR, revision=REVISION, timeout=10
        )  # asks once; a download asks again and again
        return _find(Path(snapshot_download(**asked)))[1]
    except Exception as error:  # of the hub's, the network's and the disk's many kinds
        reason = str(error).strip().partition("\n")[0].rstrip(".: ")
        raise OSError(
            f"lm1b: no local copy is given, and the mirror {MIRROR} can't be loaded from the Hugging Face "
            f"hub ({reason}). Let {VARIABLE}=<path>, or the corpus lm1b:<path>, name {EXPECTED}"
        ) from None


def _build(folder, *arguments):
    """Pack into ``folder``, which appears at the end; what is done of it when killed is not done again."""
    work = folder.with_name(f"{folder.name}.building")
    try:
        with packing.quiet(progress=sys.stderr.isatty()), warnings.catch_warnings():
            # Python 3.12 warns of a fork beside threads; these processes use none of what the threads may hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            _pack_parts(work, *arguments)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        os.replace(work / "done", folder)
    except Exception:
        shutil.rmtree(work, ignore_errors=True)  # gigabytes that another copy would not make use of
        raise
    shutil.rmtree(work)


def _pack_parts(work, kind, files, tokenizer, vocab_size, length, ends, processes):
    done = work / "done"
    done.mkdir(parents=True, exist_ok=True)
    sentences, part = _sentences(kind, files, work, processes)
    column = {name: table.data.column("text") for name, table in sentences.items()}
    both = (
        column["train"]
        .filter(pc.is_in(column["train"], value_set=column["test"].combine_chunks()))
        .unique()
    )
    known = pc.is_in(column["test"], value_set=both).to_numpy(zero_copy_only=False)
    if known.any():
        sentences["test"] = sentences["test"].select(np.flatnonzero(~known))
    dtype = np.dtype(np.int16 if vocab_size <= 2**15 else np.int32)
    duplicates, seen = {"documents": int(known.sum())}, np.empty(0, np.uint64)
    for name, table in sentences.items():
        ids = _tokenise(table, work / f"{name}.arrow", tokenizer, dtype, ends[1], processes)
        pack(ids, done / f"{name}.npy", length, *ends, dtype)
        left, seen, duplicates[name] = drop_repeats(done / f"{name}.npy", seen)
        if not left:
            raise ValueError(
                f"lm1b: the {name} part ({len(table):,} sentences) fills no block of length {length}"
            )
    (done / "about.json").write_text(json.dumps({"duplicates": duplicates, "part": part}))


def _sentences(kind, files, work, processes):
    """Memory-mapped ``datasets`` with a column ``text``, by part; and what there is if it is not all of LM1B."""
    if kind == "archive":
        files = _extract(files[""][0], work / "archive")
    elif kind == "mirror":
        files = _download()
    original = kind in ("text", "archive")
    sentences = {
        part: _load(part, names, original, work, processes) for part, names in files.items()
    }
    found = {part: len(table) for part, table in sentences.items()}
    if found == SENTENCES:
        return sentences, ""
    counts = " and ".join(
        f"{count:,} of {SENTENCES[part]:,} {part} sentences in {len(files[part])} files"
        for part, count in found.items()
    )
    if kind == "mirror" or (
        original and {part: len(names) for part, names in files.items()} == SHARDS
    ):
        raise ValueError(f"lm1b: a full copy that is damaged: {counts}; download it again")
    return sentences, counts


def _load(part, files, original, work, processes):
    if not original:
        _check_parquet(files)
    several = _several(processes, len(files), sum(file.stat().st_size for file in files) // 2**24)
    try:
        return load_dataset(
            "text" if original else "parquet",
            data_files={part: list(map(str, files))},
            split=part,
            cache_dir=str(work / "source"),
            num_proc=several,
        ).select_columns("text")
    except DatasetGenerationError:  # does not name the file
        for file in files if original else []:
            try:
                file.read_text("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"lm1b: {file} is not UTF-8 text: {error}") from None
        raise


def _extract(file, folder):
    """Unpack the sentences of the original archive; returns their files by part."""
    try:
        with tarfile.open(file) as archive:
            wanted = [
                member for member in archive if any(map(Path(member.name).match, ARCHIVE.values()))
            ]
            archive.extractall(folder, wanted, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"lm1b: {file} is damaged: {error}") from None
    files = _original(folder)
    if not all(files.values()):
        raise ValueError(
            f"lm1b: {file} is no archive of LM1B: it lacks {' or '.join(ARCHIVE.values())}"
        )
    return files


def _check_parquet(files):
    for file in files:
        try:
            columns = pq.read_schema(file).names
        except pa.ArrowInvalid as error:
            raise ValueError(f"lm1b: {file} is no Parquet file, or damaged: {error}") from None
        if "text" not in columns:
            raise ValueError(f"lm1b: {file} has no column 'text'; it has {', '.join(columns)}")


def _tokenise(table, path, tokenizer, dtype, eos, processes):
    """Token ids of each sentence and EOS, in a memory-mapped column of lists."""
    rows = table.with_format("arrow").map(
        _encode,
        batched=True,
        remove_columns="text",
        num_proc=_several(processes, len(table), len(table) // 10_000),
        fn_kwargs={"tokenizer": tokenizer, "eos": eos, "dtype": dtype},
        # With no fingerprint given, map would pickle the tokenizer to hash it; the file's name is enough.
        new_fingerprint=path.stem,
        cache_file_name=str(path),
    )
    return rows.data.column("ids")


def _encode(batch, tokenizer, eos, dtype):
    tokenizer.encode_special_tokens = (
        True  # "[SEP]" in a sentence is text; set here, since pickling forgets it
    )
    texts = [detokenize(text) for text in batch["text"].to_pylist()]
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    rows = [[*text.ids, eos] if text.ids else [] for text in encoded]
    return pa.table({"ids": pa.array(rows, pa.list_(pa.from_numpy_dtype(dtype)))})


def _several(processes, most, worth):
    """``num_proc`` of ``datasets``: the processes asked for, else one a core and as many as are worth their start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    several = min(processes or min(cores, worth), most)
    return several if several > 1 else None  # None: this process alone


def _read(folder, length):
    """What :func:`_build` packed: train and test, memory-mapped, and what it says of them; None for anything else."""
    try:
        # Copy on write, since torch warns of arrays that can't be written.
        train, test = (np.load(folder / f"{part}.npy", mmap_mode="c") for part in SENTENCES)
        about = json.loads((folder / "about.json").read_text())
        return (train, test, about) if train.shape[1] == test.shape[1] == length else None
    except (OSError, ValueError):  # none there, or damaged: packed anew
        return None
