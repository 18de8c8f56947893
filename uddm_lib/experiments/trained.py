"""Trained runs, read back for probing."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib import checkpoints
from uddm_lib.data import Corpus, markov_chain
from uddm_lib.devices import default_device
from uddm_lib.experiments._data import blocks_of_run, corpus_of
from uddm_lib.model import UDDM
from uddm_lib.oracles import MarkovGeneralizer, Memorizer
from uddm_lib.results import read_run, resolve

__all__ = ["TrainedRun", "load_run", "load_runs"]

_NEEDED = ("corpus", "length", "vocab_size", "size", "n", "seed", "corpus_seed")


class TrainedRun(NamedTuple):
    """A trained run, read back for probing.

    Attributes:
        folder: the run's folder.
        model: the trained network.
        tokenizer: turns token ids into text.
        train: the training blocks.
        test: blocks that the model never saw, shuffled.
        scored: positions that count in metrics (packing put the same tokens at the others).
        parameters: the content of ``run.json``.
    """

    folder: Path
    model: UDDM
    tokenizer: PreTrainedTokenizerBase
    train: Int[Tensor, "n L"]
    test: Int[Tensor, "m L"]
    scored: Bool[Tensor, "L"]
    parameters: dict[str, Any]

    @property
    def labels(self) -> dict[str, Any]:
        """The columns that every table of the run begins with: corpus, size, n, seed."""
        return {
            "corpus": self.parameters["corpus"],
            "size": self.parameters["size"],
            "n": len(self.train),
            "seed": self.parameters["seed"],
        }

    @property
    def denoisers(self) -> dict[str, UDDM | Memorizer | MarkovGeneralizer]:
        """The denoisers that can be probed on the run's sequences, by name.

        ``network`` is the trained model. A known source adds the two exact limits between which
        it moves: the ``memorizer`` of the training set and the ``generalizer``.
        """
        denoisers: dict[str, UDDM | Memorizer | MarkovGeneralizer] = {"network": self.model}
        if self.parameters["corpus"] == "markov":
            vocab_size, device = self.model.vocab_size, self.model.device
            initial, transition = markov_chain(vocab_size, seed=self.parameters["corpus_seed"])
            denoisers["memorizer"] = Memorizer(self.train.to(device), vocab_size)
            denoisers["generalizer"] = MarkovGeneralizer(initial.to(device), transition.to(device))
        return denoisers

    def sets(self, sequences: int, seed: int = 1) -> dict[str, Int[Tensor, "_ L"]]:
        """Sequences to probe, on the model's device.

        ``train`` has exactly ``sequences`` rows: a smaller training set is repeated. Each copy is
        corrupted anew, so the error bars of small training sets are no larger than those of
        large ones. ``test`` has as many rows or, if the corpus has fewer, all of them.
        ``random``, the control, has a quarter as many rows of uniformly random tokens.

        Args:
            sequences: number of training sequences.
            seed: seed of the random tokens.
        """
        copies = -(-sequences // len(self.train))
        noise = torch.randint(
            self.model.vocab_size,
            (-(-sequences // 4), self.train.shape[1]),
            generator=torch.Generator().manual_seed(seed),
        )
        noise[:, ~self.scored] = self.test[0, ~self.scored]
        # Rows first, then int64: LM1B's training set has gigabytes of int16.
        train = self.train[:sequences].long().repeat(copies, 1)[:sequences]
        sets = {"train": train, "test": self.test[:sequences], "random": noise}
        return {name: x.to(self.model.device) for name, x in sets.items()}


def load_run(folder: str | Path, device: torch.device | str | None = None) -> TrainedRun:
    """Read a trained run, with its corpus.

    Args:
        folder: the run's folder, absolute or relative to the repository's root.
        device: where the model and the sequences to probe go; the default is a GPU if there is one.

    Raises:
        FileNotFoundError: if the folder holds no finished run; the message names the missing file.
        ValueError: if ``run.json`` is not a run's, or if its blocks or tokenizer have changed.
    """
    folder = resolve(folder)
    parameters = _run_parameters(folder)
    return _load(folder, parameters, corpus_of(parameters), device)


def load_runs(
    folders: str | Path | Sequence[str | Path], device: torch.device | str | None = None
) -> list[TrainedRun]:
    """Read trained runs of one corpus, which is loaded once.

    Args:
        folders: a run's folder, a pattern such as ``runs/laptop/kjv-*`` (it means the runs' folders
            among its matches), or a list of both; absolute or relative to the repository's root.
        device: as for :func:`load_run`.

    Returns:
        The runs: small models first, then small n, then small seeds.

    Raises:
        FileNotFoundError: if a pattern matches no run, or a folder holds no finished run.
        ValueError: if the runs are of several corpora, or as for :func:`load_run`.
    """
    given = [folders] if isinstance(folders, (str, Path)) else list(folders)
    paths = list(dict.fromkeys(path for folder in given for path in _matches(folder)))
    if not paths:
        raise FileNotFoundError("no run given: name a folder, a pattern or a list of them")
    known = {path: _run_parameters(path) for path in paths}
    corpora = {_corpus_key(parameters): path for path, parameters in known.items()}
    if len(corpora) > 1:
        several = "; ".join(f"{path.name}: {', '.join(key)}" for key, path in corpora.items())
        raise ValueError(f"runs of several corpora: {several}. Give those of one corpus")
    corpus = corpus_of(known[paths[0]])
    runs = [_load(path, parameters, corpus, device) for path, parameters in known.items()]
    labels: dict[tuple[Any, ...], Path] = {}
    for run in runs:
        other = labels.setdefault(tuple(run.labels.values()), run.folder)
        if other != run.folder:
            raise ValueError(
                f"{other} and {run.folder} are of one corpus, size, n and seed: give one of them"
            )
    return sorted(runs, key=_scale)


def _matches(folder: str | Path) -> list[Path]:
    """The folder, or the runs' folders that a pattern matches."""
    path = resolve(folder)
    if path.exists() or not glob.has_magic(str(folder)):
        return [path]
    found = [Path(match) for match in glob.glob(str(path)) if (Path(match) / "run.json").is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} matches no run's folder (with a run.json)")
    return found


def _run_parameters(folder: Path) -> dict[str, Any]:
    parameters = read_run(folder)
    if missing := set(_NEEDED) - set(parameters):
        raise ValueError(
            f"{folder / 'run.json'} lacks {', '.join(sorted(missing))}: not a run of notebook 02"
        )
    return parameters


def _corpus_key(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("corpus", "length", "vocab_size", "corpus_seed", "tokenizer")
    return tuple(f"{name}={parameters.get(name) or ''}" for name in names)


def _scale(run: TrainedRun) -> tuple[int, int, int]:
    """What runs are sorted by: size of the model, number of training blocks, seed."""
    weights = sum(weight.numel() for weight in run.model.parameters())
    return weights, len(run.train), run.parameters["seed"]


def _load(
    folder: Path,
    parameters: dict[str, Any],
    corpus: Corpus,
    device: torch.device | str | None,
) -> TrainedRun:
    model = checkpoints.load_uddm(folder / "model", device or default_device())
    if (corpus.vocab_size, corpus.length) != (model.vocab_size, model.length):
        raise ValueError(
            f"{folder / 'model'} has vocab_size={model.vocab_size} and length={model.length}; "
            f"corpus {corpus.name} now gives {corpus.vocab_size} and {corpus.length}: "
            "the run's text has changed"
        )
    blocks = blocks_of_run(folder, parameters, corpus)
    return TrainedRun(
        folder, model, corpus.tokenizer, blocks, corpus.test, corpus.scored, parameters
    )
