"""All corpora by name, and :func:`load_corpus`.

To add a corpus:

1. Write a module beside this one with a function ``load(request) -> Corpus``. A
   :class:`~uddm_lib.data.corpus.CorpusRequest` holds the arguments of :func:`load_corpus`.
   If you have a list of documents, :func:`uddm_lib.data.text.corpus_of_documents` does the rest,
   as in ``bible.py``. ``markov.py`` shows a corpus that is computed.
2. Add the function to :data:`CORPORA` under the corpus's name.
3. If a path may follow the name, as in ``text:<path>``, add how it is written to :data:`PATHS`.
4. Describe the corpus in the docstring of :func:`load_corpus`, and test it in ``tests/data``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from uddm_lib._checks import integer
from uddm_lib.data import bible, lm1b, markov, text
from uddm_lib.data.corpus import Corpus, CorpusRequest

__all__ = ["CORPORA", "load_corpus"]

CORPORA: dict[str, Callable[[CorpusRequest], Corpus]] = {
    "markov": markov.load,
    "kjv": bible.load,
    "bible": bible.load,
    "text": text.load,
    "lm1b": lm1b.load,
}
PATHS = {"text": "text:<path>", "lm1b": "lm1b[:<path>]"}  # names that a path may follow


def load_corpus(
    name: str,
    length: int | None = None,
    vocab_size: int | None = None,
    seed: int = 1,
    cache: str | Path | Literal[False] | None = None,
    tokenizer: str | Path | None = None,
    progress: bool = False,
) -> Corpus:
    """Load a corpus. The same arguments give the same blocks in the same order.

    A relative path (of a text, of LM1B, of a tokenizer) is looked up in the working directory
    first. What does not exist there is looked up in the root of the repository, if the package or
    the working directory is in a checkout.

    Args:
        name: one of

            - ``markov``: sequences of a Markov chain of known entropy;
            - ``kjv``: the King James Bible;
            - ``bible``: the King James Bible and four more translations. A verse is held out in
              all translations or in none;
            - ``text:<path>``: a file, or a folder of files (at any depth, in sorted order). In
              plain text a document is a line, or a paragraph where lines are wrapped.
              ``text:<path>#line``, ``#paragraph``, ``#file`` and ``#fasta`` choose. In JSON Lines
              and Parquet it is a row of the column ``text``; ``text:<path>#<column>`` names
              another. See ``docs/your-own-text.md``;
            - ``lm1b`` or, for a local copy, ``lm1b:<path>``: the paper's corpus, with its own
              held-out part (see :func:`uddm_lib.data.lm1b.mapped_blocks.lm1b_blocks`).
        length: tokens in a block, L; by default 16 for ``markov``, 64 for text, 128 for ``lm1b``.
            A text of fewer than 32,000 characters has shorter blocks by default.
        vocab_size: number of token ids, V; by default 32 for ``markov``, 96 for text. The default
            of ``text`` is larger for many scripts, up to 512. It is smaller for at most 32 letters
            without a space, where each is a token. With a given ``tokenizer``, and for ``lm1b``,
            leave it out or give the tokenizer's own size.
        seed: of the chain and its sequences, or of the choice of held-out documents and the order
            of their blocks; for ``lm1b``, of that order alone.
        cache: folder that keeps packed text; False keeps nothing. By default ``runs/cache`` in a
            checkout, and ``uddm_lib`` in the assets cache of the Hugging Face hub elsewhere, which
            the environment variables ``HF_HOME`` and ``HF_ASSETS_CACHE`` move. A relative path is
            taken from the repository root, or from the working directory outside a checkout.
            Damaged files are made anew. For a text, a folder that can't be written is ignored.
        tokenizer: name or folder of a pretrained tokenizer, such as ``bert-base-uncased`` or
            ``gpt2`` (see :func:`load_tokenizer`). By default a text's tokens are learned from the
            text, and ``lm1b`` uses ``bert-base-uncased``. ``markov`` takes none.
        progress: show progress bars while a text is packed, also where there is no terminal.

    Raises:
        ValueError: for an unknown name or a number out of range; for a text that is empty, binary,
            not UTF-8, damaged or too small; for a tokenizer that does not fit the corpus or
            ``vocab_size``.
        OSError: if a path does not exist, or if a tokenizer or LM1B is neither on this machine nor
            on a hub that can be reached.
        ImportError: if packages that hold the Bible are missing; the message names them.
    """
    kind, colon, source = str(name).partition(":")
    if kind not in CORPORA or (colon and kind not in PATHS):
        allowed = ", ".join(PATHS.get(known, known) for known in CORPORA)
        raise ValueError(f"corpus must be one of {allowed}; got {name!r}")
    if colon and not source.strip():
        raise ValueError(f"corpus {name!r} lacks its path: give {PATHS[kind]}")
    request = CorpusRequest(
        name=name,
        source=source.strip(),
        length=None if length is None else integer("length", length, 2),
        vocab_size=None if vocab_size is None else integer("vocab_size", vocab_size, 2),
        seed=integer("seed", seed, 0),
        cache=cache,
        tokenizer=tokenizer,
        progress=progress,
    )
    return CORPORA[kind](request)
