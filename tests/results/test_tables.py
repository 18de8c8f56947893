"""Tables come back as they were written, or are refused."""

import os
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uddm_lib.results import read_table, write_table

ABOUT = {"seed": 1}


def die_after(renames, monkeypatch):
    """Let a write end after so many renames, as a kill does: nothing is cleaned up."""
    replace, left = os.replace, iter(range(renames))

    def dying(temporary, path):
        if next(left, None) is None:
            raise KeyboardInterrupt
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", dying)


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "corpus": ["markov", "NA", "", "a\nb", 'q"', "\r", "null", " x,"],
            "n": range(8),
            "t": [0.1, 1 / 3, 1e-5, np.nan, 1e300, -0.0, 2.0, np.pi],
            "exact": [True, False] * 4,
        }
    )


def test_table_comes_back_as_written(table, tmp_path):
    path = write_table(table, tmp_path / "table.csv", ABOUT)
    back = read_table(path)
    pd.testing.assert_frame_equal(back, table, check_exact=True)
    assert back.attrs["provenance"] == ABOUT
    assert sorted(os.listdir(tmp_path)) == ["table.csv", "table.json"]


def test_empty_table_keeps_its_columns(table, tmp_path):
    path = write_table(table[:0], tmp_path / "table.csv", ABOUT)
    pd.testing.assert_frame_equal(read_table(path), table[:0])


@given(
    st.lists(
        st.tuples(st.text(), st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1)),
        min_size=1,
    )
)
def test_any_text_and_number_comes_back(tmp_path_factory, rows):
    table = pd.DataFrame(rows, columns=["text", "float", "int"]).astype({"text": "str"})
    path = write_table(table, tmp_path_factory.mktemp("table") / "t.csv", ABOUT)
    pd.testing.assert_frame_equal(read_table(path), table, check_exact=True)


def test_every_truncation_is_noticed(table, tmp_path):
    path = write_table(table, tmp_path / "table.csv", ABOUT)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"table\.csv.*truncated"):
            read_table(path)


def test_missing_or_foreign_table_names_the_file(table, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        read_table(tmp_path / "nothing.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FileNotFoundError, match=r"other\.csv has no other\.json"):
        read_table(tmp_path / "other.csv")
    for foreign in ('{"a": 1}', "[1]", '{"sha25'):
        (tmp_path / "other.json").write_text(foreign)
        with pytest.raises(ValueError, match=r"other\.json"):
            read_table(tmp_path / "other.csv")


@pytest.mark.parametrize("renames", range(4))
def test_a_write_that_dies_leaves_the_old_table_or_the_new_one(
    table, tmp_path, monkeypatch, renames
):
    old, new = table, table.assign(n=1)
    path = write_table(old, tmp_path / "table.csv", ABOUT)
    die_after(renames, monkeypatch)
    with suppress(KeyboardInterrupt):
        write_table(new, path, {"seed": 2})
    monkeypatch.undo()
    back = read_table(path)
    expected = (new, {"seed": 2}) if renames > 1 else (old, ABOUT)
    pd.testing.assert_frame_equal(back, expected[0], check_exact=True)
    assert back.attrs["provenance"] == expected[1]
    die_after(1, monkeypatch)  # again, with what the first death left on the disk
    with suppress(KeyboardInterrupt):
        write_table(old.assign(n=2), path, {"seed": 3})
    monkeypatch.undo()
    pd.testing.assert_frame_equal(read_table(path), expected[0], check_exact=True)
    write_table(new, path, {"seed": 4})
    assert read_table(path).attrs["provenance"] == {"seed": 4}
    assert "previous" not in path.with_suffix(".json").read_text()


def test_a_first_write_that_dies_leaves_no_table(table, tmp_path, monkeypatch):
    die_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_table(table, tmp_path / "table.csv", ABOUT)
    assert os.listdir(tmp_path) == ["table.json"]


def test_numbers_of_any_size_are_exact(tmp_path):
    """The parser of pandas before 3.1 misses the last digit of a third of these."""
    table = pd.DataFrame({"x": np.random.default_rng(0).lognormal(0, 30, 2000)})
    path = write_table(table, tmp_path / "table.csv", ABOUT)
    pd.testing.assert_frame_equal(read_table(path), table, check_exact=True)


@pytest.mark.parametrize("name", ["table.txt", "run.csv"])
def test_table_needs_a_name_of_its_own(table, tmp_path, name):
    with pytest.raises(ValueError, match=name):
        write_table(table, tmp_path / name, ABOUT)
    assert os.listdir(tmp_path) == []


def test_tables_that_two_machines_write_at_once_leave_one_that_can_be_read(
    table, tmp_path, monkeypatch
):
    """The other machine's table comes between the last two renames of this one."""
    path, replace, moved = tmp_path / "table.csv", os.replace, []
    write_table(table[:1], path, ABOUT)

    def slow(temporary, target):
        moved.append(target)
        if len(moved) == 3:
            monkeypatch.setattr(os, "replace", replace)
            data, sidecar = path.read_bytes(), path.with_suffix(".json").read_bytes()
            write_table(table[:2], path, {"seed": 2})
            assert path.read_bytes() != data and path.with_suffix(".json").read_bytes() != sidecar
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", slow)
    write_table(table, path, {"seed": 3})
    pd.testing.assert_frame_equal(read_table(path), table)
    assert read_table(path).attrs["provenance"] == {"seed": 3}
