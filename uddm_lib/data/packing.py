"""Documents as token blocks: hold some out, learn the tokens from the rest, pack, drop repeats.

Packing is the paper's. An end-of-sequence token follows each document. The stream of tokens is cut
into pieces of L - 2, each wrapped as BOS + piece + EOS; an incomplete last piece is dropped. The
test part is held out before anything is learned from the text, and no test block occurs in train.
Test blocks are shuffled at the end, so the first k of them are a sample of the test part.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from uddm_lib.data.blocks import distinct
from uddm_lib.data.corpus import subset

if TYPE_CHECKING:  # both are slow to import
    import datasets
    import tokenizers

__all__ = ["SPECIAL_TOKENS", "PackedText", "PackingJob", "quiet"]

HELD_OUT = 0.05  # share of a text's documents that make its test part
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
BOS, EOS = 0, 1  # ids of the first two
CACHE_FORMAT = 2  # to be raised when the same input gives other blocks


class PackedText(NamedTuple):
    """Blocks of a text, the tokenizer that made them, and how many duplicates were dropped.

    Training blocks are in the order of the text, test blocks are shuffled.
    """

    train: Int[Tensor, "N L"]
    test: Int[Tensor, "M L"]
    tokenizer: "tokenizers.Tokenizer"
    duplicates: dict[str, int]


@dataclass(frozen=True)
class PackingJob:
    """Everything that the blocks of a text depend on.

    Attributes:
        name: of the corpus, for messages.
        documents: texts, in order.
        length: tokens in a block, L, at least 3.
        vocab_size: number of token ids, V, at most.
        seed: of the choice of held-out documents, and of the order of their blocks.
        tokenizer: to use in place of one that is learned from the text.
        ends: token ids of BOS and EOS, by default those of a learned tokenizer.
        groups: a label for each document; documents of one label are held out together. By
            default each document is a group of its own.
    """

    name: str
    documents: Sequence[str]
    length: int
    vocab_size: int
    seed: int
    tokenizer: "tokenizers.Tokenizer | None" = None
    ends: tuple[int, int] = (BOS, EOS)
    groups: Sequence[int] | None = None

    @property
    def file_name(self) -> str:
        """Name of the file that keeps the blocks: another for every other input."""
        key: list[Any] = [CACHE_FORMAT, self.length, self.vocab_size, self.seed]
        key.append(self.documents)
        if self.tokenizer is not None:
            key += [self.tokenizer.to_str(), self.ends]
        if self.groups is not None:
            key.append(self.groups)
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return f"{self.name.partition(':')[0]}-{digest[:32]}.safetensors"

    def pack(self) -> PackedText:
        """Hold documents out, learn the tokens unless a tokenizer is given, pack, drop repeats.

        Test blocks are shuffled at the end.

        Raises:
            ValueError: if there is too little text, or ``vocab_size`` is too small for its bytes.
        """
        from datasets import Dataset

        count = len(self.documents)
        if count < 2:
            raise ValueError(
                f"corpus {self.name!r} has one document; it needs two, one a line, to hold one out"
            )
        held_out = _held_out(count, self.groups, self.seed)
        with quiet():
            corpus = Dataset.from_dict({"text": self.documents})
            test = corpus.select(held_out.nonzero()[:, 0].tolist())
            train = corpus.select((~held_out).nonzero()[:, 0].tolist())
            known = set(train["text"])
            unseen = [row for row, text in enumerate(test["text"]) if text not in known]
            test = test.select(unseen)
            tokenizer = self.tokenizer or _learn(train["text"][:], self.vocab_size)
            train_blocks, test_blocks, duplicates = distinct(
                _pack(train, tokenizer, self.length, *self.ends),
                _pack(test, tokenizer, self.length, *self.ends),
            )
        for part, documents, blocks in (
            ("training", train, train_blocks),
            ("held-out", test, test_blocks),
        ):
            if not len(blocks):
                raise ValueError(
                    f"corpus {self.name!r} is too small: its {part} part ({len(documents)} "
                    f"documents) fills no block of length {self.length}; give more text or a "
                    "smaller length"
                )
        duplicates["documents"] = int(held_out.sum()) - len(test)
        test_blocks = subset(test_blocks, "all", self.seed)
        return PackedText(train_blocks, test_blocks, tokenizer, duplicates)


@contextlib.contextmanager
def quiet(progress: bool = False) -> Iterator[None]:
    """No progress bars of ``datasets``, unless ``progress``, and no threads of ``tokenizers``.

    After threads of ``tokenizers`` ran, a later fork would warn.
    """
    import datasets

    were_hidden = datasets.are_progress_bars_disabled()
    parallelism = os.environ.pop("TOKENIZERS_PARALLELISM", None)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not progress:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_hidden:
            datasets.enable_progress_bars()
        del os.environ["TOKENIZERS_PARALLELISM"]
        if parallelism is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = parallelism


def _held_out(count: int, groups: Sequence[int] | None, seed: int) -> Bool[Tensor, "documents"]:
    """Which of ``count`` documents make the test part: a share of the groups, drawn at random."""
    group = torch.arange(count)
    if groups is not None:
        number = {label: index for index, label in enumerate(dict.fromkeys(groups))}
        group = torch.tensor([number[label] for label in groups])
    total = int(group.max()) + 1
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[order[: max(1, round(HELD_OUT * total))]] = True
    return chosen[group]


def _learn(texts: Sequence[str], vocab_size: int) -> "tokenizers.Tokenizer":
    """Byte-level BPE: the bytes that occur in ``texts``, then merges; other bytes become <unk>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special_tokens = list(SPECIAL_TOKENS.values())
    bytes_used = len(set().union(*(text.encode() for text in texts)))
    least = len(special_tokens) + bytes_used
    if vocab_size < least:
        raise ValueError(
            f"vocab_size must be at least {least} for this text, {len(special_tokens)} special "
            f"tokens and {bytes_used} different bytes; got {vocab_size}"
        )
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special_tokens, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _pack(
    documents: "datasets.Dataset",
    tokenizer: "tokenizers.Tokenizer",
    length: int,
    bos: int,
    eos: int,
) -> Int[Tensor, "B L"]:
    """Blocks of a data set with one column, ``text``."""

    def encode(batch: Mapping[str, list[str]]) -> dict[str, list[list[int]]]:
        encoded = tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
        return {"ids": [[*text.ids, eos] for text in encoded]}

    stream = torch.empty(0, dtype=torch.int64)
    if len(documents):
        # "</s>" in a text is text, not the end of a document.
        tokenizer.encode_special_tokens = True
        # With no fingerprint given, map would pickle the tokenizer to hash it; nothing is cached
        # under it.
        rows = documents.map(encode, batched=True, remove_columns="text", new_fingerprint="ids")
        tokenizer.encode_special_tokens = False
        stream = torch.tensor(rows.data.column("ids").combine_chunks().flatten().to_numpy())
    inner = length - 2
    pieces = stream[: len(stream) // inner * inner].view(-1, inner)
    with_bos = torch.nn.functional.pad(pieces, (1, 0), value=bos)
    return torch.nn.functional.pad(with_bos, (0, 1), value=eos)
