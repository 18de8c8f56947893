"""Corpora as token blocks: a Markov chain of known entropy, Bible translations, any text, LM1B; nested subsets."""

from uddm_lib.data.corpora import CORPORA, Corpus, chain_entropy, load_corpus, markov_chain, subset
from uddm_lib.data.packing import check_blocks
from uddm_lib.data.tokenizers import load_tokenizer

__all__ = [
    "CORPORA",
    "Corpus",
    "chain_entropy",
    "check_blocks",
    "load_corpus",
    "load_tokenizer",
    "markov_chain",
    "subset",
]
