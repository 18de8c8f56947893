"""Copies of LM1B: where a local one has its files, what they hold, and the mirror on the hub."""

import contextlib
import hashlib
import json
import re
import tarfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, snapshot_download

from uddm_lib.data._paths import candidates, find
from uddm_lib.results import atomic_write

__all__ = ["MIRROR", "PARTS", "REVISION", "Copy", "download", "extract", "find_copy"]

PARTS = ("train", "test")
# Files of the original archive. The test part is its held-out hundredth.
ARCHIVE = {
    "train": "training-monolingual.tokenized.shuffled/news.en-*",
    "test": "heldout-monolingual.tokenized.shuffled/news.en.heldout-*",
}
# Hugging Face's own conversion of its script data set to Parquet (branch refs/convert/parquet).
MIRROR, REVISION = "billion-word-benchmark/lm1b", "8d52bfd3cc2819fc1166dbb8144c328e2690de3e"
EXPECTED = (
    "the folder or the .tar.gz of the original archive "
    "(1-billion-word-language-modeling-benchmark-r13output, https://www.statmt.org/lm-benchmark), "
    "or a folder of the mirror's Parquet files (train/*.parquet, test/*.parquet)"
)

Files = dict[str, list[Path]]  # by part


@dataclass(frozen=True)
class Copy:
    """A local copy of LM1B.

    Attributes:
        path: of the copy.
        kind: how the sentences are kept; a ``text`` copy is the unpacked archive.
        files: by part; of an archive its one file, under "".
    """

    path: Path
    kind: Literal["text", "archive", "parquet"]
    files: Files

    def __str__(self) -> str:
        return str(self.path)

    def digests(self, folder: Path) -> list[list[str]]:
        """SHA-256 of each part's files, which is independent of their names and times.

        They are kept in ``folder``. A later call reads no file of which path, size and times are
        as before.
        """
        states = [[_state(file) for file in part] for part in self.files.values()]
        key = hashlib.sha256(json.dumps(states).encode()).hexdigest()
        record = folder / f"lm1b-copy-{key[:32]}.json"
        with contextlib.suppress(OSError, ValueError, TypeError):  # none there, or damaged
            known = json.loads(record.read_text())
            if [list(map(len, part)) for part in known] == [[64] * len(part) for part in states]:
                return known
        with ThreadPoolExecutor() as pool:  # hashing releases Python's lock
            digests = [list(pool.map(_digest, part)) for part in self.files.values()]
        with contextlib.suppress(OSError):  # a read-only folder costs the next process time
            atomic_write(record, json.dumps(digests))
        return digests


def find_copy(source: str | Path) -> Copy:
    """The copy of LM1B at a path.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if there is something else.
    """
    path = find(source)
    if path is None:
        places = " or ".join(map(str, candidates(source)))
        raise FileNotFoundError(f"lm1b: there is no file or folder {places}; give {EXPECTED}")
    if path.is_file():
        if not tarfile.is_tarfile(path):
            raise ValueError(f"lm1b: {path} is no tar archive; give {EXPECTED}")
        return Copy(path, "archive", {"": [path]})
    files = _archive_files(path)
    if all(files.values()):
        return Copy(path, "text", files)
    archives = [file for file in sorted(path.glob("*.tar.gz")) if tarfile.is_tarfile(file)]
    if archives:
        return Copy(path, "archive", {"": archives[:1]})
    files = _parquet_files(path)
    if not all(files.values()):
        raise ValueError(
            f"lm1b: {path} holds no copy of LM1B with a train and a test part; give {EXPECTED}"
        )
    return Copy(path, "parquet", files)


def extract(file: Path, folder: Path) -> Files:
    """Unpack the sentences of the original archive into ``folder``; returns their files by part."""
    try:
        with tarfile.open(file) as archive:
            wanted = [
                member for member in archive if any(map(Path(member.name).match, ARCHIVE.values()))
            ]
            archive.extractall(folder, wanted, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"lm1b: {file} is damaged: {error}") from None
    files = _archive_files(folder)
    if not all(files.values()):
        raise ValueError(
            f"lm1b: {file} is no archive of LM1B: it lacks {' or '.join(ARCHIVE.values())}"
        )
    return files


def download() -> Files:
    """The mirror's files by part, from the hub's cache where they are there.

    Raises:
        OSError: if they are not, and the hub can't be reached; the message says what to do.
    """
    options: dict[str, Any] = {
        "repo_id": MIRROR,
        "repo_type": "dataset",
        "revision": REVISION,
        "allow_patterns": "*/*/*.parquet",
    }
    with contextlib.suppress(Exception):  # not in the cache, or not all of it
        return find_copy(snapshot_download(**options, local_files_only=True)).files
    try:
        # Asks the hub once; a download asks again and again.
        HfApi().dataset_info(MIRROR, revision=REVISION, timeout=10)
        return find_copy(snapshot_download(**options)).files
    except Exception as error:  # of the hub's, the network's and the disk's many kinds
        reason = str(error).strip().partition("\n")[0].rstrip(".: ")
        raise OSError(
            f"lm1b: no local copy is given, and the mirror {MIRROR} can't be loaded from the "
            f"Hugging Face hub ({reason}). Let UDDM_LM1B=<path>, or the corpus lm1b:<path>, name "
            f"{EXPECTED}"
        ) from None


def _archive_files(folder: Path) -> Files:
    """Files of the original archive by part, in the order of their numbers."""
    return {
        part: sorted(folder.rglob(pattern), key=lambda file: file.name)
        for part, pattern in ARCHIVE.items()
    }


def _parquet_files(folder: Path) -> Files:
    """Parquet files by the part that is in their path."""
    tables = sorted(folder.rglob("*.parquet"))
    return {
        part: [
            file for file in tables if re.search(f"(?<![a-z]){part}", str(file.relative_to(folder)))
        ]
        for part in PARTS
    }


def _state(file: Path) -> tuple[str, int, int, int]:
    """Path, size and times of a file; the time of the last status change can't be set back."""
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
