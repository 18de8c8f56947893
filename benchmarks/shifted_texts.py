"""Thirty-four kinds of unseen texts that are not of the kind of the texts in question.

All were fixed before any was measured. A kind is *strong* if a reader can tell it from a single
text, else *mild*. The test of kind is developed on one half and judged on the other.
"""

import ast
import itertools
import random
import re
import sysconfig
from collections import defaultdict
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import torch

from uddm_lib.data.bible import verses
from uddm_lib.data.packing import _held_out

BOOKS = 1_000_000  # verse 1001001 is Genesis 1:1
LAW, STORIES, OLD, ACTS = 5, 17, 39, 44  # last books of parts of the Bible
SHORTEST, LONGEST = 40, 400  # characters of a text of another source
LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE")


@cache
def held_out(translation="kjv"):
    """{number: text} of the verses that no model of the corpus ``kjv`` was trained on."""
    numbers, texts = (list(part) for part in verses(["kjv"]))
    chosen = _held_out(len(texts), None, seed=1)
    known = {text for text, is_chosen in zip(texts, chosen) if not is_chosen}
    kept = [n for n, text, is_it in zip(numbers, texts, chosen) if is_it and text not in known]
    if translation != "kjv":
        numbers, texts = verses([translation])
    by_number = dict(zip(numbers, texts))
    return {number: by_number[number] for number in kept if number in by_number}


def part(first, last, translation="kjv"):
    """Held-out verses of some books."""
    found = held_out(translation).items()
    return [text for number, text in found if first <= number // BOOKS <= last]


def halves():
    """The first half of each book, and the second one."""
    books = defaultdict(list)
    for number, text in held_out().items():
        books[number // BOOKS].append(text)
    return [
        [text for book in books.values() for text in book[cut(book)]]
        for cut in (lambda b: slice(len(b) // 2), lambda b: slice(len(b) // 2, None))
    ]


def docstrings():
    """First paragraphs of the documentation in Python's own modules."""
    found = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                found.append((ast.get_docstring(node) or "").partition("\n\n")[0])
    return _plain(found)


def code():
    """Statements of the modules of torch.nn, three lines each."""
    found = []
    for file in sorted((Path(torch.__file__).parent / "nn" / "modules").glob("*.py")):
        lines = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
        found += [" ".join(lines[i : i + 3]) for i in range(0, len(lines), 3)]
    return _plain(found)


def licences():
    """Paragraphs of the licences of the installed packages."""
    found = []
    for package in sorted(distributions(), key=lambda package: package.name.lower()):
        for file in package.files or []:
            if file.name.upper().startswith(LICENCES) and file.locate().is_file():
                found += file.locate().read_text("utf-8", errors="replace").split("\n\n")
    return _plain(found)


def _plain(texts):
    texts = dict.fromkeys(" ".join(text.split()) for text in texts)
    return [text for text in texts if SHORTEST <= len(text) <= LONGEST]


def markov_words(texts):
    """A Markov chain of words, each given the one before."""
    draw, followers = random.Random(1), defaultdict(list)
    for text in held_out().values():
        words = ["", *text.split(), ""]
        for word, after in itertools.pairwise(words):
            followers[word].append(after)
    made = []
    while len(made) < len(texts):
        words = [draw.choice(followers[""])]
        while words[-1]:
            words.append(draw.choice(followers[words[-1]]))
        made.append(" ".join(words).strip())
    return list(dict.fromkeys(made))


MODERN = {
    "unto": "to", "thou": "you", "thee": "you", "thy": "your", "thine": "your", "ye": "you",
    "hath": "has", "hast": "have", "doth": "does", "shalt": "shall", "wilt": "will", "art": "are",
    "saith": "says", "spake": "spoke", "yea": "yes", "upon": "on", "wherefore": "so",
}  # fmt: skip


def modern(text):
    """Seventeen old words in their present form."""
    return re.sub(r"[A-Za-z]+", lambda word: MODERN.get(word[0], word[0]), text)


def old_endings(text):
    """ "He giveth" becomes "he gives"."""
    return re.sub(r"(?<=[a-z]{3})eth\b", "es", text)


def each(change):
    """A function of one text and a source of chance, as one of texts."""

    def changed(texts):
        draw = random.Random(1)
        return [change(text, draw) for text in texts]

    return changed


def noise(text, draw, share=0.04):
    """One in 25 of the letters that a reader of scanned pages mixes up, which are about half."""
    alike = {"e": "c", "l": "1", "o": "0", "h": "b", "n": "ri", "t": "f", "i": "l", "s": "5"}
    return "".join(alike.get(c, c) if draw.random() < share else c for c in text)


def typos(text, draw, share=0.05):
    """Two neighbours in place of each other."""
    letters = list(text)
    for i in range(len(letters) - 1):
        if draw.random() < share:
            letters[i : i + 2] = letters[i + 1], letters[i]
    return "".join(letters)


def shuffled(text, draw):
    return " ".join(draw.sample(text.split(), len(text.split())))


def fewer_words(text, draw):
    return " ".join(word for word in text.split() if draw.random() > 0.1)


def mixed(texts, others, share=0.2):
    """The share of the texts is replaced by their counterparts."""
    step = round(1 / share)
    return [other if i % step == 0 else text for i, (text, other) in enumerate(zip(texts, others))]


def numbered(text, draw):
    return f"{draw.randint(1, 50)}:{draw.randint(1, 40)} {text}"


def joined(texts):
    return [" ".join(pair) for pair in zip(texts, texts[1:] + texts[:1])]


def first_words(text, _):
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


CHANGES = {  # name: (half, strength, what becomes of other held-out verses)
    "lower": ("development", "strong", each(lambda text, _: text.lower())),
    "upper": ("judged", "strong", each(lambda text, _: text.upper())),
    "no_punctuation": ("development", "strong", each(lambda t, _: re.sub(r"[^\w\s]", "", t))),
    "no_commas": ("judged", "mild", each(lambda text, _: text.replace(",", ""))),
    "modern": ("development", "mild", each(lambda text, _: modern(text))),
    "old_endings": ("judged", "mild", each(lambda text, _: old_endings(text))),
    "noise": ("development", "mild", each(noise)),
    "typos": ("judged", "strong", each(typos)),
    "first_words": ("development", "mild", each(first_words)),
    "joined": ("judged", "mild", joined),
    "shuffled": ("development", "strong", each(shuffled)),
    "backwards": ("judged", "strong", each(lambda text, _: " ".join(text.split()[::-1]))),
    "numbered": ("development", "strong", each(numbered)),
    "marked_up": ("judged", "strong", each(lambda text, _: f"<p>{text}</p>")),
    "fewer_words": ("development", "mild", each(fewer_words)),
    "capitals": ("judged", "strong", each(lambda text, _: text.title())),
    "markov_words": ("judged", "strong", markov_words),
}
CHOSEN = {  # name: (half, strength, which held-out verses are of the other kind)
    "lord": ("development", "mild", lambda text: "LORD" in text),
    "speech": ("judged", "mild", lambda text: re.search(r"\bsa(id|ith|ying)\b", text)),
}
SOURCES = {
    "docstrings": ("development", "strong", docstrings),
    "code": ("development", "strong", code),
    "licences": ("judged", "strong", licences),
}
TRANSLATED = {  # name: (half, strength, translation, its share of the reference)
    "asv": ("development", "mild", "asv", 1),
    "ylt": ("judged", "mild", "ylt", 1),
    "web": ("development", "mild", "web", 1),
    "nheb": ("judged", "mild", "nheb", 1),
    "fifth_web": ("development", "mild", "web", 0.2),
    "fifth_nheb": ("judged", "mild", "nheb", 0.2),
}
PARTS = {  # name: (half, strength, texts in question and others)
    "testaments": ("development", "mild", lambda: (part(1, OLD), part(OLD + 1, 66))),
    "halves": ("development", "mild", halves),
    "stories_songs": ("judged", "mild", lambda: (part(1, STORIES), part(STORIES + 1, OLD))),
    "law_history": ("judged", "mild", lambda: (part(1, LAW), part(LAW + 1, STORIES))),
    "law": ("development", "mild", lambda: (part(1, LAW), part(LAW + 1, OLD))),
    "gospels": ("judged", "mild", lambda: (part(OLD + 1, ACTS), part(1, OLD))),
}


def pools():
    """{kind: (half, strength, texts in question, unseen texts of another kind)}."""
    numbers = random.Random(1).sample(sorted(held_out()), len(held_out()))
    ours, others = numbers[::2], numbers[1::2]
    texts = [held_out()[number] for number in ours]
    rest = [held_out()[number] for number in others]
    found = {}
    for kind, (half, strength, change) in CHANGES.items():
        found[kind] = half, strength, texts, change(rest)
    for kind, (half, strength, chosen) in CHOSEN.items():
        both = [[t for t in held_out().values() if bool(chosen(t)) == is_it] for is_it in (0, 1)]
        found[kind] = half, strength, *both
    for kind, (half, strength, source) in SOURCES.items():
        found[kind] = half, strength, texts, source()
    for kind, (half, strength, translation, share) in TRANSLATED.items():
        there = held_out(translation)
        other = [there.get(number, held_out()[number]) for number in others]
        found[kind] = half, strength, texts, mixed(rest, other, share)
    for kind, (half, strength, parts) in PARTS.items():
        found[kind] = half, strength, *parts()
    return found


def one_kind():
    """{source: texts}, to be divided at random: there is no shift."""
    kinds = pools()
    verses_of = {name: list(held_out(name).values()) for name in ("kjv", "web", "ylt")}
    changed = {
        name: kinds[name][3] for name in ("noise", "shuffled", "markov_words", "first_words")
    }
    return verses_of | changed | {name: kinds[name][3] for name in SOURCES}
