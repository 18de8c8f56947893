"""The One Billion Word Benchmark, LM1B (Chelba et al., 2013), as memory-mapped token blocks."""

from uddm_lib._checks import integer
from uddm_lib.data.corpus import Corpus, CorpusRequest, subset
from uddm_lib.data.text import inner_positions
from uddm_lib.data.tokenizers import given_tokenizer

__all__ = ["load"]

LENGTH, TOKENIZER = 128, "bert-base-uncased"  # defaults, the paper's


def load(request: CorpusRequest) -> Corpus:
    """The corpus ``lm1b``, from a local copy or the mirror on the hub."""
    length = integer("length", LENGTH if request.length is None else request.length, 3)
    name = TOKENIZER if request.tokenizer is None else request.tokenizer
    tokenizer = given_tokenizer(name, request.vocab_size)
    # Here, since importing datasets takes longer than loading other corpora does.
    from uddm_lib.data.lm1b.mapped_blocks import lm1b_blocks

    train, test, duplicates = lm1b_blocks(request.source, tokenizer, length, request.cache)
    # Not when they are packed: what is kept then serves every seed.
    test = subset(test, "all", request.seed)
    return Corpus(request.name, train, test, tokenizer, inner_positions(length), duplicates)
