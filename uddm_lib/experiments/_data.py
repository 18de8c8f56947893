"""The data that a run's parameters name, and the check that they are still the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from uddm_lib._checks import integer
from uddm_lib.data import Corpus, digest, load_corpus, subset

_DIGESTS = {"train_sha256": "training", "test_sha256": "test"}


def corpus_of(parameters: Mapping[str, Any]) -> Corpus:
    """The corpus that the parameters name."""
    return load_corpus(
        parameters["corpus"],
        parameters.get("length") or None,
        parameters.get("vocab_size") or None,
        seed=parameters.get("corpus_seed", 1),
        tokenizer=parameters.get("tokenizer") or None,
    )


def blocks_of(corpus: Corpus, parameters: Mapping[str, Any]) -> Int[Tensor, "n L"]:
    """The training blocks that the parameters name."""
    n, most = parameters["n"], len(corpus.train)
    n = most if n == "all" else integer("n", n, 1, most)
    return subset(corpus, n, parameters.get("corpus_seed", 1))


def digests(blocks: Int[Tensor, "n L"], corpus: Corpus) -> dict[str, str]:
    """SHA-256 of a run's training and test blocks."""
    return {"train_sha256": digest(blocks), "test_sha256": digest(corpus.test)}


def without_unknown_digests(
    identity: Mapping[str, Any], recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """``identity`` without the digests that a run made before there were any does not have."""
    return {k: v for k, v in identity.items() if k not in _DIGESTS or k in recorded}


def check_text(folder: Path, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse blocks that are not those of the run; runs without digests pass.

    Raises:
        ValueError: naming the folder, and which blocks have changed.
    """
    changed = [
        part for name, part in _DIGESTS.items() if name in recorded and recorded[name] != now[name]
    ]
    if changed:
        raise ValueError(
            f"{folder} was trained on corpus {recorded['corpus']}, whose "
            f"{' and '.join(changed)} blocks have changed since. "
            "Restore the text, or choose another folder and train again"
        )
