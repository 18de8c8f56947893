"""A corpus, what is asked of one, and nested subsets of its training blocks."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from uddm_lib._checks import integer
from uddm_lib.data.blocks import have_run_in
from uddm_lib.data.tokenizers import vocabulary_size

if TYPE_CHECKING:
    import transformers  # slow to import, so left to those who make a tokenizer

__all__ = ["Corpus", "CorpusRequest", "subset"]


@dataclass(eq=False)
class Corpus:
    """Blocks of token ids, and the tokenizer that made them.

    Attributes:
        name: as given to :func:`uddm_lib.data.load_corpus`.
        train: (N, L) int64 token ids without repeated rows, in the order of the text. The blocks
            of ``lm1b`` and of texts beyond 67 million tokens are memory-mapped, of type int16 or
            int32: take rows, then ``.long()``.
        test: (M, L) int64 token ids without repeated rows and without rows of ``train``. They are
            shuffled with the seed of the corpus, so the first k are a sample of the test part, the
            same for all runs. (The sequences of ``markov`` are drawn independently.)
        tokenizer: ``decode`` turns a row into text.
        scored: (L,) bool, False where packing put BOS and EOS. These are the same in every block,
            so metrics leave them out. All True for ``markov``.
        duplicates: how many duplicates were removed. ``train``: repeated blocks. ``test``: blocks
            that repeat or are in train. ``documents``, for text: held-out documents that are in
            the training part as well. (For ``markov`` a quarter more sequences are drawn than are
            kept; duplicates are counted among all that are drawn.)
        entropy: of the source, in nats per token, where it is known (``markov``), else None.
    """

    name: str
    train: Int[Tensor, "N L"]
    test: Int[Tensor, "M L"]
    tokenizer: "transformers.PreTrainedTokenizerFast"
    scored: Bool[Tensor, "L"]
    duplicates: dict[str, int]
    entropy: float | None = None

    @property
    def vocab_size(self) -> int:
        """Number of token ids, V; a small text may give fewer than were asked for."""
        return vocabulary_size(self.tokenizer)

    @property
    def length(self) -> int:
        """Tokens in a block, L."""
        return self.train.shape[1]

    def near_duplicates(self, run: int | None = None, sample: int = 2048) -> float:
        """Share of test blocks with ``run`` tokens in a row that the training part has, too.

        Args:
            run: number of tokens, by default half of those that are scored.
            sample: how many test blocks are looked at, the first ones.
        """
        scored = int(self.scored.sum())
        run = integer("run", max(1, scored // 2) if run is None else run, 1, scored)
        test = self.test[:sample][:, self.scored]
        return have_run_in(self.train[:, self.scored], test, run).double().mean().item()


@dataclass(frozen=True)
class CorpusRequest:
    """The arguments of :func:`uddm_lib.data.load_corpus`, checked; None stands for a default.

    Attributes:
        name: as given, such as ``text:book.txt``.
        source: the path in the name, or "" where there is none.
        length: tokens in a block, L.
        vocab_size: number of token ids, V.
        seed: of everything that is drawn.
        cache: folder that keeps packed text; False keeps nothing.
        tokenizer: name or folder of a pretrained tokenizer.
        progress: show progress bars while a text is packed; False: only on a terminal.
    """

    name: str
    source: str = ""
    length: int | None = None
    vocab_size: int | None = None
    seed: int = 1
    cache: str | Path | Literal[False] | None = None
    tokenizer: str | Path | None = None
    progress: bool = False


def subset(
    corpus: Corpus | Int[Tensor, "N L"], n: int | Literal["all"], seed: int = 1
) -> Int[Tensor, "n L"]:
    """The first n training blocks after a shuffle: smaller subsets are parts of larger ones.

    Args:
        corpus: a :class:`Corpus`, whose training blocks are taken, or blocks (N, L).
        n: number of blocks, 1 to N, or "all".
        seed: of the shuffle.

    Returns:
        A copy (n, L), of the blocks' type.

    Raises:
        ValueError: if n is neither "all" nor an integer from 1 to N.
    """
    blocks = corpus.train if isinstance(corpus, Corpus) else corpus
    count = len(blocks) if n == "all" else integer("n", n, 1, len(blocks))
    generator = torch.Generator().manual_seed(integer("seed", seed, 0))
    order = torch.randperm(len(blocks), generator=generator)
    return blocks[order[:count].to(blocks.device)]
