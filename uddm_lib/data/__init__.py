"""Corpora as token blocks: a Markov chain, Bible translations, any text, LM1B; subsets, digests.

To add a corpus, see :mod:`uddm_lib.data.registry`.
"""

from uddm_lib.data.blocks import check_blocks, digest
from uddm_lib.data.corpus import Corpus, subset
from uddm_lib.data.documents import iterate_texts, read_texts
from uddm_lib.data.markov import chain_entropy, markov_chain
from uddm_lib.data.registry import CORPORA, load_corpus
from uddm_lib.data.tokenizers import load_tokenizer, vocabulary_size

__all__ = [
    "CORPORA",
    "Corpus",
    "chain_entropy",
    "check_blocks",
    "digest",
    "iterate_texts",
    "load_corpus",
    "load_tokenizer",
    "markov_chain",
    "read_texts",
    "subset",
    "vocabulary_size",
]
