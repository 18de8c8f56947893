"""results and parameters: files survive what can go wrong, tables and parameters come back right."""

import errno
import json
import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uddm_lib import results
from uddm_lib.results import (
    atomic_write,
    check_parameters,
    open_run,
    progress,
    provenance,
    read_run,
    read_table,
    resolve,
    run_name,
    write_table,
)

ABOUT = {"seed": 1}


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


# paths and files


def test_paths_are_taken_from_the_repository_root(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    root = results.repository_root()
    assert (root / "uddm_lib" / "results.py").is_file()
    assert resolve("runs/x") == root / "runs" / "x"
    assert resolve(tmp_path / "x") == tmp_path / "x"


def test_root_of_an_installed_package_is_found_above_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.setattr(
        results, "__file__", str(tmp_path / "site-packages" / "uddm_lib" / "results.py")
    )
    inside = tmp_path / "checkout" / "notebooks"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(FileNotFoundError, match="start in a checkout"):
        results.repository_root()
    (tmp_path / "checkout" / "uddm_lib").mkdir()
    assert results.repository_root() == tmp_path / "checkout"


def test_atomic_write_makes_folders_and_leaves_only_the_file(tmp_path):
    path = atomic_write(tmp_path / "a" / "b.txt", "é")
    assert path.read_bytes() == "é".encode()
    assert atomic_write(path, b"\x00").read_bytes() == b"\x00"
    assert os.listdir(path.parent) == ["b.txt"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_full_disk_names_the_file_and_keeps_the_old_one(monkeypatch, tmp_path, call):
    path = atomic_write(tmp_path / "file.csv", "old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "open":
        monkeypatch.setitem(results.__dict__, "open", full)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left on device.*file\.csv"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.csv"]


def test_interrupted_write_leaves_no_litter(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "file", "new")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere"
)
def test_read_only_folder_names_the_file(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"file\.csv"):
        atomic_write(tmp_path / "file.csv", "new")


def test_file_in_the_place_of_a_folder_names_the_file(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(OSError, match=r"folder/file\.csv"):
        atomic_write(tmp_path / "folder" / "file.csv", "new")


# provenance


def test_provenance_says_what_decides_a_result():
    import torch

    about = provenance({"n": np.int64(3), "levels": (0.1, 0.2), "folder": resolve("runs")}, seed=7)
    assert about["torch"] == torch.__version__ and about["seed"] == 7
    assert about["parameters"] == {"n": 3, "levels": [0.1, 0.2], "folder": str(resolve("runs"))}
    assert {"package", "version", "commit", "python", "time"} <= about.keys()
    assert json.loads(json.dumps(about)) == about


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_dirty_only_when_sources_changed(monkeypatch, tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    monkeypatch.setattr(results, "repository_root", lambda: tmp_path)
    assert provenance({})["commit"] == "unknown"
    (tmp_path / "uddm_lib").mkdir()
    (tmp_path / "uddm_lib" / "a.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    (tmp_path / "figure.png").write_text("not a source")
    clean = provenance({})["commit"]
    assert len(clean) == 40
    (tmp_path / "uddm_lib" / "a.py").write_text("2")
    assert provenance({})["commit"] == f"{clean}-dirty"
    (tmp_path / "inner").mkdir()  # a copy inside someone else's repository has no commit of its own
    monkeypatch.setattr(results, "repository_root", lambda: tmp_path / "inner")
    assert provenance({})["commit"] == "unknown"


# tables


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


def test_table_of_a_write_that_stopped_halfway_is_refused(table, tmp_path, monkeypatch):
    path = write_table(table, tmp_path / "table.csv", ABOUT)
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda new, path: replace(new, path) if path.suffix == ".json" else None
    )
    write_table(table.assign(n=1), path, {"seed": 2})
    with pytest.raises(ValueError, match=r"table\.csv"):
        read_table(path)


@pytest.mark.parametrize("name", ["table.txt", "run.csv"])
def test_table_needs_a_name_of_its_own(table, tmp_path, name):
    with pytest.raises(ValueError, match=name):
        write_table(table, tmp_path / name, ABOUT)
    assert os.listdir(tmp_path) == []


# run folders


def test_run_names():
    assert run_name("markov", "pico", 16) == "markov-pico-n000016"
    assert run_name("kjv", "micro", "all") == run_name("kjv", "micro", 0) == "kjv-micro-nall"
    assert run_name("text:/some/book.txt", "nano", 3) == "text-some-book.txt-nano-n000003"
    for n in (-1, 1.5, True, "many"):
        with pytest.raises(ValueError, match="n="):
            run_name("markov", "pico", n)


def test_run_folder_is_entered_again_with_the_same_parameters(tmp_path):
    parameters = {"n": 64, "levels": (0.1, 0.2), "nested": {"a": None}}
    folder = open_run(tmp_path / "run", parameters)
    assert read_run(folder) == {"n": 64, "levels": [0.1, 0.2], "nested": {"a": None}}
    before = (folder / "run.json").read_bytes()
    assert open_run(folder, parameters) == folder
    assert (folder / "run.json").read_bytes() == before


def test_results_of_other_parameters_are_not_mixed(tmp_path):
    folder = open_run(tmp_path / "run", {"n": 64, "steps": 10, "old": None})
    before = (folder / "run.json").read_bytes()
    with pytest.raises(ValueError) as error:
        open_run(folder, {"n": 128, "steps": 10, "new": "x"})
    for difference in (
        "n 64 there, 128 asked",
        "old None there, not set asked",
        "new not set there, 'x' asked",
    ):
        assert difference in str(error.value)
    assert "steps" not in str(error.value)
    assert (folder / "run.json").read_bytes() == before


def test_what_is_no_run_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"parameters": {"n"')
    with pytest.raises(ValueError, match="run.json"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match="run.json"):
        open_run(tmp_path, {"n": 1})


# notebook parameters


def namespace(kind, value):
    return {"__annotations__": {"p": kind}, "p": value}


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (int, 64, 64),
        (int, 1e4, 10000),
        (int, "64", 64),
        (int, "1e4", 10000),
        (int, "12345678901234567890", 12345678901234567890),
        (float, 1, 1.0),
        (float, 0.5, 0.5),
        (float, "3e-4", 3e-4),
        (bool, True, True),
        (bool, 0, False),
        (bool, "True", True),
        (bool, "false", False),
        (bool, "1", True),
        (str, "markov", "markov"),
        (str, "1e4", "1e4"),
        (list, "[1, 'a']", [1, "a"]),
        (list[int], "[1, 2.0]", [1, 2]),
        (list[float], (1, "2"), [1.0, 2.0]),
        (list[float], "0.1, 0.2", [0.1, 0.2]),
        (list[str], '["a", "b"]', ["a", "b"]),
        (list[float], "[]", []),
        (dict, '{"a": {"b": 1}}', {"a": {"b": 1}}),
        (dict[str, float], "{'a': 1}", {"a": 1.0}),
        (int | None, None, None),
        (int | None, "None", None),
        (int | None, "5", 5),
    ],
)
def test_values_are_converted_to_the_declared_type(kind, value, converted):
    names = namespace(kind, value)
    check_parameters(names)
    assert names["p"] == converted and type(names["p"]) is type(converted)
    if isinstance(converted, list):
        assert [type(item) for item in names["p"]] == [type(item) for item in converted]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 1.5),
        (int, "1.5"),
        (int, True),
        (int, float("nan")),
        (int, "inf"),
        (int, "many"),
        (int, None),
        (int, [1]),
        (float, "nan"),
        (float, float("inf")),
        (float, True),
        (float, "x"),
        (float, 10**400),
        (bool, 2),
        (bool, "yes"),
        (bool, 1.0),
        (bool, None),
        (str, 5),
        (str, True),
        (str, None),
        (list[int], "[1, 1.5]"),
        (list[float], 0.1),
        (list[float], "[0.1"),
        (list, [float("nan")]),
        (list, "[NaN]"),
        (dict, "[1]"),
        (dict[str, int], '{"a": "b"}'),
        (int | None, "x"),
    ],
)
def test_values_are_never_bent(kind, value):
    names = namespace(kind, value)
    with pytest.raises(ValueError, match="p=.*expected"):
        check_parameters(names)
    assert names["p"] is value


def test_unknown_parameters_are_named_with_what_is_allowed():
    names = {
        "__annotations__": {"corpus": str, "steps": int},
        "corpus": "markov",
        "steps": 1,
        "stepps": 2,
        "zzz": "x",
        "In": [""],
        "Out": {},
        "exit": None,
        "_private": 1,
        "module": os,
        "function": print,
    }
    with pytest.raises(ValueError) as error:
        check_parameters(names)
    assert (
        str(error.value)
        == "unknown parameter stepps (did you mean steps?), zzz; allowed: corpus, steps"
    )


def test_second_call_knows_that_other_names_are_the_notebooks_own():
    names = namespace(int, "3")
    check_parameters(names)
    names.update(loop_variable=5, p="4")
    check_parameters(names)
    assert names["p"] == 4


# progress


def test_progress_is_silent_unless_enabled(capfd, monkeypatch):
    monkeypatch.delenv("UDDM_PROGRESS", raising=False)
    assert list(progress(range(3))) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    assert list(progress(range(3), description="training", enabled=True)) == [0, 1, 2]
    assert "training" in capfd.readouterr().err


def test_progress_file_says_how_far_it_is(capfd, monkeypatch, tmp_path):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("UDDM_PROGRESS", str(path))
    bar = progress(iter(range(4)), total=4, description="training")
    next(iter(bar))
    assert json.loads(path.read_text()) == {
        "description": "training",
        "done": 0,
        "total": 4,
        "seconds_left": None,
    }
    bar.close()
    assert list(progress(range(4), description="recovery")) == [0, 1, 2, 3]
    state = json.loads(path.read_text())
    assert (state["description"], state["done"], state["total"]) == ("recovery", 4, 4)
    assert capfd.readouterr() == ("", "")


def test_lost_progress_file_does_not_stop_the_work(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UDDM_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert list(progress(range(3))) == [0, 1, 2]
