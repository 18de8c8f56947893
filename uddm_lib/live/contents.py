"""What the live page holds of the runs: weights, tokenizer, sequences."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib.experiments import TrainedRun
from uddm_lib.schedule import LogLinearSchedule

__all__ = ["LARGEST", "MOST_RUNS", "page_contents"]

LARGEST = 1_500_000  # bytes of the page
MOST_RUNS = 4  # more do not fit beside each other
MOST_SEARCHED = 4_000  # training sequences in the page
LEAST_SEARCHED = 16
PICKS = 12  # sequences of a kind to choose from

_SHAPE = (
    "vocab_size",
    "length",
    "hidden_size",
    "cond_dim",
    "n_blocks",
    "n_heads",
    "mlp_ratio",
    "frequency_embedding_size",
    "time_conditioning",
)
# What live/tokens.js does of a serialized tokenizer, and nothing else.
_BYTES = {
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    "model": {
        "type": "BPE",
        "dropout": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    },
}
_CHARACTERS = {
    "normalizer": None,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated"},
    "model": {"type": "WordLevel"},
}


def page_contents(runs: Sequence[TrainedRun], room: int = LARGEST) -> dict[str, Any]:
    """All that the page's scripts read, ready for JSON.

    Args:
        runs: of one corpus, 1 to 4.
        room: bytes that the contents may take as JSON. Training sequences fill what is left, up to
            4,000. They are the first ones of the largest training set, which is shuffled: a sample.

    Raises:
        ValueError: if a run is of a kind that the page cannot run, or the runs are too many or too
            large.
    """
    if not 1 <= len(runs) <= MOST_RUNS:
        raise ValueError(f"runs: got {len(runs)}; the page holds 1 to {MOST_RUNS}")
    for run in runs:
        _check_kind(run)
    most = max(runs, key=lambda run: len(run.train))
    scored = most.scored.nonzero()[:, 0].tolist()
    contents = {
        "eps": LogLinearSchedule().eps,
        "tokenizer": tokenizer_contents(most.tokenizer),
        "inner": scored,
        "runs": [_run_contents(run) for run in runs],
        "picks": _picks(runs, most),
        "corpus": most.parameters["corpus"],
        "searched": {"wide": most.model.vocab_size > 256, "count": 0, "blocks": ""},
    }
    left = room - len(json.dumps(contents))
    size = most.train.shape[1] * (2 if contents["searched"]["wide"] else 1)
    fitting = min(len(most.train), MOST_SEARCHED, max(left - 100, 0) * 3 // 4 // size)
    if fitting < min(len(most.train), LEAST_SEARCHED):
        weights = sum(parameter.numel() for run in runs for parameter in run.model.parameters())
        raise ValueError(
            f"runs: their {weights:,} weights take more than the page's {LARGEST:,} bytes allow "
            f"(about {LARGEST * 3 // 8:,} weights); give fewer or smaller runs"
        )
    blocks = most.train[:fitting]
    contents["searched"] |= {"count": fitting, "blocks": _token_bytes(blocks, size)}
    return contents


def _check_kind(run: TrainedRun) -> None:
    facts = run.model.facts
    if facts.output != "leave-one-out" or facts.noise != "uniform":
        raise ValueError(
            f"{run.folder}: output={facts.output!r} under {facts.noise} noise; the page runs "
            "output='leave-one-out' under uniform noise"
        )


def _run_contents(run: TrainedRun) -> dict[str, Any]:
    """A model's configuration and weights. Half precision is what the shipped runs are saved in."""
    state = run.model.state_dict()
    halves = {name: value.to("cpu", torch.float16).contiguous() for name, value in state.items()}
    if infinite := [name for name, value in halves.items() if not value.isfinite().all()]:
        raise ValueError(
            f"{run.folder}: {infinite[0]} does not fit into half precision, which ends at 65,504"
        )
    weights = b"".join(value.numpy().astype("<f2").tobytes() for value in halves.values())
    return {
        **run.labels,
        "config": {name: getattr(run.model.config, name) for name in _SHAPE},
        "tensors": [[name, list(value.shape)] for name, value in halves.items()],
        "weights": base64.b64encode(weights).decode(),
    }


def tokenizer_contents(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What the page's own tokenizer needs to give the tokens of this one.

    Raises:
        ValueError: if it is of another kind than those that this package makes.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {token["content"] for token in parts["added_tokens"]}
    if _agrees(parts, _BYTES) and all(token["special"] for token in parts["added_tokens"]):
        kind = "bytes"
    elif _agrees(parts, _CHARACTERS) and not added:
        kind = "characters"
    else:
        raise ValueError(
            f"tokenizer: {parts['model']['type']} after {parts['pre_tokenizer']} is not allowed; "
            "the page has the tokenizers that this package learns (byte-level BPE) and that of "
            "corpus markov"
        )
    vocabulary = tokenizer.get_vocab()
    tokens = [""] * (max(vocabulary.values()) + 1)
    for token, index in vocabulary.items():
        tokens[index] = token
    model, end = parts["model"], tokenizer.eos_token
    return {
        "kind": kind,
        "tokens": tokens,
        "merges": model.get("merges", []),
        "unknown": vocabulary.get(model.get("unk_token")),
        "special": [vocabulary[token] for token in sorted(added)],
        "end": None if end is None else vocabulary[end],
    }


def _agrees(parts: Any, allowed: Any) -> bool:
    """Whether ``parts`` has the values that ``allowed`` names."""
    if not isinstance(allowed, dict):
        return bool(parts == allowed)
    return isinstance(parts, dict) and all(
        name in parts and _agrees(parts[name], value) for name, value in allowed.items()
    )


def _picks(runs: Sequence[TrainedRun], most: TrainedRun) -> list[dict[str, Any]]:
    """Sequences to choose from, and in which training sets they are.

    Training sets of one corpus are nested: each is the beginning of every larger one.
    """
    counts = sorted({len(run.train) for run in runs})
    picks = []
    for start in [0, *counts[:-1]]:
        for index in range(start, min(start + PICKS, counts[-1])):
            if start or index < counts[0]:
                picks.append((most.train[index], [index < len(run.train) for run in runs]))
    picks += [(block, [False] * len(runs)) for block in most.test[:PICKS]]
    return [{"tokens": block.tolist(), "members": members} for block, members in picks]


def _token_bytes(blocks: Int[Tensor, "n L"], size: int) -> str:
    kind = "<u2" if size > blocks.shape[1] else "u1"
    return base64.b64encode(blocks.numpy().astype(kind).tobytes()).decode()
