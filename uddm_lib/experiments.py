"""Trained runs read back for probing: the model, and the sequences it has and has not seen."""

from pathlib import Path
from typing import NamedTuple

import torch

from uddm_lib import checkpoints
from uddm_lib.data import load_corpus, markov_chain, subset
from uddm_lib.devices import default_device
from uddm_lib.model import UDDM
from uddm_lib.oracles import MarkovGeneralizer, Memorizer
from uddm_lib.results import read_run, resolve

__all__ = ["TrainedRun", "load_run"]


class TrainedRun(NamedTuple):
    """A run read back for probing: the model, what it was trained on (n, L), and what it never saw (m, L)."""

    folder: Path
    model: UDDM
    tokenizer: object
    train: torch.Tensor
    test: torch.Tensor
    scored: torch.Tensor
    parameters: dict

    @property
    def labels(self):
        """The columns that every table of the run begins with: corpus, size, n."""
        return {
            "corpus": self.parameters["corpus"],
            "size": self.parameters["size"],
            "n": len(self.train),
        }

    @property
    def denoisers(self):
        """What can be probed on the run's sequences, by name: the trained ``network``, and where the source is known
        the two exact limits that it moves between, the ``memorizer`` of its training set and the ``generalizer``.
        """
        known = {"network": self.model}
        if self.parameters["corpus"] == "markov":
            vocab_size, device = self.model.vocab_size, self.model.device
            chain = markov_chain(vocab_size, seed=self.parameters["corpus_seed"])
            known["memorizer"] = Memorizer(self.train.to(device), vocab_size)
            known["generalizer"] = MarkovGeneralizer(*(part.to(device) for part in chain))
        return known

    def sets(self, sequences, seed=1):
        """Sequences to probe, on the model's device: ``train`` and ``test``, each (sequences, L), and a quarter as many
        of uniformly random tokens, the control ``random``.

        A training set with fewer sequences is repeated, each copy to be corrupted anew, so that the error bars
        of small training sets are not larger than those of large ones; the test set gives what it has.
        """
        copies = -(-sequences // len(self.train))
        noise = torch.randint(
            self.model.vocab_size,
            (-(-sequences // 4), self.train.shape[1]),
            generator=torch.Generator().manual_seed(seed),
        )
        noise[:, ~self.scored] = self.test[0, ~self.scored]
        train = (
            self.train[:sequences].long().repeat(copies, 1)[:sequences]
        )  # first a part: LM1B's has GBs, of int16
        found = {"train": train, "test": self.test[:sequences], "random": noise}
        return {name: x.to(self.model.device) for name, x in found.items()}


def load_run(folder, device=None):
    """Read a run that notebook 02 wrote (or one that ships in ``runs/pretrained``), with its corpus.

    Args:
        folder: the run's folder, relative to the repository's root or absolute.
        device: where the model goes, and the sequences to probe; by default a GPU if there is one.

    Raises:
        FileNotFoundError, ValueError: if the folder holds no finished run; the message names the file.
    """
    folder = resolve(folder)
    parameters = read_run(folder)
    missing = {"corpus", "length", "vocab_size", "size", "n", "corpus_seed"} - set(parameters)
    if missing:
        raise ValueError(
            f"{folder / 'run.json'} lacks {', '.join(sorted(missing))}: not a run of notebook 02"
        )
    asked = (parameters[name] for name in ("corpus", "length", "vocab_size", "corpus_seed"))
    corpus = load_corpus(*asked, tokenizer=parameters.get("tokenizer") or None)
    model = checkpoints.load(folder / "model", device or default_device())
    if (corpus.vocab_size, corpus.length) != (model.vocab_size, model.length):
        raise ValueError(
            f"{folder / 'model'} has vocab_size={model.vocab_size} and length={model.length}; corpus "
            f"{corpus.name} now gives {corpus.vocab_size} and {corpus.length}: the run's text has changed"
        )
    blocks = subset(corpus.train, parameters["n"], parameters["corpus_seed"])
    return TrainedRun(
        folder, model, corpus.tokenizer, blocks, corpus.test, corpus.scored, parameters
    )
