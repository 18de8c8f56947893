"""Copies of LM1B: incomplete, damaged, missing, downloaded."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import warnings

import numpy as np
import pytest

from helpers.lm1b_copies import (
    LENGTH,
    NAMES,
    SHARDS,
    TEXTS,
    expected,
    same_blocks,
    write,
    write_parquet,
)
from uddm_lib.data import load_corpus
from uddm_lib.data.lm1b import copies
from uddm_lib.data.lm1b.copies import find_copy
from uddm_lib.data.lm1b.mapped_blocks import lm1b_blocks


def test_a_full_copy_with_other_counts_is_damaged(tokenizer, tmp_path):
    texts = {"train": TEXTS["train"][:-1], "test": TEXTS["test"]}
    with pytest.raises(
        ValueError,
        match="full copy that is damaged: 329 of 330 train sentences in 3 files and 70 of",
    ):
        lm1b_blocks(write(tmp_path / "lm1b", texts), tokenizer, LENGTH, tmp_path)


def test_a_part_is_used_and_says_so_each_time(tokenizer, tmp_path):
    copy = write(tmp_path / "lm1b")
    (copy / NAMES["train"].format(2)).unlink()
    message = (
        f"{copy} holds a part only: 220 of 330 train sentences in 2 files and 70 of 70 test "
        "sentences in 2 files"
    )
    for _ in range(2):
        with pytest.warns(UserWarning, match=re.escape(message)):
            train, _, _ = lm1b_blocks(copy, tokenizer, LENGTH, tmp_path)
    assert train.tolist() == expected(TEXTS["train"][:220], tokenizer)


def test_the_mirror_is_pinned_and_complete(blocks, tokenizer, tmp_path, monkeypatch):
    asked = []
    mirror = write_parquet(tmp_path / "mirror")
    monkeypatch.setattr(
        copies, "snapshot_download", lambda **options: asked.append(options) or str(mirror)
    )
    assert same_blocks(lm1b_blocks("", tokenizer, LENGTH, tmp_path / "cache"), blocks)
    assert asked[0]["repo_type"] == "dataset" and re.fullmatch("[0-9a-f]{40}", asked[0]["revision"])
    monkeypatch.setattr(copies, "snapshot_download", None)
    assert same_blocks(
        lm1b_blocks("", tokenizer, LENGTH, tmp_path / "cache"), blocks
    )  # packed: no hub is needed
    monkeypatch.undo()
    monkeypatch.setattr(copies, "snapshot_download", lambda **options: str(mirror))
    with pytest.raises(
        ValueError, match="damaged: 330 of 30,301,028 train sentences in 2 files and 70 of 306,688"
    ):
        lm1b_blocks("", tokenizer, LENGTH, tmp_path / "other")


def test_without_network_and_copy_it_says_what_to_put_where(tokenizer_folder, tmp_path):
    code = (
        "import sys; from uddm_lib.data import load_corpus\n"
        "try: load_corpus('lm1b', 128, tokenizer=sys.argv[1], cache=sys.argv[2])\n"
        "except OSError as error:\n    print(error)\n"
        "    assert error.__cause__ is None and error.__suppress_context__"
    )
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("HF_HUB_OFFLINE", "UDDM_LM1B")
    }
    environment |= {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hub"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run = subprocess.run(
        [sys.executable, "-c", code, str(tokenizer_folder), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert run.returncode == 0 and run.stdout.count("\n") == 1, run.stderr
    for part in (
        "no local copy is given",
        "billion-word-benchmark/lm1b can't be loaded",
        "UDDM_LM1B=<path>",
        "corpus lm1b:<path>",
        ".tar.gz of the original archive",
        "train/*.parquet",
    ):
        assert part in run.stdout


def test_bad_copies_are_named(tokenizer_folder, tokenizer, tmp_path, original):
    with pytest.raises(
        FileNotFoundError, match="lm1b: there is no file or folder .*nothing; give the folder or"
    ):
        load_corpus(f"lm1b:{tmp_path / 'nothing'}", tokenizer=str(tokenizer_folder))
    with pytest.raises(ValueError, match="corpus 'lm1b:' lacks its path"):
        load_corpus("lm1b:")
    with pytest.raises(ValueError, match="length=2 is not an integer of at least 3"):
        load_corpus("lm1b", 2)
    with pytest.raises(ValueError, match="vocab_size=7: tokenizer .* leave vocab_size out"):
        load_corpus("lm1b", vocab_size=7, tokenizer=str(tokenizer_folder))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("a sentence\n")
    for copy, message in (
        ("empty", "holds no copy of LM1B with a train and a test part"),
        ("file", "no tar archive"),
    ):
        with pytest.raises(ValueError, match=f"lm1b: .*{copy}.* {message}"):
            lm1b_blocks(tmp_path / copy, tokenizer, LENGTH)
    with pytest.raises(ValueError, match="0000.parquet has no column 'text'; it has sentence"):
        lm1b_blocks(
            write_parquet(tmp_path / "parquet", column="sentence"), tokenizer, LENGTH, tmp_path
        )
    (tmp_path / "parquet/plain_text/train/0000.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="0000.parquet is no Parquet file, or damaged"):
        lm1b_blocks(tmp_path / "parquet", tokenizer, LENGTH, tmp_path)
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "file", "file")
    with pytest.raises(
        ValueError, match="other.tar.gz is no archive of LM1B: it lacks training-mono.*news.en-"
    ):
        lm1b_blocks(tmp_path / "other.tar.gz", tokenizer, LENGTH, tmp_path)
    with tarfile.open(tmp_path / "cut.tar.gz", "w:gz") as archive:
        archive.add(original, original.name)
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "cut.tar.gz").read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut.tar.gz is damaged"):
        lm1b_blocks(tmp_path / "cut.tar.gz", tokenizer, LENGTH, tmp_path)
    with pytest.raises(
        ValueError, match=r"the test part \(70 sentences\) fills no block of length 5000"
    ):
        lm1b_blocks(original, tokenizer, 5000, tmp_path)
    (tmp_path / "in the way").write_text("")
    with pytest.raises(OSError, match="in the way"):
        lm1b_blocks(original, tokenizer, LENGTH, tmp_path / "in the way")
    latin = write(tmp_path / "latin")
    (latin / NAMES["test"].format(0)).write_bytes("gr\u00fcn\n".encode("latin-1"))
    with pytest.raises(ValueError, match="news.en.heldout-00000-of-00050 is not UTF-8"):
        lm1b_blocks(latin, tokenizer, LENGTH, tmp_path)
    assert not list(tmp_path.glob("*.building"))


def test_it_leaves_the_process_as_it_was(original, tokenizer, tmp_path, capfd):
    with warnings.catch_warnings(record=True) as caught:
        lm1b_blocks(original, tokenizer, LENGTH, tmp_path, processes=2)
    assert (
        not caught
        and capfd.readouterr() == ("", "")
        and os.environ.get("TOKENIZERS_PARALLELISM") is None
    )
    assert np.load(next(tmp_path.glob("lm1b-*/train.npy"))).flags.c_contiguous


def test_a_copy_is_read_once_and_again_after_a_change(original, tmp_path, monkeypatch):
    copy = find_copy(shutil.copytree(original, tmp_path / "copy"))
    digests = copy.digests(tmp_path / "cache")
    assert digests == find_copy(original).digests(tmp_path / "cache")
    assert [len(part) for part in digests] == [SHARDS["train"], SHARDS["test"]]
    monkeypatch.setattr(copies, "_digest", None)
    assert find_copy(copy.path).digests(tmp_path / "cache") == digests
    monkeypatch.undo()
    file = copy.files["test"][0]
    times = file.stat()
    file.write_text(file.read_text().replace("eggs", "nest", 1))  # as many bytes
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    changed = copy.digests(tmp_path / "cache")
    assert changed[0] == digests[0] and changed[1][1:] == digests[1][1:]
    assert changed[1][0] != digests[1][0]


@pytest.mark.parametrize("damaged", ["", "[]", "{}", "[[1], [2]]", "null"])
def test_a_damaged_record_of_digests_is_made_anew(original, tmp_path, damaged):
    copy = find_copy(original)
    digests = copy.digests(tmp_path)
    (record,) = tmp_path.iterdir()
    record.write_text(damaged)
    assert copy.digests(tmp_path) == digests == json.loads(record.read_text())


def test_digests_need_no_folder_that_can_be_written(original, tmp_path):
    (tmp_path / "file").write_text("in the way")
    copy = find_copy(original)
    assert copy.digests(tmp_path / "file") == copy.digests(tmp_path / "cache")
