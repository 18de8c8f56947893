"""Documents of a user's files: plain text, JSON Lines and Parquet, compressed by gzip or not.

Documents are read in parts, so that neither a long file nor a long line has to fit in memory.
"""

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

from uddm_lib.data._file_kinds import check_kind, opened, place_of_bad_byte

__all__ = ["Documents", "Part", "files_of", "iterate_texts", "read_texts"]

CHUNK = 2**18  # characters that are read at once, and that a part of a document has at most
FASTA = (".fasta", ".fa", ".faa", ".fna")  # sequences of proteins or DNA, each with a header
SUFFIXES = (".txt", ".jsonl", ".ndjson", ".parquet", *FASTA)  # that a folder is searched for
RULES = ("line", "paragraph", "file", "fasta")  # what may be a document of plain text
COLUMN = "text"  # of JSON Lines and Parquet, unless another is named

Part = tuple[str, bool]  # characters of a document, and whether the document ends with them


class Survey(NamedTuple):
    """How many documents and characters there are, and which characters."""

    documents: int
    characters: int
    alphabet: frozenset[str]


class Documents:
    """Documents that can be read again and again, each in one part or more.

    They begin and end with no white space, and none is empty.

    Args:
        read: gives the parts from the first on, each time that it is called.
    """

    def __init__(self, read: Callable[[], Iterable[Part]]) -> None:
        self._read = read

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> "Documents":
        """One document for each text."""
        return cls(lambda: (part for text in texts for part in _cut(text)))

    @classmethod
    def of_files(cls, files: Sequence[Path], option: str = "") -> "Documents":
        """The documents of files, one file after the other.

        Args:
            files: see :func:`files_of`.
            option: for plain text, one of ``line``, ``paragraph``, ``file`` and ``fasta``: what a
                document is. For JSON Lines and Parquet, the name of the column; by default
                ``text``.
        """
        return cls(lambda: (part for file in files for part in _parts(file, option)))

    def __iter__(self) -> Iterator[Part]:
        inside = False  # a document of which a part was given
        for text, ends in self._read():
            text = text if inside else text.lstrip()
            text = text.rstrip() if ends else text
            if inside or text:
                yield text, ends
                inside = not ends

    @cached_property
    def survey(self) -> Survey:
        """Counts, by reading everything once."""
        documents = characters = 0
        alphabet: set[str] = set()
        for text, ends in self:
            documents += ends
            characters += len(text)
            alphabet.update(text)
        return Survey(documents, characters, frozenset(alphabet))


def read_texts(path: str | Path) -> list[str]:
    """The documents of a file or a folder, all in memory; see ``docs/your-own-text.md``.

    Raises:
        ValueError: if a file is none that ``text:`` takes; the message names it.
    """
    return list(iterate_texts(path))


def iterate_texts(path: str | Path) -> Iterator[str]:
    """:func:`read_texts` with one document in memory at a time."""
    parts: list[str] = []
    for part, ends in Documents.of_files(files_of(Path(path))):
        parts.append(part)
        if ends:
            yield "".join(parts)
            parts = []


def files_of(path: Path) -> list[Path]:
    """The file itself, or the files of a folder that hold text, at any depth, in sorted order.

    Hidden files and folders are left out, such as the ``._name`` files of macOS.

    Raises:
        ValueError: if there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():  # a pipe can be read once only
        raise ValueError(f"{path} is neither a file nor a folder; save the text in a file")
    files = sorted(
        file
        for file in path.rglob("*")
        if file.name.removesuffix(".gz").endswith(SUFFIXES)
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    )
    if not files:
        names = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        raise ValueError(f"{path} holds no file {names} (or one of these with .gz)")
    return files


def _parts(file: Path, option: str) -> Iterator[Part]:
    """Parts of a file's documents, with white space around them and blank documents."""
    try:
        with opened(file) as binary:
            head = binary.read(4096)
            binary.seek(0)
            if head.startswith(b"PAR1"):
                yield from _parquet(file, option or COLUMN)
                return
            check_kind(file, head)
            # Line ends of all systems, and no byte-order mark.
            with io.TextIOWrapper(binary, "utf-8-sig") as text:
                if file.name.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")):
                    yield from _json_lines(file, text, option or COLUMN)
                else:
                    yield from _plain(file, text, option)
    except UnicodeDecodeError as error:
        raise ValueError(place_of_bad_byte(file, error.reason)) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file} is damaged: {error}; copy it again") from None


def _plain(file: Path, text: io.TextIOBase, option: str) -> Iterator[Part]:
    if option not in ("", *RULES):
        allowed = ", ".join(f"#{rule}" for rule in RULES)
        raise ValueError(f"{file} is plain text: what follows it must be one of {allowed}")
    rest = _chunks(file, text)
    first = next(rest, "")
    chunks = chain([first], rest)
    if not option and file.name.removesuffix(".gz").endswith(FASTA):
        option = "fasta"
    if option == "file":
        yield from ((chunk, False) for chunk in chunks)
        yield "", True
    elif option == "paragraph" or (not option and _is_wrapped(first)):
        yield from _paragraphs(_lines(chunks))
    elif option == "fasta":
        sequences = (("" if line.startswith(">") else line, end) for line, end in _lines(chunks))
        yield from _paragraphs(sequences, "")
    else:
        yield from _lines(chunks)


def _chunks(file: Path, text: io.TextIOBase) -> Iterator[str]:
    line = 1
    while chunk := text.read(CHUNK):
        if "\0" in chunk:
            line += chunk[: chunk.index("\0")].count("\n")
            raise ValueError(f"{file}, line {line}: a zero byte; the file is binary, not text")
        line += chunk.count("\n")
        yield chunk


def _lines(chunks: Iterable[str]) -> Iterator[Part]:
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            yield line, True
        if len(rest) >= CHUNK:
            yield rest, False
            rest = ""
    yield rest, True


def _paragraphs(lines: Iterable[Part], between: str = " ") -> Iterator[Part]:
    """Lines up to a blank one, joined."""
    kept: list[str] = []
    size = 0
    for line, _ in lines:
        if line := line.strip():
            kept.append(line)
            size += len(line)
            if size >= CHUNK:
                yield between.join(kept) + between, False
                kept, size = [], 0
        else:
            yield between.join(kept), True
            kept, size = [], 0
    yield between.join(kept), True


def _is_wrapped(text: str) -> bool:
    """Whether lines are broken where they are full, and blank lines end paragraphs before that.

    A line is full if the first word of the next one would make it longer than nearly all lines are.
    """
    lines = [line.strip() for line in text.split("\n")]
    width = sorted(map(len, lines))[int(0.95 * (len(lines) - 1))]
    inside = [(line, after) for line, after in pairwise(lines) if line and after]
    full = sum(len(line) + 1 + len(after.split()[0]) > width for line, after in inside)
    ends = [line for line, after in pairwise(lines) if line and not after]
    long_ends = sum(len(line) > 0.9 * width for line in ends)
    return full > 0.5 * len(inside) > 0 and long_ends < 0.5 * len(ends)


def _json_lines(file: Path, text: io.TextIOBase, column: str) -> Iterator[Part]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{place}: {error}; each line must be an object, such as "
                f'{{"{column}": "a document"}}'
            ) from None
        if not isinstance(row, dict):
            raise ValueError(
                f"{place}: {type(row).__name__} in place of an object, such as "
                f'{{"{column}": "a document"}}'
            )
        if column not in row:
            raise ValueError(_missing(place, column, row))
        value = row[column]
        if not isinstance(value, str | None):
            raise ValueError(f"{place}: {column} must be text; got {json.dumps(value)[:40]}")
        try:
            (value or "").encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{place}: {column} holds half a character, "
                f"{error.object[error.start]!a}; remove or replace it"
            ) from None
        yield from _cut(value or "")


def _parquet(file: Path, column: str) -> Iterator[Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file} is damaged: {error}; copy it again") from None
    with table:
        schema = table.schema_arrow
        if column not in schema.names:
            raise ValueError(_missing(str(file), column, schema.names))
        kind = schema.field(column).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if kind not in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
            raise ValueError(f"{file}: column {column} must hold text; it holds {kind}")
        for batch in table.iter_batches(1024, columns=[column]):
            for text in batch.column(0).to_pylist():
                yield from _cut(text or "")


def _missing(place: str, column: str, columns: Iterable[str]) -> str:
    return (
        f"{place}: there is no column {column}; there are {', '.join(columns)}. "
        "Name one after the path: text:PATH#COLUMN"
    )


def _cut(text: str) -> Iterator[Part]:
    """A whole document in parts."""
    for start in range(0, max(1, len(text)), CHUNK):
        yield text[start : start + CHUNK], start + CHUNK >= len(text)
