"""Files of text: what compresses them, and what is wrong with those that are no UTF-8 text."""

import codecs
import contextlib
import gzip
import io
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_kind", "opened", "place_of_bad_byte"]


@contextlib.contextmanager
def opened(file: Path) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    """The bytes of a file, unpacked if gzip packed them."""
    with open(file, "rb") as raw:
        if raw.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked
        else:
            yield raw


def check_kind(file: Path, head: bytes) -> None:
    """Raise for a file whose beginning says that it is no UTF-8 text."""
    zeros = head[::2].count(0), head[1::2].count(0)
    other = ""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        other = "UTF-32"
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        other = "UTF-16"
    elif len(head) > 1 and max(zeros) > 0.2 * len(head) and min(zeros) == 0:
        other = "UTF-16BE" if zeros[0] else "UTF-16LE"
    if other:
        raise ValueError(
            f"{file} is {other} text; convert it: iconv -f {other} -t UTF-8 {file.name} > new.txt"
        )
    for start, kind in {
        b"%PDF": "a PDF",
        b"{\\rtf": "rich text",
        b"PK\3\4": "a zip archive (as .docx, .epub and .odt are)",
        b"\xd0\xcf\x11\xe0": "a document of an office program",
        b"BZh": "compressed by bzip2",
        b"\xfd7zXZ": "compressed by xz",
        b"\x28\xb5\x2f\xfd": "compressed by zstd",
    }.items():
        if head.startswith(start):
            raise ValueError(f"{file} is {kind}; give plain text (gzip may compress it)")


def place_of_bad_byte(file: Path, reason: str) -> str:
    """A message that names the first byte of a text that is no UTF-8, its line, and the remedy."""
    with (
        opened(file) as binary,
        io.TextIOWrapper(binary, "utf-8", errors="surrogateescape") as text,
    ):
        for number, line in enumerate(text, 1):
            for column, character in enumerate(line, 1):
                if "\udc80" <= character <= "\udcff":
                    return (
                        f"{file}, line {number}, character {column}: byte "
                        f"0x{ord(character) - 0xDC00:02x} is no UTF-8 ({reason}); convert the "
                        f"file, from Latin-1 for instance: "
                        f"iconv -f LATIN1 -t UTF-8 {file.name} > new.txt"
                    )
    return f"{file} is no UTF-8 ({reason})"
