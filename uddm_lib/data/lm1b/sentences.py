"""Sentences of LM1B as memory-mapped data sets, counted and checked."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError

from uddm_lib.data.lm1b.copies import Copy, Files, download, extract
from uddm_lib.data.lm1b.mapped_packing import worker_count

__all__ = ["read_sentences"]

SENTENCES = {"train": 30_301_028, "test": 306_688}  # in all of LM1B
SHARDS = {"train": 99, "test": 50}  # files of the original archive
BYTES_PER_PROCESS = 2**24  # a smaller share is not worth starting a process


def read_sentences(
    copy: Copy | None, work: Path, processes: int | None
) -> tuple[dict[str, Dataset], str]:
    """Data sets with a column ``text`` by part, and how many sentences there are if not all.

    Args:
        copy: a local copy; None for the mirror.
        work: folder for what is unpacked or converted.
        processes: as in :func:`uddm_lib.data.lm1b.mapped_blocks.lm1b_blocks`.

    Raises:
        ValueError: if files are damaged, or all files are there and sentences are missing.
    """
    is_text = copy is not None and copy.kind in ("text", "archive")
    if copy is None:
        files = download()
    elif copy.kind == "archive":
        files = extract(copy.files[""][0], work / "archive")
    else:
        files = copy.files
    if not is_text:
        _check_parquet(files)
    sentences = {
        part: _load_text(part, names, work, processes)
        if is_text
        else _load("parquet", part, names, work, processes)
        for part, names in files.items()
    }
    counts = {part: len(table) for part, table in sentences.items()}
    if counts == SENTENCES:
        return sentences, ""
    available = " and ".join(
        f"{count:,} of {SENTENCES[part]:,} {part} sentences in {len(files[part])} files"
        for part, count in counts.items()
    )
    has_all_files = {part: len(names) for part, names in files.items()} == SHARDS
    if copy is None or (is_text and has_all_files):
        raise ValueError(f"lm1b: a full copy that is damaged: {available}; download it again")
    return sentences, available


def _load(builder: str, part: str, files: list[Path], work: Path, processes: int | None) -> Dataset:
    size = sum(file.stat().st_size for file in files)
    return load_dataset(
        builder,
        data_files={part: list(map(str, files))},
        split=part,
        cache_dir=str(work / "source"),
        num_proc=worker_count(processes, len(files), size // BYTES_PER_PROCESS),
    ).select_columns("text")


def _load_text(part: str, files: list[Path], work: Path, processes: int | None) -> Dataset:
    try:
        return _load("text", part, files, work, processes)
    except DatasetGenerationError:  # does not name the file
        for file in files:
            try:
                file.read_text("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"lm1b: {file} is not UTF-8 text: {error}") from None
        raise


def _check_parquet(files: Files) -> None:
    for part in files.values():
        for file in part:
            try:
                columns = pq.read_schema(file).names
            except pa.ArrowInvalid as error:
                raise ValueError(f"lm1b: {file} is no Parquet file, or damaged: {error}") from None
            if "text" not in columns:
                raise ValueError(f"lm1b: {file} has no column 'text'; it has {', '.join(columns)}")
