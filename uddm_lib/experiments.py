"""From the parameters of a run to its data and model, to the trained run, and back for probing.

Notebook 02, ``uddm train``, the benchmarks and the probes all come here. The names of the
parameters are those of notebook 02 and of :class:`~uddm_lib.training.TrainingOptions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib import checkpoints, training
from uddm_lib._checks import integer
from uddm_lib.data import Corpus, digest, load_corpus, markov_chain, subset
from uddm_lib.devices import default_device
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.oracles import MarkovGeneralizer, Memorizer
from uddm_lib.results import read_run, resolve
from uddm_lib.training import TrainingOptions, TrainingResult

__all__ = ["Experiment", "TrainedRun", "load_run", "prepare", "train_run"]

VALIDATION_BLOCKS = 512  # test blocks whose NELBO stands in the log of the training

_REQUIRED = ("corpus", "size", "n")
_MODEL_CHOICES = ("dropout", "adaln_zero")
_OPTIONS = tuple(field.name for field in fields(TrainingOptions))
_ALLOWED = (*_REQUIRED, "length", "vocab_size", "tokenizer", "corpus_seed", *_MODEL_CHOICES)
_NOT_OF_THE_RUN = ("run", "progress")  # parameters of the notebook: where to write, what to show

_TEXT = ("corpus", "length", "vocab_size", "tokenizer", "corpus_seed", "n")
_DIGESTS = {"train_sha256": "training", "test_sha256": "test"}


@dataclass(frozen=True, eq=False)
class Experiment:
    """All that a training run needs.

    Attributes:
        corpus: the data.
        blocks: the training blocks, a subset of the corpus.
        config: shape of the model.
        options: how to train.
        identity: what tells this run from others; ``run.json`` holds it.
    """

    corpus: Corpus
    blocks: Int[Tensor, "n L"]
    config: UDDMConfig
    options: TrainingOptions
    identity: dict[str, Any]


def prepare(parameters: Mapping[str, Any]) -> Experiment:
    """Load the data and build the configuration and the options of a run.

    Args:
        parameters: values by name. ``corpus``, ``size`` and ``n`` are required. ``length`` and
            ``vocab_size`` (0: the corpus's own), ``tokenizer`` (empty: none), ``corpus_seed``,
            ``dropout``, ``adaln_zero`` and the fields of ``TrainingOptions`` have the defaults
            of :func:`load_corpus`, ``UDDMConfig`` and ``TrainingOptions``. ``log_every`` is a
            twentieth of the steps by default, at most 50. ``run`` and ``progress`` are ignored.

    Raises:
        ValueError: if a parameter is missing, unknown or out of range; the message names it.
        OSError: if the corpus cannot be read.
    """
    missing = [name for name in _REQUIRED if name not in parameters]
    if missing:
        raise ValueError(f"{', '.join(missing)} not given; an experiment needs corpus, size and n")
    unknown = set(parameters) - {*_ALLOWED, *_OPTIONS, *_NOT_OF_THE_RUN}
    if unknown:
        raise ValueError(
            f"unknown parameter {', '.join(sorted(unknown))}; allowed: "
            f"{', '.join(_ALLOWED + _OPTIONS)}"
        )
    options = TrainingOptions(**{name: parameters[name] for name in _OPTIONS if name in parameters})
    if "log_every" not in parameters:
        options = TrainingOptions(
            **vars(options) | {"log_every": max(1, min(50, options.steps // 20))}
        )
    corpus, blocks = _data(parameters)
    choices = {name: parameters[name] for name in _MODEL_CHOICES if name in parameters}
    config = UDDMConfig.named(parameters["size"], corpus.vocab_size, corpus.length, **choices)
    identity = training.identity(blocks, config, options) | {
        "corpus": parameters["corpus"],
        "length": corpus.length,
        "vocab_size": corpus.vocab_size,
        "tokenizer": parameters.get("tokenizer") or "",
        "corpus_seed": parameters.get("corpus_seed", 1),
        "size": parameters["size"],
        "n": len(blocks),
        **_digests(blocks, corpus),
    }
    return Experiment(corpus, blocks, config, options, identity)


def train_run(
    experiment: Experiment, folder: str | Path, show_progress: bool = False
) -> TrainingResult:
    """Train an experiment; or resume, or just read, the run that ``folder`` holds.

    Args:
        experiment: what :func:`prepare` returned.
        folder: the run's folder, absolute or relative to the repository's root.
        show_progress: show a progress bar.

    Raises:
        ValueError: if the folder holds a run of other parameters, or of a text that has changed.
        FloatingPointError, OSError, Stopped: as :func:`uddm_lib.training.train`.
    """
    folder, identity = resolve(folder), experiment.identity
    if (folder / "run.json").exists():
        recorded = read_run(folder)
        if all(recorded.get(name) == identity[name] for name in _TEXT):
            _check_text(folder, recorded, identity)
        # Runs made before there were digests have none.
        known = recorded.keys() & _DIGESTS.keys()
        identity = {k: v for k, v in identity.items() if k not in _DIGESTS or k in known}
    corpus = experiment.corpus
    return training.train(
        folder,
        experiment.blocks,
        corpus.test[:VALIDATION_BLOCKS],
        experiment.config,
        experiment.options,
        corpus.tokenizer,
        corpus.scored,
        identity,
        show_progress,
    )


class TrainedRun(NamedTuple):
    """A trained run, read back for probing.

    Attributes:
        folder: the run's folder.
        model: the trained network.
        tokenizer: turns token ids into text.
        train: the training blocks.
        test: blocks that the model never saw.
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
        """The columns that every table of the run begins with: corpus, size, n."""
        return {
            "corpus": self.parameters["corpus"],
            "size": self.parameters["size"],
            "n": len(self.train),
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
        ValueError: if ``run.json`` is not a run's, or if the corpus has changed since.
    """
    folder = resolve(folder)
    parameters = read_run(folder)
    missing = {"corpus", "length", "vocab_size", "size", "n", "corpus_seed"} - set(parameters)
    if missing:
        raise ValueError(
            f"{folder / 'run.json'} lacks {', '.join(sorted(missing))}: not a run of notebook 02"
        )
    model = checkpoints.load(folder / "model", device or default_device())
    corpus, blocks = _data(parameters)
    if (corpus.vocab_size, corpus.length) != (model.vocab_size, model.length):
        raise ValueError(
            f"{folder / 'model'} has vocab_size={model.vocab_size} and length={model.length}; "
            f"corpus {corpus.name} now gives {corpus.vocab_size} and {corpus.length}: "
            "the run's text has changed"
        )
    _check_text(folder, parameters, _digests(blocks, corpus))
    return TrainedRun(
        folder, model, corpus.tokenizer, blocks, corpus.test, corpus.scored, parameters
    )


def _data(parameters: Mapping[str, Any]) -> tuple[Corpus, Int[Tensor, "n L"]]:
    """The corpus and the training blocks that the parameters name."""
    seed = parameters.get("corpus_seed", 1)
    corpus = load_corpus(
        parameters["corpus"],
        parameters.get("length") or None,
        parameters.get("vocab_size") or None,
        seed=seed,
        tokenizer=parameters.get("tokenizer") or None,
    )
    n, most = parameters["n"], len(corpus.train)
    return corpus, subset(corpus, most if n == "all" else integer("n", n, 1, most), seed)


def _digests(blocks: Int[Tensor, "n L"], corpus: Corpus) -> dict[str, str]:
    return {"train_sha256": digest(blocks), "test_sha256": digest(corpus.test)}


def _check_text(folder: Path, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse blocks that are not those of the run; runs without digests pass."""
    changed = [
        part for name, part in _DIGESTS.items() if name in recorded and recorded[name] != now[name]
    ]
    if changed:
        raise ValueError(
            f"{folder} was trained on corpus {recorded['corpus']}, whose "
            f"{' and '.join(changed)} blocks have changed since. "
            "Restore the text, or choose another folder and train again"
        )
