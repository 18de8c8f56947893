"""Blocks of LM1B: packing, corpus, cache."""

import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from helpers.corpora import in_text_order
from helpers.lm1b_copies import (
    COUNTS,
    LENGTH,
    NAMES,
    TEXTS,
    expected,
    same_blocks,
    write,
    write_parquet,
)
from uddm_lib.data import load_corpus, load_tokenizer, subset
from uddm_lib.data.lm1b import mapped_blocks as blocks_module
from uddm_lib.data.lm1b.mapped_blocks import lm1b_blocks


def test_blocks_are_the_papers(blocks, tokenizer):
    train, test, duplicates = blocks
    assert train.tolist() == expected(TEXTS["train"], tokenizer)
    assert test.tolist() == expected(TEXTS["test"], tokenizer)
    assert duplicates == {"train": 0, "test": 0, "documents": 0}
    assert train.dtype == torch.int16 and test.dtype == torch.int64


@pytest.mark.parametrize("processes", [2, 4])
def test_blocks_do_not_depend_on_the_number_of_processes(
    blocks, original, tokenizer, tmp_path, processes
):
    assert same_blocks(lm1b_blocks(original, tokenizer, LENGTH, tmp_path, processes), blocks)


def test_every_layout_gives_the_same(blocks, original, tokenizer, tmp_path):
    archive = tmp_path / "archive" / "1-billion-word.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(original, original.name)
    parquet = write_parquet(tmp_path / "parquet")
    for copy in (original.parent, archive, archive.parent, parquet, parquet / "plain_text"):
        assert same_blocks(lm1b_blocks(copy, tokenizer, LENGTH, tmp_path / "cache"), blocks)
    built = [folder for folder in (tmp_path / "cache").iterdir() if folder.is_dir()]
    assert len(built) == 3 and not any(
        folder.suffix for folder in built
    )  # the archive's, not what was in it


def test_special_tokens_in_a_sentence_are_text_and_empty_lines_are_none(tokenizer, tmp_path):
    texts = {part: [*sentences, "a [SEP] [ SEP ]", " ", ""] for part, sentences in TEXTS.items()}
    with pytest.warns(UserWarning, match="holds a part only"):
        train, _, _ = lm1b_blocks(
            write(tmp_path / "lm1b", texts, {"train": 1, "test": 1}),
            tokenizer,
            LENGTH,
            tmp_path,
            processes=2,
        )
    assert train.tolist() == expected(texts["train"], tokenizer)
    assert (train[:, 1:-1] == tokenizer.eos_token_id).sum() <= COUNTS["train"] + 1


def test_large_vocabularies_take_four_bytes(tmp_path, original, tokenizer):
    words = tokenizer.get_vocab() | {f"word{i}": len(tokenizer) + i for i in range(40_000)}
    large = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    large.pre_tokenizer = pre_tokenizers.Whitespace()
    large = PreTrainedTokenizerFast(
        tokenizer_object=large, bos_token="[CLS]", eos_token="word39999"
    )
    train, _, _ = lm1b_blocks(original, large, LENGTH, tmp_path)
    assert train.dtype == torch.int32 and (train[:, -1] == len(tokenizer) + 39_999).all()


def test_no_test_block_or_sentence_is_in_train(tokenizer, tmp_path):
    """A repeated block of each part, and held-out sentences that are in the training part."""
    again = " ".join(["hen"] * (LENGTH - 3))  # with its EOS a block of its own, where it starts one
    texts = {
        "train": [again, again, *TEXTS["train"]],
        "test": [again.replace("hen", "eggs")] * 2 + TEXTS["test"],
    }
    texts["test"][30:30] = TEXTS["train"][:5]
    with pytest.warns(UserWarning, match="holds a part only"):
        train, test, duplicates = lm1b_blocks(
            write(tmp_path / "lm1b", texts, {"train": 4, "test": 1}), tokenizer, LENGTH, tmp_path
        )
    assert duplicates == {"train": 1, "test": 1, "documents": 5}
    assert train.tolist() == expected(texts["train"][1:], tokenizer)
    assert test.tolist() == expected(texts["test"][1:30] + texts["test"][35:], tokenizer)
    # A test sentence that is not one of train's, by a space, but whose block is.
    texts["test"] = [again + " ", *TEXTS["test"]]
    with pytest.warns(UserWarning, match="holds a part only"):
        _, other, duplicates = lm1b_blocks(
            write(tmp_path / "other", texts, {"train": 4, "test": 1}), tokenizer, LENGTH, tmp_path
        )
    assert duplicates == {"train": 1, "test": 1, "documents": 0}
    assert other.tolist() == expected(TEXTS["test"], tokenizer)


def test_a_corpus_of_memory_mapped_blocks(
    blocks, original, tokenizer_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("UDDM_LM1B", str(original))
    corpus = load_corpus("lm1b", LENGTH, tokenizer=str(tokenizer_folder), cache=tmp_path)
    assert (
        corpus.name == "lm1b"
        and corpus.length == LENGTH
        and corpus.vocab_size == len(corpus.tokenizer)
    )
    assert same_blocks((corpus.train, in_text_order(corpus.test), corpus.duplicates), blocks)
    assert not torch.equal(corpus.test, blocks[1])
    other = load_corpus("lm1b", LENGTH, seed=2, tokenizer=str(tokenizer_folder), cache=tmp_path)
    assert torch.equal(in_text_order(other.test, seed=2), blocks[1])
    assert corpus.scored.tolist() == [False] + [True] * (LENGTH - 2) + [False]
    (file,) = tmp_path.glob("lm1b-*/train.npy")
    assert (
        str(file) in Path("/proc/self/maps").read_text()
        if sys.platform == "linux"
        else file.exists()
    )
    large = subset(corpus, 50)
    assert torch.equal(subset(corpus, 20), large[:20]) and large.dtype == torch.int16
    index = torch.tensor([3, 0, 3])
    assert corpus.train[index].long().tolist() == [corpus.train[i].tolist() for i in index]
    corpus.train.zero_()  # a reader's change is its own
    again = load_corpus(f"lm1b:{original}", LENGTH, tokenizer=str(tokenizer_folder), cache=tmp_path)
    assert (
        same_blocks((again.train, in_text_order(again.test), again.duplicates), blocks)
        and again.name == f"lm1b:{original}"
    )


def test_without_a_cache_nothing_is_kept(blocks, original, tokenizer, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert same_blocks(lm1b_blocks(original, tokenizer, LENGTH, cache=False), blocks)
    assert not list(tmp_path.iterdir())


def test_the_cache_goes_by_content(blocks, original, tokenizer, tmp_path, monkeypatch):
    cache, copy = tmp_path / "cache", tmp_path / "copy"
    lm1b_blocks(original, tokenizer, LENGTH, cache)
    shutil.copytree(original, copy, copy_function=shutil.copyfile)
    build, built = blocks_module._build, []
    monkeypatch.setattr(
        blocks_module, "_build", lambda *arguments: built.append(arguments) or build(*arguments)
    )
    assert same_blocks(lm1b_blocks(copy, tokenizer, LENGTH, cache), blocks) and not built
    file = copy / NAMES["train"].format(1)
    times = file.stat()
    file.write_text(file.read_text().replace("Train hen", "Test eggs", 1))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not same_blocks(lm1b_blocks(copy, tokenizer, LENGTH, cache), blocks) and len(built) == 1
    assert (
        lm1b_blocks(original, tokenizer, LENGTH + 1, cache)[0].shape[1] == LENGTH + 1
        and len(built) == 2
    )
    tokenizer = load_tokenizer(tokenizer.name_or_path)
    tokenizer.bos_token = "SEP"
    assert (
        lm1b_blocks(original, tokenizer, LENGTH, cache)[0][:, 0] == tokenizer.bos_token_id
    ).all()
    assert len(built) == 3


@pytest.mark.parametrize("name", ["train.npy", "test.npy", "about.json"])
def test_a_damaged_cache_is_built_anew(blocks, original, tokenizer, tmp_path, name):
    lm1b_blocks(original, tokenizer, LENGTH, tmp_path)
    (file,) = tmp_path.glob(f"lm1b-*/{name}")
    file.write_bytes(file.read_bytes()[:-7])
    assert same_blocks(lm1b_blocks(original, tokenizer, LENGTH, tmp_path), blocks)
    file.unlink()
    assert same_blocks(lm1b_blocks(original, tokenizer, LENGTH, tmp_path), blocks)


def interrupt(*_):
    raise KeyboardInterrupt


def test_what_was_killed_is_finished_later(blocks, original, tokenizer, tmp_path, monkeypatch):
    for step in ("tokenize", "pack", "drop_repeats"):
        with monkeypatch.context() as patch:
            patch.setattr(blocks_module, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                lm1b_blocks(original, tokenizer, LENGTH, tmp_path)
    assert same_blocks(lm1b_blocks(original, tokenizer, LENGTH, tmp_path), blocks)
    assert sorted(file.name for file in tmp_path.glob("lm1b-*/*")) == [
        "about.json",
        "test.npy",
        "train.npy",
    ]
