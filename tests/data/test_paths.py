"""Paths of texts, tokenizers and the cache, inside a checkout and outside."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from uddm_lib.data import _paths, load_corpus
from uddm_lib.data.lm1b.copies import find_copy

TEXT = "".join(f"On day {day} the hen laid {day * day} eggs.\n" for day in range(200))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.setattr(_paths, "repository_root", lambda: folder)
    return folder


def test_a_path_is_looked_up_in_the_working_directory_then_in_the_checkout(
    checkout, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert _paths.find("book.txt") is None
    (checkout / "book.txt").write_text(TEXT)
    assert _paths.find("book.txt") == checkout / "book.txt"
    (tmp_path / "book.txt").write_text(TEXT)
    assert _paths.find("./book.txt") == _paths.find(Path("book.txt")) == tmp_path / "book.txt"
    assert _paths.find(checkout / "book.txt") == checkout / "book.txt"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _paths.find("~/book.txt") == tmp_path / "book.txt"


def test_a_text_is_found_in_both_places_and_kept_in_the_checkout(checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (checkout / "book.txt").write_text(TEXT)
    load_corpus("text:book.txt", length=16, vocab_size=64)
    load_corpus("text:checkout/book.txt", length=16, vocab_size=64, cache="kept")
    assert len(list((checkout / "runs" / "cache").iterdir())) == 1
    assert len(list((checkout / "kept").iterdir())) == 1


def test_a_missing_path_names_all_places(checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = f"{tmp_path / 'book.txt'} or {checkout / 'book.txt'}"
    with pytest.raises(FileNotFoundError, match=f"there is no file or folder {places}"):
        load_corpus("text:book.txt")
    with pytest.raises(FileNotFoundError, match=f"there is no file or folder {places}; give"):
        find_copy("book.txt")


def test_everything_works_without_a_checkout(tmp_path):
    """In a copy of the package that has no notebooks beside it, with a relative tokenizer."""
    shutil.copytree(ROOT / "uddm_lib", tmp_path / "site" / "uddm_lib")
    (tmp_path / "book.txt").write_text(TEXT)
    code = """
import uddm_lib
from uddm_lib import data
assert data.load_corpus("markov", 8, 8).vocab_size == 8
corpus = data.load_corpus("text:book.txt", 16, 64)
corpus.tokenizer.save_pretrained("tok")
assert len(data.load_tokenizer("./tok")) == 64
again = data.load_corpus("text:book.txt", 16, tokenizer="tok", cache="kept")
assert data.digest(again.train) == data.digest(corpus.train)
try:
    data.load_tokenizer("bert-base-uncased")
except OSError as error:
    assert "not in the local cache" in str(error), error
"""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
    }
    environment.pop("HF_ASSETS_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    kept = tmp_path / "hub" / "assets" / "uddm_lib" / "default" / "packed"
    assert len(list(kept.iterdir())) == len(list((tmp_path / "kept").iterdir())) == 1
