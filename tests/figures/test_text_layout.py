from itertools import pairwise

from uddm_lib.figures import _text_panel
from uddm_lib.figures._text_layout import lay_out
from uddm_lib.figures._text_panel import TextPanel, Version, outcomes, visible


def tokens(text):
    return [letter.replace(" ", "\u00b7") for letter in text]


def lines(version, places):
    """The text of every line; blanks of the layout are underscores."""
    found = {}
    for token, place in zip(version, places):
        line = found.get(place.line, "")
        found[place.line] = line.ljust(place.column, "_") + token
    return list(found.values())


def test_a_wide_token_of_one_version_leaves_no_gap_inside_the_words_of_another():
    original = tokens("a bcd ef")
    perturbed = [*original[:3], "th", *original[4:]]
    places = lay_out([original, perturbed], [original], 50, 6)
    assert lines(original, places[0]) == ["a\u00b7bcd_\u00b7ef"]
    assert lines(perturbed, places[1]) == ["a\u00b7bthd\u00b7ef"]


def test_words_stay_whole_and_no_line_is_an_orphan():
    original = tokens("in the beginning was the word and so it goes")
    (places,) = lay_out([original], [original], 40, 6)
    found = lines(original, places)
    assert "".join(found) == "".join(original)
    assert len(found) == 2 and all(line[0] == "\u00b7" for line in found[1:])
    assert abs(len(found[0]) - len(found[1])) <= 10


def test_lines_break_where_a_word_begins_in_all_versions_that_are_read():
    original, restored = tokens("one two three four"), tokens("abcdefg three xyz f")[:18]
    places = lay_out([original, restored], [original, restored], 12, 6)
    for version, found in zip((original, restored), places):
        text = lines(version, found)
        assert all(line[0] == "\u00b7" for line in text[1:]), text
    starts = [[b.line != a.line for a, b in pairwise(found)] for found in places]
    assert starts[0] == starts[1]


def test_a_word_longer_than_a_line_is_cut_between_tokens_and_a_text_may_have_no_blanks():
    (places,) = lay_out([list("abcdefghij")], [list("abcdefghij")], 4, 2)
    assert lines("abcdefgh", places) == ["abcd", "efgh"]  # the rest is beyond the last line
    long = tokens("ab cdefghij")
    (places,) = lay_out([long], [long], 4, 9)
    assert max(map(len, lines(long, places))) <= 4 and len(places) == len(long)
    assert lay_out([[]], [[]], 4, 9) == [[]]


def test_part_of_a_letter_is_one_sign():
    assert visible("\ufffd\ufffd\ufffd") == "\ufffd" and visible("a\ufffd\ufffd") == "a\ufffd"
    assert visible(" the\n") == "\u00b7the\u00b6"


def test_frames_of_neighbors_are_joined_other_marks_are_not():
    original, perturbed, restored = "abcdef", "abcdxy", "abzwef"
    kinds = outcomes(original, perturbed, restored)
    assert kinds == ["untouched"] * 2 + ["unstable"] * 2 + ["recovered"] * 2
    row = Version("restored", list(restored), kinds)
    cells = _text_panel._cells(row, TextPanel("", [row]).places[0])
    marks = [(place.column, width, kind) for place, width, kind in cells if kind != "untouched"]
    assert marks == [(2, 2, "unstable"), (4, 1, "recovered"), (5, 1, "recovered")]
