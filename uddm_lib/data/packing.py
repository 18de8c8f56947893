"""Text as token blocks: hold out documents, learn a byte-level BPE from the rest (or take a tokenizer that is given),
pack, drop repeats, keep a cache.

Packing is the paper's: an end-of-sequence token after each document, the stream cut into pieces of L - 2
tokens, each wrapped as BOS + piece + EOS; what is left, shorter than a piece, is dropped.
"""

import contextlib
import hashlib
import json
import os

import torch
from safetensors import safe_open
from safetensors.torch import save as serialize

from uddm_lib.results import atomic_write, resolve

__all__ = ["SPECIALS", "check_blocks", "distinct", "quiet", "text_blocks"]

HELD_OUT = 0.05  # share of a text's documents that make its test part
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
BOS, EOS = 0, 1  # ids of the first two
CACHE = "runs/cache"
CACHE_FORMAT = 1  # to be raised when the same input gives other blocks


def text_blocks(
    name,
    documents,
    length,
    vocab_size,
    seed,
    cache=None,
    tokenizer=None,
    ends=(BOS, EOS),
    groups=None,
):
    """Blocks of a list of documents, from the cache where the same was built before.

    Args:
        name: of the corpus, for messages.
        documents: texts, in order.
        length: tokens in a block, L, at least 3.
        vocab_size: number of token ids asked for.
        seed: of the choice of held-out documents.
        cache: folder of the cache, ``runs/cache`` by default; False keeps nothing.
        tokenizer: a ``tokenizers.Tokenizer`` to use in place of one that is learned from the text.
        ends: token ids of BOS and EOS, those of a learned tokenizer by default.
        groups: a label for each document; documents of one label are held out together. By default each by itself.

    Returns:
        train (N, L), test (M, L), a ``tokenizers.Tokenizer``, and the numbers of duplicates that were dropped.

    Raises:
        ValueError: if there is too little text, or ``vocab_size`` is too small for its bytes.
    """
    if cache is False:
        return _build(name, documents, length, vocab_size, seed, tokenizer, ends, groups)
    given = [] if tokenizer is None else [tokenizer.to_str(), ends]
    given += [] if groups is None else [groups]
    key = json.dumps([CACHE_FORMAT, length, vocab_size, seed, documents, *given]).encode()
    file = f"{name.partition(':')[0]}-{hashlib.sha256(key).hexdigest()[:32]}.safetensors"
    path = resolve(CACHE if cache is None else cache) / file
    built = _read_cache(path, length)
    if built is None:
        built = _build(name, documents, length, vocab_size, seed, tokenizer, ends, groups)
        _write_cache(path, *built)
    return built


def check_blocks(blocks, vocab_size):
    """Make sure that ``blocks`` is a (B, L) tensor of integers from 0 to ``vocab_size`` - 1.

    Raises:
        ValueError: if not; the message names the first token id outside, and where it stands.
    """
    if not isinstance(blocks, torch.Tensor) or blocks.ndim != 2:
        found = (
            f"shape {tuple(blocks.shape)}"
            if isinstance(blocks, torch.Tensor)
            else type(blocks).__name__
        )
        raise ValueError(f"token blocks must be a tensor of shape (B, L); got {found}")
    if blocks.dtype == torch.bool or blocks.is_floating_point() or blocks.is_complex():
        raise ValueError(f"token blocks must hold integers; got {blocks.dtype}")
    low, high = (
        blocks.aminmax() if blocks.numel() else (0, 0)
    )  # nothing of the size of the blocks is made
    if low < 0 or high >= vocab_size:
        row, column = ((blocks < 0) | (blocks >= vocab_size)).nonzero()[0].tolist()
        raise ValueError(
            f"token id {blocks[row, column].item()} (block {row}, position {column}) is outside "
            f"the vocabulary; allowed are 0 to {vocab_size - 1}"
        )


def distinct(train, test):
    """Drop repeats.

    Args:
        train, test: blocks (N, L) and (M, L).

    Returns:
        Both without repeated rows, test also without rows that train has, in order; and how many were dropped.
    """
    _, group = torch.unique(torch.cat([train, test]), dim=0, return_inverse=True)
    index = torch.arange(len(group))
    first = torch.full_like(index, len(group)).scatter_reduce(0, group, index, "amin")
    kept_train, kept_test = (first[group] == index).split([len(train), len(test)])
    duplicates = {"train": int((~kept_train).sum()), "test": int((~kept_test).sum())}
    return train[kept_train], test[kept_test], duplicates


def _build(name, documents, length, vocab_size, seed, tokenizer, ends, groups):
    """Hold out, learn the tokens if need be, pack: train (N, L), test (M, L), the tokenizer, duplicates."""
    from datasets import Dataset

    if len(documents) < 2:
        raise ValueError(
            f"corpus {name!r} has one document; it needs two, one a line, to hold one out"
        )
    held_out = _held_out(len(documents), groups, seed)
    with quiet():
        corpus = Dataset.from_dict({"text": documents})
        test = corpus.select(held_out.nonzero()[:, 0].tolist())
        train = corpus.select((~held_out).nonzero()[:, 0].tolist())  # the running text, with gaps
        known = set(train["text"])
        test = test.select([row for row, text in enumerate(test["text"]) if text not in known])
        tokenizer = tokenizer or _learn(train["text"][:], vocab_size)
        parts = {"training": train, "held-out": test}
        *blocks, duplicates = distinct(
            *(_pack(part, tokenizer, length, *ends) for part in parts.values())
        )
    for (part, texts), found in zip(parts.items(), blocks, strict=True):
        if not len(found):
            raise ValueError(
                f"corpus {name!r} is too small: its {part} part ({len(texts)} documents) fills "
                f"no block of length {length}; give more text or a smaller length"
            )
    return *blocks, tokenizer, duplicates | {"documents": int(held_out.sum()) - len(test)}


def _held_out(count, groups, seed):
    """Which of ``count`` documents make the test part, (count,) bool: a share of the groups, drawn at random."""
    group = torch.arange(count)
    if groups is not None:
        number = {label: index for index, label in enumerate(dict.fromkeys(groups))}
        group = torch.tensor([number[label] for label in groups])
    total = int(group.max()) + 1
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[order[: max(1, round(HELD_OUT * total))]] = True
    return chosen[group]


def _learn(texts, vocab_size):
    """Byte-level BPE: the bytes that occur in ``texts``, then merges; other bytes become <unk>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    specials = list(SPECIALS.values())
    least = len(specials) + len(set().union(*(text.encode() for text in texts)))
    if vocab_size < least:
        raise ValueError(
            f"vocab_size must be at least {least} for this text, {len(specials)} special tokens "
            f"and {least - len(specials)} different bytes; got {vocab_size}"
        )
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _pack(documents, tokenizer, length, bos, eos):
    """Blocks (B, L) of a ``Dataset`` with one column, ``text``."""

    def encode(batch):
        encoded = tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
        return {"ids": [[*text.ids, eos] for text in encoded]}

    stream = torch.empty(0, dtype=torch.int64)
    if len(documents):
        tokenizer.encode_special_tokens = (
            True  # "</s>" in a text is text, not the end of a document
        )
        # With no fingerprint given, map would pickle the tokenizer to hash it; nothing is cached under it.
        rows = documents.map(encode, batched=True, remove_columns="text", new_fingerprint="ids")
        tokenizer.encode_special_tokens = False
        stream = torch.tensor(rows.data.column("ids").combine_chunks().flatten().to_numpy())
    pieces = stream[: len(stream) // (length - 2) * (length - 2)].view(-1, length - 2)
    return torch.nn.functional.pad(
        torch.nn.functional.pad(pieces, (1, 0), value=bos), (0, 1), value=eos
    )


def _read_cache(path, length):
    """What :func:`_write_cache` wrote, or None where there is nothing or something else."""
    from tokenizers import Tokenizer

    try:
        with safe_open(path, framework="pt") as file:
            train, test = file.get_tensor("train").long(), file.get_tensor("test").long()
            metadata = file.metadata()
        tokenizer = Tokenizer.from_str(metadata["tokenizer"])
        for part in (train, test):
            check_blocks(part, tokenizer.get_vocab_size())
            if part.shape[1] != length or not len(part):
                return None
        return train, test, tokenizer, json.loads(metadata["duplicates"])
    except Exception:  # damage shows in any way, and tokenizers raises bare exceptions: built anew
        return None


def _write_cache(path, train, test, tokenizer, duplicates):
    """Blocks and tokenizer in one file, so that one rename makes both appear, whichever process is first."""
    metadata = {"tokenizer": tokenizer.to_str(), "duplicates": json.dumps(duplicates)}
    with contextlib.suppress(
        OSError
    ):  # a full or read-only disk costs the next process time, nothing else
        atomic_write(path, serialize({"train": train.int(), "test": test.int()}, metadata))


@contextlib.contextmanager
def quiet(progress=False):
    """No progress bars of ``datasets``, unless ``progress``, and no threads of ``tokenizers``: a later fork would warn
    of them.
    """
    import datasets

    hidden, threads = (
        datasets.are_progress_bars_disabled(),
        os.environ.pop("TOKENIZERS_PARALLELISM", None),
    )
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not progress:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()
        del os.environ["TOKENIZERS_PARALLELISM"]
        if threads is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = threads
