"""Corpora as token blocks: a Markov chain of known entropy, Bible translations, any text, LM1B; nested subsets.

The text corpora are packed as in the paper: an end-of-sequence token after each document, the stream cut into
pieces of L - 2 tokens, each wrapped as BOS + piece + EOS; what is left, shorter than a piece, is dropped.
The test part is held out before anything is learned from the text, and no test block occurs in train.
"""

import operator
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from uddm_lib.data.bible import TRANSLATIONS, verses
from uddm_lib.data.packing import SPECIALS, check_blocks, distinct, text_blocks
from uddm_lib.data.tokenizers import load_tokenizer
from uddm_lib.results import resolve

__all__ = [
    "CORPORA",
    "Corpus",
    "chain_entropy",
    "check_blocks",
    "load_corpus",
    "load_tokenizer",
    "markov_chain",
    "subset",
]

SUCCESSORS = 4  # next states of each state of the Markov corpus
TRAIN_SEQUENCES, TEST_SEQUENCES = 16_384, 2_048  # of the Markov corpus, at most
SURPLUS = 5 / 4  # sequences drawn for each of these, to reach them after the repeats are dropped
STATES = string.ascii_uppercase + string.ascii_lowercase + string.digits + string.punctuation
STATES += "".join(map(chr, range(0x100, 0x1A2)))  # to 256 characters, one a state


@dataclass(eq=False)
class Corpus:
    """Blocks of token ids and their tokenizer; unpacks as ``train, test, tokenizer = corpus``.

    Attributes:
        name: as given to :func:`load_corpus`.
        train: (N, L) int64 token ids, no row twice, in the order of the text. Of ``lm1b`` memory-mapped, and int16 or
            int32: take the rows needed, then ``.long()``.
        test: (M, L) int64 token ids, no row twice and none that is in ``train``.
        tokenizer: ``PreTrainedTokenizerFast``; ``decode`` turns a row into text.
        scored: (L,) bool, False where packing put BOS and EOS: these are the same in every block, so metrics
            leave them out. All True for ``markov``.
        duplicates: how many were removed; ``train``: repeated blocks; ``test``: blocks that repeat or are in
            train; of text also ``documents``: held-out ones that are in the training part as well. (For
            ``markov`` a quarter more sequences are drawn than kept, and all drawn are counted.)
        entropy: of the source, nats per token, where it is known (``markov``), else None.
    """

    name: str
    train: torch.Tensor
    test: torch.Tensor
    tokenizer: Any
    scored: torch.Tensor
    duplicates: dict[str, int]
    entropy: float | None = None

    @property
    def vocab_size(self) -> int:
        """Number of token ids, V; less than asked for where a small text has no more pairs to merge."""
        return len(self.tokenizer)

    @property
    def length(self) -> int:
        """Tokens in a block, L."""
        return self.train.shape[1]

    def __iter__(self):
        return iter((self.train, self.test, self.tokenizer))


def load_corpus(name, length=None, vocab_size=None, seed=1, cache=None, tokenizer=None) -> Corpus:
    """Load a corpus. The same arguments give the same blocks in the same order.

    Args:
        name: ``markov``; ``kjv``, the King James Bible; ``bible``, that and four more translations, where a verse
            is held out in all or in none; or ``text:<path>``: a UTF-8 text file with one document a line, or a
            folder of such ``*.txt`` files (at any depth, in sorted order). Blank lines are skipped; a relative
            path is taken from the repository root. ``lm1b``, or ``lm1b:<path>`` for a local copy, is the paper's
            corpus, with its own held-out part (:func:`uddm_lib.data.lm1b.lm1b_blocks`).
        length: tokens in a block, L; by default 16 for ``markov``, 64 for text, 128 for ``lm1b``.
        vocab_size: number of token ids, V; by default 32 for ``markov``, 96 for text. Beside ``tokenizer``, and of
            ``lm1b``, it is left out, or is that tokenizer's own size.
        seed: of the chain and its sequences, or of the choice of held-out documents.
        cache: folder that keeps built text corpora, relative to the repository root, ``runs/cache`` by
            default; False keeps nothing. A damaged file there is built anew, a read-only folder ignored.
        tokenizer: of a text: a pretrained one by name or folder (see :func:`load_tokenizer`), such as
            ``bert-base-uncased`` or ``gpt2``, in place of one that is learned from the text. Of ``lm1b``:
            ``bert-base-uncased`` by default.

    Raises:
        ValueError: for an unknown name, a number out of range, a text that is empty, binary, not UTF-8, or too small
            for the blocks asked for, or a tokenizer that does not go with the corpus or with ``vocab_size``.
        OSError: if a path does not exist, or a tokenizer or LM1B is neither here nor on a hub that can be reached.
        ImportError: if packages that hold the Bible are missing; the message names them.
    """
    kind, colon, source = str(name).partition(":")
    if kind not in CORPORA or (bool(colon) != (kind == "text") and kind != "lm1b"):
        allowed = ", ".join(
            {"text": "text:<path>", "lm1b": "lm1b[:<path>]"}.get(known, known) for known in CORPORA
        )
        raise ValueError(f"corpus must be one of {allowed}; got {name!r}")
    if tokenizer is not None and kind == "markov":
        raise ValueError(
            f"tokenizer={tokenizer!r}: the tokens of corpus {name!r} are its states, it takes none"
        )
    sizes = {"length": length, "vocab_size": vocab_size}
    sizes = {key: _integer(key, value, 2) for key, value in sizes.items() if value is not None}
    return CORPORA[kind](
        name,
        source=source,
        seed=_integer("seed", seed, 0),
        cache=cache,
        tokenizer=tokenizer,
        **sizes,
    )


def subset(corpus, n, seed=1) -> torch.Tensor:
    """The first n training blocks after one shuffle: a smaller n gives a part of what a larger one gives.

    Args:
        corpus: a :class:`Corpus`, whose training blocks are taken, or blocks (N, L).
        n: number of blocks, 1 to N.
        seed: of the shuffle.

    Returns:
        (n, L), a copy, of the blocks' type.

    Raises:
        ValueError: if n is not an integer from 1 to N.
    """
    blocks = corpus.train if isinstance(corpus, Corpus) else corpus
    n = _integer("n", n, 1, len(blocks))
    order = torch.randperm(
        len(blocks), generator=torch.Generator().manual_seed(_integer("seed", seed, 0))
    )
    return blocks[order[:n].to(blocks.device)]


def markov_chain(vocab_size=32, successors=SUCCESSORS, seed=1):
    """The chain behind ``load_corpus("markov", vocab_size=vocab_size, seed=seed)``.

    Each state has ``successors`` different next states, with probabilities from Dirichlet(2, ..., 2). One of
    them is the next on a random cycle through all states, so that every state is reached from every other.

    Returns:
        The stationary distribution (V,), from which a sequence's first state is drawn, and the transition
        matrix (V, V), whose row i is the distribution of the state after i; both float64.

    Raises:
        ValueError: unless vocab_size >= 2 and 1 <= successors <= vocab_size.
    """
    return _chain(vocab_size, successors, torch.Generator().manual_seed(_integer("seed", seed, 0)))


def chain_entropy(initial, transition, length) -> float:
    """Entropy of a chain's sequences in nats: H(x^1) + sum over l = 2..``length`` of H(x^l | x^(l-1)).

    Args:
        initial: (V,) distribution of the first state.
        transition: (V, V), row i the distribution of the state after i.
        length: states in a sequence, at least 1.
    """
    state, transition = initial.double(), transition.double()
    step = torch.special.entr(transition).sum(1)
    total = torch.special.entr(state).sum()
    for _ in range(_integer("length", length, 1) - 1):
        total = total + state @ step
        state = state @ transition
    return total.item()


def _chain(vocab_size, successors, generator):
    successors = _integer("successors", successors, 1)
    vocab_size = _integer("vocab_size", vocab_size, max(2, successors))
    cycle = torch.randperm(vocab_size, generator=generator)
    priority = torch.rand(vocab_size, vocab_size, generator=generator)
    priority[cycle, cycle.roll(-1)] = (
        2.0  # above every draw: the next on the cycle is always chosen
    )
    # Dirichlet(2): sums of two exponential variables, normalised. With Dirichlet(1) some transitions are so
    # likely that over 1 % of the sequences repeat, and dropping them puts the rest off the chain's entropy.
    weights = torch.empty(2, vocab_size, successors, dtype=torch.float64).exponential_(
        generator=generator
    )
    weights = weights.sum(0)
    transition = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    transition.scatter_(
        1, priority.topk(successors).indices, weights / weights.sum(1, keepdim=True)
    )
    # The stationary distribution solves pi (P - 1) = 0 and sum pi = 1.
    one = torch.eye(vocab_size + 1, dtype=torch.float64)
    system = torch.cat(
        [transition.T - one[:-1, :-1], torch.ones(1, vocab_size, dtype=torch.float64)]
    )
    initial = torch.linalg.lstsq(system, one[:, -1:]).solution[:, 0].clamp(min=0.0)
    return initial / initial.sum(), transition


def _markov(name, source="", length=16, vocab_size=32, seed=1, cache=None, tokenizer=None):
    _integer("vocab_size", vocab_size, SUCCESSORS, len(STATES))
    generator = torch.Generator().manual_seed(seed)
    initial, transition = _chain(vocab_size, SUCCESSORS, generator)
    draws = [int(SURPLUS * TRAIN_SEQUENCES), int(SURPLUS * TEST_SEQUENCES)]
    states = [torch.multinomial(initial, sum(draws), replacement=True, generator=generator)]
    while len(states) < length:
        states.append(torch.multinomial(transition[states[-1]], 1, generator=generator)[:, 0])
    train, test, duplicates = distinct(*torch.stack(states, dim=1).split(draws))
    if not len(test):
        raise ValueError(
            f"length {length} at vocab_size {vocab_size} leaves no test sequence that is not in "
            f"train; take a greater length"
        )
    entropy = chain_entropy(initial, transition, length) / length
    scored = torch.ones(length, dtype=torch.bool)
    train, test, tokenizer = train[:TRAIN_SEQUENCES], test[:TEST_SEQUENCES], _letters(vocab_size)
    return Corpus(name, train, test, tokenizer, scored, duplicates, entropy)


def _letters(vocab_size):
    """Tokenizer of one character a state: A to Z, a to z, then digits, punctuation, accented letters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(
        models.WordLevel({state: index for index, state in enumerate(STATES[:vocab_size])})
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _wrap(tokenizer)


def _bible(name, source="", length=64, vocab_size=None, seed=1, cache=None, tokenizer=None):
    several = name == "bible"
    try:
        numbers, texts = verses(TRANSLATIONS if several else [name])
    except ImportError as error:
        raise ImportError(f"corpus {name}: {error}") from None
    # A verse that is held out is held out in every translation.
    return _text_corpus(
        name, texts, length, vocab_size, seed, cache, tokenizer, numbers if several else None
    )


def _text(name, source, length=64, vocab_size=None, seed=1, cache=None, tokenizer=None):
    if not source.strip():
        raise ValueError(
            f"corpus {name!r} lacks its path: give text:<path>, a UTF-8 file or folder"
        )
    path = resolve(source)
    if not path.exists():
        raise FileNotFoundError(f"corpus {name!r}: there is no file or folder {path}")
    files = (
        sorted(file for file in path.rglob("*.txt") if file.is_file()) if path.is_dir() else [path]
    )
    lines = [line.strip() for file in files for line in re.split(r"\r\n|\r|\n", _read(file))]
    documents = [line for line in lines if line]
    if not documents:
        reason = "is empty (blank lines do not count)" if files else "holds no *.txt file"
        raise ValueError(f"corpus {name!r}: {path} {reason}")
    return _text_corpus(name, documents, length, vocab_size, seed, cache, tokenizer)


def _read(file):
    raw = file.read_bytes()
    zero = raw.find(b"\0")
    if zero >= 0:
        raise ValueError(
            f"{file} is binary: byte {zero} (from 0) is zero; a corpus must be UTF-8 text"
        )
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not UTF-8 text: byte {error.start} (from 0) is "
            f"0x{raw[error.start]:02x}, {error.reason}; convert the file to UTF-8"
        ) from None


def _lm1b(name, source, length=128, vocab_size=None, seed=1, cache=None, tokenizer=None):
    if ":" in name and not source.strip():
        raise ValueError(f"corpus {name!r} lacks its path: give lm1b:<path>, or lm1b alone")
    _integer("length", length, 3)
    given = _given_tokenizer("bert-base-uncased" if tokenizer is None else tokenizer, vocab_size)
    from uddm_lib.data.lm1b import (
        lm1b_blocks,  # here, since importing datasets takes longer than other corpora do
    )

    train, test, duplicates = lm1b_blocks(source.strip(), given, length, cache)
    return Corpus(name, train, test, given, _inner(length), duplicates)


def _text_corpus(name, documents, length, vocab_size, seed, cache, tokenizer, groups=None):
    _integer("length", length, 3)
    if tokenizer is None:
        train, test, learned, duplicates = text_blocks(
            name, documents, length, vocab_size or 96, seed, cache, groups=groups
        )
        return Corpus(name, train, test, _wrap(learned, **SPECIALS), _inner(length), duplicates)
    given = _given_tokenizer(tokenizer, vocab_size)
    train, test, _, duplicates = text_blocks(
        name,
        documents,
        length,
        len(given),
        seed,
        cache,
        given.backend_tokenizer,
        (given.bos_token_id, given.eos_token_id),
        groups,
    )
    return Corpus(name, train, test, given, _inner(length), duplicates)


def _inner(length):
    """Mask of a packed block's positions between BOS and EOS."""
    scored = torch.ones(length, dtype=torch.bool)
    scored[[0, -1]] = False
    return scored


def _given_tokenizer(tokenizer, vocab_size):
    given = load_tokenizer(tokenizer)
    if vocab_size not in (None, len(given)):
        raise ValueError(
            f"vocab_size={vocab_size}: tokenizer {tokenizer!r} has {len(given)} tokens; "
            "leave vocab_size out"
        )
    return given


def _wrap(tokenizer, **specials):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **specials
    )


def _integer(name, value, least, most=None):
    """``value`` as an int from ``least`` to ``most``, or a ValueError that says so."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {allowed}; got {value!r}")
    return number


CORPORA: dict[str, Callable[..., Corpus]] = {
    "markov": _markov,
    "kjv": _bible,
    "bible": _bible,
    "text": _text,
    "lm1b": _lm1b,
}
