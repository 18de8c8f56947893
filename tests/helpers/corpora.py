"""Corpora compared and checked."""

import torch
from torch import Tensor

from uddm_lib.data import Corpus


def has_no_repeats(corpus: Corpus) -> bool:
    train, test = (set(map(tuple, part.tolist())) for part in (corpus.train, corpus.test))
    return len(train) == len(corpus.train) and len(test) == len(corpus.test) and not train & test


def in_text_order(test: Tensor, seed: int = 1) -> Tensor:
    """Held-out blocks, put back from the order of a corpus into that of the text."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    return test[order.argsort()]


def same_corpus(one: Corpus, other: Corpus) -> bool:
    return (
        torch.equal(one.train, other.train)
        and torch.equal(one.test, other.test)
        and one.tokenizer.backend_tokenizer.to_str() == other.tokenizer.backend_tokenizer.to_str()
        and one.duplicates == other.duplicates
        and torch.equal(one.scored, other.scored)
    )
