"""The passage of a training text that is nearest to a sequence of tokens."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib import _checks

__all__ = ["MEASURE", "nearest_passages"]

CHUNK = 2**16  # tokens of the training text that are compared at once
MEASURE = (
    "overlap: the share of its tokens that a passage of the training text has at the same places, "
    "wherever the passage begins; the nearest is the passage that shares most"
)


def nearest_passages(
    sequences: Sequence[Int[Tensor, "_"]],
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerBase,
    chunk: int = CHUNK,
) -> pd.DataFrame:
    """The passage of a training text that shares most tokens with a sequence, at the same places.

    The texts are taken as one stream of tokens, in which EOS, where the tokenizer has it, follows
    each text. Passages of the sequence's length that begin at any token are compared with it, so
    it does not matter how training cut the texts. A token more or less moves all that follows it.
    The time is that of (tokens of the texts) x (tokens of all sequences) comparisons.

    Args:
        sequences: tokens, without those that packing puts at the ends of a block.
        texts: of the training set, of which one is held in memory at a time.
        tokenizer: the model's.
        chunk: tokens of the texts that are compared at once.

    Returns:
        A table with a row a sequence: ``text``, what it says, ``overlap``, in [0, 1], and
        ``nearest``, the passage as text.

    Raises:
        ValueError: if there is no text, or ``chunk`` is not a positive integer.
    """
    wanted = [sequence.cpu().numpy() for sequence in sequences]
    longest = max(map(len, wanted))
    best = np.zeros(len(wanted), np.int64)
    passages = [np.empty(0, np.int32) for _ in wanted]
    tail = np.full(longest, -1, np.int32)  # a passage may hang over both ends of the stream
    for part in _streamed(texts, tokenizer, _checks.positive_integer("chunk", chunk), longest):
        stream = np.concatenate([tail, part])
        for i, tokens in enumerate(wanted):
            equal = np.zeros(len(stream) - len(tokens) + 1, np.int32)
            for place, token in enumerate(tokens):
                equal += stream[place : place + len(equal)] == token
            at = int(equal.argmax())
            if equal[at] > best[i]:
                best[i], passages[i] = equal[at], stream[at : at + len(tokens)].copy()
        tail = stream[len(stream) - longest :]
    return pd.DataFrame(
        {
            "text": [_said(tokenizer, tokens) for tokens in wanted],
            "overlap": best / np.array([len(tokens) for tokens in wanted]),
            "nearest": [_said(tokenizer, tokens) for tokens in passages],
        }
    )


def _said(tokenizer: PreTrainedTokenizerBase, tokens: Int[np.ndarray, "_"]) -> str:
    return str(tokenizer.decode(tokens[tokens >= 0].tolist()))


def _streamed(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, chunk: int, longest: int
) -> Iterator[Int[np.ndarray, "_"]]:
    """The tokens of texts in parts of at most ``chunk``, and tokens of no text after the last."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids: list[int] = []
    count = 0
    for text in texts:
        count += 1
        ids += [*tokenizer(text, add_special_tokens=False)["input_ids"], *end]
        if len(ids) >= chunk:
            whole = len(ids) // chunk * chunk
            for start in range(0, whole, chunk):
                yield np.array(ids[start : start + chunk], np.int32)
            ids = ids[whole:]
    if not count:
        raise ValueError("training holds no text; at least one is needed")
    yield np.array([*ids, *[-1] * longest], np.int32)
