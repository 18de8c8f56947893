"""The data that a run's parameters name, and the check that they are still the same."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from uddm_lib._checks import integer
from uddm_lib.data import Corpus, digest, load_corpus, subset

_DIGESTS = {
    "train_sha256": "training blocks",
    "test_sha256": "test blocks",
    "tokenizer_sha256": "tokenizer",
}


def corpus_of(parameters: Mapping[str, Any]) -> Corpus:
    """The corpus that the parameters name."""
    return load_corpus(
        parameters["corpus"],
        parameters.get("length") or None,
        parameters.get("vocab_size") or None,
        seed=parameters.get("corpus_seed", 1),
        tokenizer=parameters.get("tokenizer") or None,
        progress=bool(parameters.get("progress")),
    )


def blocks_of(corpus: Corpus, parameters: Mapping[str, Any]) -> Int[Tensor, "n L"]:
    """The training blocks that the parameters name."""
    n, most = parameters["n"], len(corpus.train)
    n = most if n == "all" else integer("n", n, 1, most)
    return subset(corpus, n, parameters.get("corpus_seed", 1))


def digests(blocks: Int[Tensor, "n L"], corpus: Corpus) -> dict[str, str]:
    """SHA-256 of a run's training blocks, its test blocks and its tokenizer.

    The tokenizer's is of its ids and their tokens, in order. How it splits a text shows in the
    blocks, and its serialized form may change with the version of ``tokenizers``.
    """
    vocabulary = corpus.tokenizer.get_vocab()
    tokens = json.dumps(sorted((index, token) for token, index in vocabulary.items()))
    return {
        "train_sha256": digest(blocks),
        "test_sha256": digest(corpus.test),
        "tokenizer_sha256": hashlib.sha256(tokens.encode()).hexdigest(),
    }


def without_unknown_digests(
    identity: Mapping[str, Any], recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """``identity`` without the digests that a run made before there were any does not have."""
    return {k: v for k, v in identity.items() if k not in _DIGESTS or k in recorded}


def blocks_of_run(folder: Path, recorded: Mapping[str, Any], corpus: Corpus) -> Int[Tensor, "n L"]:
    """The training blocks of a run, if they, the test blocks and the tokenizer are unchanged.

    A digest that ``run.json`` lacks, since the run was made before there was one, is not checked.

    Args:
        folder: the run's, for messages.
        recorded: the content of its ``run.json``.
        corpus: the corpus that it names, as it is now.

    Raises:
        ValueError: naming the folder, the corpus and what has changed.
    """
    # All blocks of a text that has become too short have another digest than those of the run.
    too_few = "train_sha256" in recorded and recorded["n"] > len(corpus.train)
    blocks = blocks_of(corpus, {**recorded, "n": "all"} if too_few else recorded)
    now = digests(blocks, corpus)
    changed = [_DIGESTS[name] for name in now if recorded.get(name, now[name]) != now[name]]
    if changed:
        raise ValueError(
            f"{folder} was trained on corpus {recorded['corpus']}, whose {' and '.join(changed)} "
            "changed since. Restore what it was trained with (the text, the tokenizer, the version "
            "of uddm_lib), or train again in another folder"
        )
    return blocks
