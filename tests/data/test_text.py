"""Text from files: reading, packing, the cache of packed text."""

import os
import re
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer

from helpers.corpora import has_no_repeats, in_text_order, same_corpus
from uddm_lib.data import load_corpus, packing, subset
from uddm_lib.data.documents import Documents
from uddm_lib.data.packing import PackingJob


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A text file of 390 different lines and 40 repeated ones."""
    file = tmp_path_factory.mktemp("text") / "story.txt"
    lines = [
        f"On day {day} the {'red' if day % 3 else 'grey'} hen laid {day % 7} eggs."
        for day in range(390)
    ]
    file.write_text("\n\n".join(lines + lines[:40]), encoding="utf-8")
    return file


def test_text_file(story, tmp_path):
    corpus = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path)
    assert corpus.name == f"text:{story}" and corpus.length == 16 and corpus.vocab_size == 64
    assert has_no_repeats(corpus) and corpus.duplicates["documents"] > 0
    assert "On day 0 the grey hen" in corpus.tokenizer.decode(corpus.train[:5, 1:-1].flatten())
    assert same_corpus(
        corpus, load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path)
    )
    assert same_corpus(corpus, load_corpus(f"text:{story}", length=16, vocab_size=64, cache=False))
    other = load_corpus(f"text:{story}", length=16, vocab_size=64, seed=2, cache=tmp_path)
    assert not same_corpus(corpus, other) and len(list(tmp_path.iterdir())) == 2


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A corpus, by seed, whose documents tell their place in the text."""
    file = tmp_path_factory.mktemp("text") / "numbered.txt"
    file.write_text("".join(f"Line {i} of many.\n" for i in range(10_000, 18_000)))
    return {
        seed: load_corpus(f"text:{file}", length=32, vocab_size=32, seed=seed, cache=False)
        for seed in (1, 2)
    }


def places(corpus, blocks):
    """The first number in each block."""
    texts = corpus.tokenizer.batch_decode(blocks, skip_special_tokens=True)
    return torch.tensor([int(re.search(r"\d{5}", text)[0]) for text in texts])


@pytest.mark.parametrize("seed", [1, 2])
def test_held_out_blocks_are_shuffled_with_the_seed_of_the_corpus(numbered, seed):
    corpus = numbered[seed]
    train, test = (places(corpus, blocks) for blocks in (corpus.train, corpus.test))
    assert torch.equal(train, train.sort().values)
    assert not torch.equal(test, test.sort().values)
    assert torch.equal(places(corpus, in_text_order(corpus.test, seed)), test.sort().values)
    other = in_text_order(corpus.test, 3 - seed)
    assert not torch.equal(places(corpus, other), test.sort().values)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("part", ["train", "test"])
def test_the_first_blocks_that_are_probed_are_a_sample(numbered, seed, part):
    """Their mean place is that of all, within three standard errors of a random choice."""
    corpus = numbered[seed]
    blocks = corpus.test if part == "test" else subset(corpus, "all", seed)
    where = places(corpus, blocks).double()
    for k in (16, 64):
        error = where.std() * ((1 - k / len(where)) / k) ** 0.5
        assert (where[:k].mean() - where.mean()).abs() < 3 * error


def test_a_cache_of_another_format_is_left_alone(story, tmp_path, monkeypatch):
    ask = {"length": 16, "vocab_size": 64, "cache": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(packing, "CACHE_FORMAT", packing.CACHE_FORMAT - 1)
        load_corpus(f"text:{story}", **ask)
    (old,) = tmp_path.iterdir()
    before = old.read_bytes()
    corpus = load_corpus(f"text:{story}", **ask)
    assert len(list(tmp_path.iterdir())) == 2 and old.read_bytes() == before
    assert same_corpus(corpus, load_corpus(f"text:{story}", **ask | {"cache": False}))


def test_a_cache_of_this_format_stays_valid(tmp_path):
    """With another key, every corpus that users keep would be packed anew."""
    file = tmp_path / "days.txt"
    file.write_text(
        "".join(f"On day {day} the hen </s> laid {day * day} eggs.\n" for day in range(400))
    )
    load_corpus(f"text:{file}", length=16, vocab_size=64, cache=tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [
        "text-b0417624a28c23396ad45edf40b6b319.safetensors"
    ]


def test_text_tokenizer_can_be_saved(story, tmp_path):
    corpus = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=False)
    corpus.tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == 64 and loaded.bos_token_id == 0
    assert loaded.decode(corpus.train[0]) == corpus.tokenizer.decode(corpus.train[0])


def test_packing_drops_only_the_end(tmp_path):
    file = tmp_path / "days.txt"
    file.write_text("".join(f"On day {day} the hen laid {day * day} eggs.\n" for day in range(400)))
    corpus = load_corpus(f"text:{file}", length=16, vocab_size=64, cache=False)
    wide = load_corpus(f"text:{file}", length=30, vocab_size=64, cache=False)
    assert corpus.duplicates["train"] == wide.duplicates["train"] == 0
    stream, other = (part.train[:, 1:-1].flatten() for part in (corpus, wide))
    shorter = min(len(stream), len(other))
    assert abs(len(stream) - len(other)) < 28 and torch.equal(stream[:shorter], other[:shorter])
    documents = corpus.tokenizer.decode(stream).split("</s>")
    assert all(text.startswith("On day ") and text.endswith(" eggs.") for text in documents[:-1])


def test_a_folder_is_read_in_order_and_marks_in_the_text_stay_text(tmp_path):
    (tmp_path / "b").mkdir()
    # The second file has a byte-order mark, line ends of another system and a line separator
    # inside a line.
    (tmp_path / "b" / "2.txt").write_bytes("\ufeff".encode() + "a \u2028 b\r\n \r\n".encode() * 60)
    (tmp_path / "a.txt").write_text(
        "".join(f"{line} </s>\n" for line in range(100, 200)), encoding="utf-8"
    )
    (tmp_path / "c.md").write_bytes(b"\xff\0")
    corpus = load_corpus(f"text:{tmp_path}", length=11, vocab_size=40, cache=False)
    text = corpus.tokenizer.decode(corpus.train[:, 1:-1].flatten(), skip_special_tokens=True)
    assert (
        text.startswith("10") and "</s>" in text and "a \u2028 b" in text and "\ufeff" not in text
    )
    assert text.index("</s>") < text.index("\u2028")


def test_bytes_that_were_never_learned_are_unknown(story):
    tokenizer = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=False).tokenizer
    assert tokenizer.unk_token_id in tokenizer.encode("Ω")
    assert tokenizer.unk_token_id not in tokenizer.encode("the red hen")


def test_damaged_cache_is_rebuilt(story, tmp_path, monkeypatch):
    corpus = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    for damaged in (
        b"",
        good[:-7],
        good[:200],
        b"\0" * len(good),
        good.replace(b"train", b"brain"),
    ):
        file.write_bytes(damaged)
        assert same_corpus(
            load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path), corpus
        )
        assert list(tmp_path.iterdir()) == [file]
        with monkeypatch.context() as patch:
            patch.setattr(PackingJob, "pack", None)
            again = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path)
        assert same_corpus(again, corpus)


def test_a_cache_that_cannot_be_written_costs_nothing_else(story, tmp_path):
    (tmp_path / "file").write_text("in the way")
    corpus = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path / "file")
    assert same_corpus(corpus, load_corpus(f"text:{story}", length=16, vocab_size=64, cache=False))


def test_building_leaves_the_process_as_it_was(story, monkeypatch):
    import datasets

    assert not datasets.are_progress_bars_disabled()
    for threads in (None, "true"):
        if threads:
            monkeypatch.setenv("TOKENIZERS_PARALLELISM", threads)
        else:
            monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
        load_corpus(f"text:{story}", length=16, vocab_size=64, cache=False)
        assert not datasets.are_progress_bars_disabled()
        assert os.environ.get("TOKENIZERS_PARALLELISM") == threads


def test_building_prints_nothing_and_a_fork_after_it_neither(story, tmp_path):
    code = (
        "import os, sys; from uddm_lib.data import load_corpus\n"
        "assert not {'datasets', 'transformers', 'pythonbible'} & set(sys.modules)\n"
        "corpus = load_corpus(sys.argv[1], length=16, vocab_size=64, cache=sys.argv[2])\n"
        "if os.fork() == 0:\n    corpus.tokenizer(['a hen', 'an egg'])\n    os._exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    unset = ("TOKENIZERS_PARALLELISM", "HF_HOME", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    home = tmp_path / "home"
    home.mkdir()
    command = [
        sys.executable,
        "-W",
        "error::UserWarning",
        "-W",  # from Python 3.12 on, of every fork: torch has threads
        "ignore:This process:DeprecationWarning",
        "-c",
        code,
        f"text:{story}",
        str(tmp_path),
    ]
    environment["HOME"] = str(home)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(home.iterdir())


def test_groups_are_held_out_together():
    texts = [
        f"Verse {verse} says {verse * verse} in translation {name}."
        for name in "abcd"
        for verse in range(200)
    ]
    texts = Documents.of_texts(texts)
    groups = [verse for _ in range(4) for verse in range(200)]
    train, test, tokenizer, duplicates = PackingJob("x", texts, 12, 64, 1, groups=groups).pack()

    def verses_of(blocks):  # a piece of the stream begins and ends anywhere
        found = tokenizer.decode(
            blocks[:, 1:-1].flatten().tolist(), skip_special_tokens=False
        ).split("</s>")[1:-1]
        return [int(text.split()[1]) for text in found]

    held_out, learned = verses_of(in_text_order(test)), verses_of(train)
    assert (
        set(held_out).isdisjoint(learned) and 8 <= len(set(held_out)) <= 10 and len(held_out) >= 36
    )
    assert duplicates["documents"] == 0
    alone = PackingJob("x", texts, 12, 64, 1).pack()
    assert torch.equal(PackingJob("x", texts, 12, 64, 1, groups=range(800)).pack().train, alone[0])


@pytest.mark.parametrize(
    "content, options, error, message",
    [
        (None, {}, FileNotFoundError, "no file or folder .*bad.txt"),
        (b"", {}, ValueError, "bad.txt is empty"),
        (b" \n\n\t\n", {}, ValueError, "bad.txt is empty"),
        (b"some text\0and more", {}, ValueError, "bad.txt, line 1: a zero byte"),
        (b"one line only", {}, ValueError, "too small: its .* part"),
        (b"a hen\nan egg\n", {}, ValueError, "too small: its .* part"),
        (b"the same line\n" * 90, {"length": 4}, ValueError, "too small: its held-out part"),
        (
            b"a b c d e\n" * 9,
            {"vocab_size": 8},
            ValueError,
            "vocab_size must be at least 9 for this text",
        ),
        (
            b"a hen\nan egg\n",
            {"length": 2},
            ValueError,
            "length=2 is not an integer of at least 3",
        ),
    ],
)
def test_bad_text(tmp_path, content, options, error, message):
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(error, match=message):
        load_corpus(f"text:{tmp_path / 'bad.txt'}", cache=tmp_path / "cache", **options)
    assert not (tmp_path / "cache").exists()


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match=r"holds no file \*.txt"):
        load_corpus(f"text:{tmp_path}")
    with pytest.raises(ValueError, match="lacks its path"):
        load_corpus("text:")
    (tmp_path / "good.txt").write_text("a hen\n" * 9)
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\0")
    with pytest.raises(
        ValueError, match="picture.txt, line 1: a zero byte|picture.txt, line 1.*0x89"
    ):
        load_corpus(f"text:{tmp_path}")
