"""Texts as the blocks that a model takes: each by itself, or one after the other."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib.data import vocabulary_size
from uddm_lib.denoiser import Denoiser

__all__ = ["blocks_of_text", "check_tokenizer", "ends_and_room", "packed"]


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, denoiser: Denoiser) -> None:
    """Refuse another model's tokenizer.

    Raises:
        ValueError: if it has tokens that the model lacks.
    """
    if (size := vocabulary_size(tokenizer)) > denoiser.vocab_size:
        raise ValueError(
            f"the tokenizer has {size} tokens, more than the model's {denoiser.vocab_size}: it is "
            "another model's"
        )


def ends_and_room(
    tokenizer: PreTrainedTokenizerBase, length: int
) -> tuple[list[int], list[int], int]:
    """What begins and what ends a block, where the tokenizer has it, and the tokens between.

    Raises:
        ValueError: if none fits between.
    """
    first, last = (
        [] if token is None else [token]
        for token in (tokenizer.bos_token_id, tokenizer.eos_token_id)
    )
    if (room := length - len(first) - len(last)) < 1:
        raise ValueError(f"length={length} leaves no room beside BOS and EOS")
    return first, last, room


def blocks_of_text(
    text: str, tokenizer: PreTrainedTokenizerBase, length: int, first_tokens: int = 0
) -> tuple[list[Int[Tensor, "_"]], list[Bool[Tensor, "_"]]]:
    """A text cut into blocks as packing makes them, and which of their positions count.

    A block has BOS and EOS at its ends, where the tokenizer has them. The last one may be shorter
    than ``length``, and so may the first.

    Args:
        text: not empty.
        tokenizer: the model's.
        length: tokens of a block, with its ends.
        first_tokens: tokens of the text in the first block; 0: as many as there is room for.

    Raises:
        ValueError: if the text has no token, or ``length`` leaves no room for one.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(f"the text {text[:40]!r} has no token")
    first, last, step = ends_and_room(tokenizer, length)
    blocks, scored = [], []
    starts = [0, *range(first_tokens or step, len(ids), step), len(ids)]
    for start, end in pairwise(starts):
        part = ids[start:end]
        blocks.append(torch.tensor([*first, *part, *last]))
        mask = torch.ones(len(blocks[-1]), dtype=torch.bool)
        mask[: len(first)] = False
        mask[len(mask) - len(last) :] = False
        scored.append(mask)
    return blocks, scored


def packed(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, length: int
) -> Int[Tensor, "M L"]:
    """Texts one after the other, cut into blocks as for training; an incomplete last one is left.

    EOS, where the tokenizer has it, follows each text and ends each block, and BOS begins it.

    Raises:
        ValueError: if ``length`` leaves no room for a token.
    """
    first, last, step = ends_and_room(tokenizer, length)
    ids: list[int] = []
    for text in texts:
        ids += [*tokenizer(text, add_special_tokens=False)["input_ids"], *last]
    rows = [
        [*first, *ids[start : start + step], *last] for start in range(0, len(ids) - step + 1, step)
    ]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, length)
