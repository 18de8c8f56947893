"""Paths and files: they survive what can go wrong."""

import errno
import os

import pytest

from uddm_lib.results import atomic_write, files, repository_root, resolve


def test_paths_are_taken_from_the_repository_root(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    root = repository_root()
    assert (root / "uddm_lib" / "results" / "files.py").is_file()
    assert resolve("runs/x") == root / "runs" / "x"
    assert resolve(tmp_path / "x") == tmp_path / "x"


def test_root_of_an_installed_package_is_found_above_the_working_directory(monkeypatch, tmp_path):
    installed = tmp_path / "site-packages" / "uddm_lib" / "results" / "files.py"
    monkeypatch.setattr(files, "__file__", str(installed))
    inside = tmp_path / "checkout" / "notebooks"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(FileNotFoundError, match="start in a checkout"):
        repository_root()
    assert resolve("mine") == inside / "mine"
    (tmp_path / "checkout" / "uddm_lib").mkdir()
    assert repository_root() == tmp_path / "checkout"


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
        monkeypatch.setitem(files.__dict__, "open", full)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left on device.*file\.csv"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.csv"]


def test_writers_with_one_process_id_do_not_share_a_temporary_file(monkeypatch, tmp_path):
    """On a shared file system two machines can write one file from processes of the same id."""
    replace = os.replace

    def while_another_writes(temporary, path):
        monkeypatch.setattr(os, "replace", replace)
        atomic_write(path, "the other's")
        replace(temporary, path)

    monkeypatch.setattr(os, "replace", while_another_writes)
    path = atomic_write(tmp_path / "file", "this one's")
    assert path.read_text() == "this one's"
    assert os.listdir(tmp_path) == ["file"]


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
