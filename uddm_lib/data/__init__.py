"""Corpora as token blocks: a Markov chain, Bible translations, any text, LM1B; subsets, digests."""

from uddm_lib.data.blocks import digest
from uddm_lib.data.corpora import CORPORA, Corpus, chain_entropy, load_corpus, markov_chain, subset
from uddm_lib.data.packing import check_blocks
from uddm_lib.data.tokenizers import load_tokenizer

__all__ = [
    "CORPORA",
    "Corpus",
    "chain_entropy",
    "check_blocks",
    "digest",
    "load_corpus",
    "load_tokenizer",
    "markov_chain",
    "subset",
]
