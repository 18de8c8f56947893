"""Where the tokens of several versions of a sequence stand, in columns and lines of letters.

Tokens follow one another without gaps, as in any text. The versions meet again where a word begins
in all of them: there, and only there, a shorter version waits for the longer ones. Lines break at
such places too, so that no word is cut.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

BLANKS = "\u00b7\u00b6\u2192"  # signs of a space, of the end of a line or document, and of a tab

Tokens = Sequence[str]


class Place(NamedTuple):
    """Where a token stands: its line, and the column of its first letter."""

    line: int
    column: int


def lay_out(
    versions: Sequence[Tokens],
    read: Sequence[Tokens],
    width: int,
    most_lines: int,
) -> list[list[Place]]:
    """The places of the tokens of every version; all have the same tokens on a line.

    Args:
        versions: sequences of equally many tokens; none is empty or longer than a line.
        read: those of them whose words stay whole; the first comes before the others.
        width: letters in a line at most. A longer word is cut between tokens.
        most_lines: tokens beyond have no place.
    """
    pieces = _pieces(versions, read, width)
    widths = [_width(versions, piece) for piece in pieces]
    lines = [line for line in _lines(widths, width) if line < most_lines]
    pieces, widths = pieces[: len(lines)], widths[: len(lines)]
    # Lines of like length, not a full one with an orphan below it.
    for narrower in range(max(widths, default=width), width):
        if (balanced := _lines(widths, narrower))[-1] == lines[-1]:
            lines = balanced
            break
    columns = _columns(lines, widths)
    return [
        [
            place
            for piece, line, column in zip(pieces, lines, columns)
            for place in _flow(version, piece, Place(line, column))
        ]
        for version in versions
    ]


def _pieces(versions: Sequence[Tokens], read: Sequence[Tokens], width: int) -> list[range]:
    """Runs of tokens that stay together: common to all that is read, or of the first alone."""
    count = len(versions[0])
    own = _starts(read[0]) if read else set(range(count))
    common = own.intersection(*map(_starts, read))
    pieces: list[range] = []
    for long in _runs(common, 0, count):
        # A memorizer's text may begin no word where the original does, for a whole line.
        parts = [long] if _width(versions, long) <= width else _runs(own, *_ends(long))
        for part in parts:
            cut = _width(versions, part) > width
            pieces += [range(i, i + 1) for i in part] if cut else [part]
    return pieces


def _starts(tokens: Tokens) -> set[int]:
    """Positions where a word begins, with the white space before it; all in a text without any."""
    if not any(letter in BLANKS for token in tokens for letter in token):
        return set(range(len(tokens)))
    starts = set()
    for i, (before, token) in enumerate(pairwise(tokens), 1):
        comes_after_blanks = before[-1] in BLANKS
        is_in_blanks = comes_after_blanks and not before.strip(BLANKS)
        if not is_in_blanks and (comes_after_blanks or token[0] in BLANKS):
            starts.add(i)
    return starts


def _runs(starts: set[int], first: int, end: int) -> list[range]:
    borders = [first, *sorted(i for i in starts if first < i < end), end]
    return [range(start, stop) for start, stop in pairwise(borders) if start < stop]


def _ends(piece: range) -> tuple[int, int]:
    return piece.start, piece.stop


def _width(versions: Sequence[Tokens], piece: range) -> int:
    """Letters that a piece needs in the version where it is widest."""
    return max(sum(len(version[i]) for i in piece) for version in versions)


def _lines(widths: Sequence[int], width: int) -> list[int]:
    """The line of every piece: a new one where a piece would go beyond ``width``."""
    lines, line, column = [], 0, 0
    for piece in widths:
        if column and column + piece > width:
            line, column = line + 1, 0
        lines.append(line)
        column += piece
    return lines


def _columns(lines: Sequence[int], widths: Sequence[int]) -> list[int]:
    columns: list[int] = []
    for i, line in enumerate(lines):
        goes_on = i > 0 and lines[i - 1] == line
        columns.append(columns[-1] + widths[i - 1] if goes_on else 0)
    return columns


def _flow(tokens: Tokens, piece: range, place: Place) -> list[Place]:
    """The tokens of a piece, one after the other from ``place`` on."""
    places, (line, column) = [], place
    for i in piece:
        places.append(Place(line, column))
        column += len(tokens[i])
    return places
