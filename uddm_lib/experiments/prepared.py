"""From the parameters of runs to their data and models, and to the trained runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from uddm_lib import training
from uddm_lib.data import Corpus
from uddm_lib.experiments._data import (
    blocks_of,
    blocks_of_run,
    corpus_of,
    digests,
    without_unknown_digests,
)
from uddm_lib.experiments.trained import TrainedRun
from uddm_lib.model import UDDMConfig
from uddm_lib.results import read_run, resolve, run_name
from uddm_lib.training import TrainingOptions, TrainingResult

__all__ = ["Experiment", "prepare", "prepare_runs", "train_run", "train_runs"]

VALIDATION_BLOCKS = 512  # test blocks whose NELBO stands in the log of the training

_REQUIRED = ("corpus", "size", "n")
_MODEL_CHOICES = ("dropout", "adaln_zero", "time_conditioning")
_OPTIONS = tuple(field.name for field in fields(TrainingOptions))
_ALLOWED = (*_REQUIRED, "length", "vocab_size", "tokenizer", "corpus_seed", *_MODEL_CHOICES)
_NOT_OF_THE_RUN = ("folder", "progress")  # parameters of the notebook: where to write, what to show
_TEXT = ("corpus", "length", "vocab_size", "tokenizer", "corpus_seed")


@dataclass(frozen=True, eq=False)
class Experiment:
    """All that a training run needs.

    Attributes:
        name: of the run's folder.
        corpus: the data.
        blocks: the training blocks, a subset of the corpus.
        config: shape of the model.
        options: how to train.
        identity: what tells this run from others; ``run.json`` holds it.
    """

    name: str
    corpus: Corpus
    blocks: Int[Tensor, "n L"]
    config: UDDMConfig
    options: TrainingOptions
    identity: dict[str, Any]


def prepare(parameters: Mapping[str, Any], corpus: Corpus | None = None) -> Experiment:
    """Load the data and build the configuration and the options of a run.

    Args:
        parameters: values by name. ``corpus``, ``size`` and ``n`` are required. ``length`` and
            ``vocab_size`` (0: the corpus's own), ``tokenizer`` (empty: none), ``corpus_seed``,
            ``dropout``, ``adaln_zero``, ``time_conditioning`` and the fields of
            ``TrainingOptions`` have the defaults of :func:`load_corpus`, ``UDDMConfig`` and
            ``TrainingOptions``. ``log_every`` is a
            twentieth of the steps by default, at most 50. ``folder`` and ``progress`` are ignored.
        corpus: the corpus that the parameters name, if it has been loaded.

    Raises:
        ValueError: if a parameter is missing, unknown or out of range; the message names it.
        OSError: if the corpus cannot be read.
    """
    _check_names(parameters)
    options = TrainingOptions(**{name: parameters[name] for name in _OPTIONS if name in parameters})
    if "log_every" not in parameters:
        options = TrainingOptions(
            **vars(options) | {"log_every": max(1, min(50, options.steps // 20))}
        )
    corpus = corpus or corpus_of(parameters)
    blocks = blocks_of(corpus, parameters)
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
        **digests(blocks, corpus),
    }
    name = run_name(parameters["corpus"], parameters["size"], parameters["n"], options.seed)
    return Experiment(name, corpus, blocks, config, options, identity)


def prepare_runs(parameters: Mapping[str, Any]) -> list[Experiment]:
    """Prepare a run for every pair of ``n`` and ``seed``, each a value or a list; seeds go fastest.

    The corpus is loaded once. For the other parameters see :func:`prepare`.

    Raises:
        ValueError: also if a list is empty, or names a run twice.
        OSError: if the corpus cannot be read.
    """
    _check_names(parameters)
    counts = _listed("n", parameters["n"])
    seeds = _listed("seed", parameters.get("seed", TrainingOptions.seed))
    pairs = [{"n": n, "seed": seed} for n in counts for seed in seeds]
    first = prepare({**parameters, **pairs[0]})
    runs = [first, *(prepare({**parameters, **pair}, first.corpus) for pair in pairs[1:])]
    if len({(len(run.blocks), run.options.seed) for run in runs}) < len(runs):
        raise ValueError(f"n={counts!r}: 'all' is {len(first.corpus.train)}, which is listed too")
    return runs


def _check_names(parameters: Mapping[str, Any]) -> None:
    missing = [name for name in _REQUIRED if name not in parameters]
    if missing:
        raise ValueError(f"{', '.join(missing)} not given; an experiment needs corpus, size and n")
    unknown = set(parameters) - {*_ALLOWED, *_OPTIONS, *_NOT_OF_THE_RUN}
    if unknown:
        raise ValueError(
            f"unknown parameter {', '.join(sorted(unknown))}; allowed: "
            f"{', '.join(_ALLOWED + _OPTIONS)}"
        )


def _listed(name: str, value: Any) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    repeated = [item for item, count in Counter(values).items() if count > 1]
    if not values or repeated:
        raise ValueError(f"{name}={value!r} must be a value, or a list of at least one, each once")
    return values


def train_run(
    experiment: Experiment, folder: str | Path, show_progress: bool = False
) -> TrainingResult:
    """Train an experiment; or resume, or just read, the run that ``folder`` holds.

    Args:
        experiment: what :func:`prepare` returned.
        folder: the run's folder, absolute or relative to the repository's root.
        show_progress: show a progress bar.

    Raises:
        ValueError: if the folder holds a run of other parameters, or of a text or tokenizer that
            has changed.
        FloatingPointError, OSError, Stopped: as :func:`uddm_lib.training.train`.
    """
    folder, identity = resolve(folder), experiment.identity
    if (folder / "run.json").exists():
        recorded = read_run(folder)
        if all(recorded.get(name) == identity[name] for name in _TEXT):
            blocks_of_run(folder, recorded, experiment.corpus)  # raises if the text is another
        identity = without_unknown_digests(identity, recorded)
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


def train_runs(
    experiments: Sequence[Experiment], folder: str | Path, show_progress: bool = False
) -> list[TrainedRun]:
    """Train experiments one after the other, each in the folder of its name in ``folder``.

    A finished run is read. One that was stopped goes on from its last checkpoint.

    Args:
        experiments: those of :func:`prepare_runs`.
        folder: of the runs' folders, absolute or relative to the repository's root.
        show_progress: show a progress bar for each.

    Raises:
        ValueError, FloatingPointError, OSError, Stopped: as :func:`train_run`.
    """
    runs = []
    for experiment in experiments:
        result = train_run(experiment, resolve(folder) / experiment.name, show_progress)
        runs.append(
            TrainedRun(
                result.folder,
                result.model,
                experiment.corpus.tokenizer,
                experiment.blocks,
                experiment.corpus.test,
                experiment.corpus.scored,
                experiment.identity,
            )
        )
    return runs
