"""Corpora compared and checked."""

import torch

from uddm_lib.data import Corpus


def has_no_repeats(corpus: Corpus) -> bool:
    train, test = (set(map(tuple, part.tolist())) for part in (corpus.train, corpus.test))
    return len(train) == len(corpus.train) and len(test) == len(corpus.test) and not train & test


def same_corpus(one: Corpus, other: Corpus) -> bool:
    return (
        torch.equal(one.train, other.train)
        and torch.equal(one.test, other.test)
        and one.tokenizer.backend_tokenizer.to_str() == other.tokenizer.backend_tokenizer.to_str()
        and one.duplicates == other.duplicates
        and torch.equal(one.scored, other.scored)
    )
