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
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from uddm_lib.data.blocks import cut, distinct
from uddm_lib.data.corpus import subset
from uddm_lib.data.documents import Documents, Part

if TYPE_CHECKING:
    import tokenizers  # slow to import

__all__ = ["SPECIAL_TOKENS", "PackedText", "PackingJob", "quiet"]

HELD_OUT = 0.05  # share of a text's documents that make its test part
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
BOS, EOS = 0, 1  # ids of the first two
CACHE_FORMAT = 2  # to be raised when the same input gives other blocks
CHARACTERS_AT_ONCE = 2**18  # bounds the memory that tokenizing takes
BYTES_IN_MEMORY = 2**28  # of blocks; more are mapped to a file
LONGEST_WORD = 256  # bytes; learning merges takes the square of a word's length


class PackedText(NamedTuple):
    """Blocks of a text, the tokenizer that made them, and how many duplicates were dropped.

    Training blocks are in the order of the text, test blocks are shuffled. Both are int32. Many
    training blocks are mapped to a file.
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
        documents: in order.
        length: tokens in a block, L, at least 3.
        vocab_size: number of token ids, V, at most.
        seed: of the choice of held-out documents, and of the order of their blocks.
        tokenizer: to use in place of one that is learned from the text.
        ends: token ids of BOS and EOS, by default those of a learned tokenizer.
        groups: a label for each document; documents of one label are held out together. By
            default each document is a group of its own.
        progress: show progress bars; by default only on a terminal.
    """

    name: str
    documents: Documents
    length: int
    vocab_size: int
    seed: int
    tokenizer: "tokenizers.Tokenizer | None" = None
    ends: tuple[int, int] = (BOS, EOS)
    groups: Sequence[int] | None = None
    progress: bool = False

    @cached_property
    def is_cut(self) -> bool:
        """Whether the end of the text is held out: there are too few documents to choose some."""
        return self.documents.survey.documents < 1 / HELD_OUT

    @property
    def file_name(self) -> str:
        """Name of the file that keeps the blocks: another for every other input."""
        key: list[Any] = [CACHE_FORMAT, self.length, self.vocab_size, self.seed]
        rest: list[Any] = []
        if self.tokenizer is not None:
            rest += [self.tokenizer.to_str(), self.ends]
        if self.groups is not None:
            rest.append(self.groups)
        if self.is_cut:
            rest.append("its end is held out")
        # As json.dumps writes [*key, documents, *rest], without holding all documents.
        sha256 = hashlib.sha256(f"{json.dumps(key)[:-1]}, ".encode())
        before = '["'
        for text, ends in self.documents:
            sha256.update(f"{before}{json.dumps(text)[1:-1]}".encode())
            before = '", "' if ends else ""
        sha256.update("".join(['"]', *(f", {json.dumps(item)}" for item in rest), "]"]).encode())
        return f"{self.name.partition(':')[0]}-{sha256.hexdigest()[:32]}.safetensors"

    def pack(self, folder: Path | None = None) -> PackedText:
        """Hold documents out, learn the tokens unless a tokenizer is given, pack, drop repeats.

        Test blocks are shuffled at the end.

        Args:
            folder: for a temporary file, if there are many blocks; by default the system's.

        Raises:
            ValueError: if there is too little text, or ``vocab_size`` is too small for its bytes.
        """
        with _one_thread():
            learned = self.tokenizer or _learn(
                self._shown("learning tokens", self._part(test=False)), self.vocab_size
            )
            unseen, known = self._unseen()
            parts = [
                _pack(self._shown(what, documents), learned, self.length, *self.ends, folder)
                for what, documents in (
                    ("packing", self._part(test=False)),
                    ("packing, held out", iter(unseen)),
                )
            ]
        train, test, duplicates = distinct(*parts)
        for part, blocks in (("training", train), ("held-out", test)):
            if not len(blocks):
                count, size, _ = self.documents.survey
                raise ValueError(
                    f"corpus {self.name!r} is too small: its {part} part fills no block of length "
                    f"{self.length} (documents: {count:,}, characters: {size:,}); give more text "
                    "or a smaller length"
                )
        duplicates["documents"] = known
        return PackedText(train, subset(test, "all", self.seed), learned, duplicates)

    def _part(self, test: bool) -> Iterator[Part]:
        """Documents of the held-out part, or the others, in parts."""
        count, size, _ = self.documents.survey
        if self.is_cut:
            start = size - round(HELD_OUT * size)  # of the held-out end
            for text, ends in self.documents:
                at = min(max(start, 0), len(text))
                if 0 < at < len(text):
                    at = text.rfind(" ", 0, at) + 1 or at
                start -= len(text)
                if piece := text[at:] if test else text[:at]:
                    yield piece, ends and (test or at == len(text))
            return
        held_out = iter(_held_out(count, self.groups, self.seed).tolist())
        is_chosen = next(held_out)
        for part in self.documents:
            if is_chosen == test:
                yield part
            if part[1]:
                is_chosen = next(held_out, None)

    def _unseen(self) -> tuple[list[Part], int]:
        """The held-out documents that are not in the training part, and how many are."""
        test = list(_whole(self._part(test=True)))
        wanted = {digest for digest, _ in test}
        known = wanted.intersection(digest for digest, _ in _whole(self._part(test=False)))
        unseen = [part for digest, parts in test if digest not in known for part in parts]
        return unseen, sum(digest in known for digest, _ in test)

    def _shown(self, what: str, parts: Iterator[Part]) -> Iterator[list[Part]]:
        """Parts in batches, with a progress bar."""
        from tqdm import tqdm

        bar = tqdm(
            desc=f"{self.name}: {what}",
            total=self.documents.survey.characters,
            unit="characters",
            unit_scale=True,
            disable=None if not self.progress else False,
            delay=2,
        )
        with bar:
            batch: list[Part] = []
            size = 0
            for part in parts:
                batch.append(part)
                size += len(part[0])
                if size >= CHARACTERS_AT_ONCE:
                    yield batch
                    bar.update(size)
                    batch, size = [], 0
            yield batch


@contextlib.contextmanager
def quiet(progress: bool = False) -> Iterator[None]:
    """No progress bars of ``datasets``, unless ``progress``, and no threads of ``tokenizers``."""
    import datasets

    were_hidden = datasets.are_progress_bars_disabled()
    if not progress:
        datasets.disable_progress_bars()
    try:
        with _one_thread():
            yield
    finally:
        if not were_hidden:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """No threads of ``tokenizers``: after they ran, a later fork would warn."""
    parallelism = os.environ.pop("TOKENIZERS_PARALLELISM", None)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
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


def _whole(parts: Iterable[Part]) -> Iterator[tuple[bytes, list[Part]]]:
    """A digest of each document, and its parts."""
    digest, kept = hashlib.blake2b(digest_size=16), []
    for text, ends in parts:
        digest.update(text.encode())
        kept.append((text, ends))
        if ends:
            yield digest.digest(), kept
            digest, kept = hashlib.blake2b(digest_size=16), []
    if kept:  # the text was cut within a document
        yield digest.digest(), kept


def _learn(batches: Iterable[list[Part]], vocab_size: int) -> "tokenizers.Tokenizer":
    """Byte-level BPE: the bytes that occur in a text, then merges; other bytes become <unk>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet: set[str] = set()

    def texts() -> Iterator[list[str]]:
        for batch in batches:
            alphabet.update(*(text for text, _ in batch))
            yield [text for text, _ in batch]

    special_tokens = list(SPECIAL_TOKENS.values())
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.FixedLength(LONGEST_WORD)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special_tokens, show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.pre_tokenizer = words
    bytes_used = len(set("".join(alphabet).encode()))
    least = len(special_tokens) + bytes_used
    if vocab_size < least:
        raise ValueError(
            f"vocab_size must be at least {least} for this text, {len(special_tokens)} special "
            f"tokens and {bytes_used} different bytes; got {vocab_size}"
        )
    return tokenizer


def _pack(
    batches: Iterable[list[Part]],
    tokenizer: "tokenizers.Tokenizer",
    length: int,
    bos: int,
    eos: int,
    folder: Path | None,
) -> Int[Tensor, "B L"]:
    """Blocks of documents, int32. Many are mapped to a temporary file, without a name."""
    count = 0
    rest = np.empty(0, np.int32)
    # "</s>" in a text is text, not the end of a document.
    tokenizer.encode_special_tokens = True
    place = str(folder) if folder else None
    with tempfile.SpooledTemporaryFile(BYTES_IN_MEMORY, dir=place) as file:
        for batch in batches:
            ids = []
            texts = [text for text, _ in batch]
            encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for text, (_, ends) in zip(encoded, batch):
                ids += text.ids
                if ends:
                    ids.append(eos)
            stream = np.concatenate([rest, np.array(ids, np.int32)])
            blocks, rest = cut(stream, length, bos, eos)
            count += len(blocks)
            file.write(blocks.data)
        tokenizer.encode_special_tokens = False
        shape = (count, length)
        if file.tell() > BYTES_IN_MEMORY:
            file.flush()
            return torch.from_numpy(np.memmap(file, np.int32, "r+", shape=shape))
        file.seek(0)
        return torch.from_numpy(np.frombuffer(bytearray(file.read()), np.int32).reshape(shape))
