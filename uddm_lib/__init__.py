"""Companion of "Language Diffusion Models are Associative Memories Capable of Retrieving Unseen Data".

The package holds the method; the notebooks tell it. Data flows one way: corpus -> token blocks -> subset of n ->
training -> model -> probe -> table -> figure. Import the modules by name (``from uddm_lib import diffusion``):

==============  ======================================================================================
schedule        noise schedules: alpha_t, sigma_t; the uniform-Gaussian duality
diffusion       corruption, reverse posterior, NELBO, one reverse step: pure functions
fused           the NELBO from hidden states, without logits of all tokens
streaming       the reverse step and entropies, likewise
oracles         exact denoisers: the memorizer of a training set, the generalizer of a Markov chain
model           the diffusion transformer as a transformers model, and its named sizes
sampling        the reverse process from any start
probes          token recovery, conditional entropy, validation NELBO, novelty
data            corpora, tokenizers, nested subsets
bibles          English Bible translations, verse by verse
lm1b            the One Billion Word Benchmark, memory-mapped
packing         text as token blocks
tokenization    pretrained tokenizers, such as the paper's
options         how to train
batches         what a training step sees, for any number of processes
stopping        stopping on a scheduler's signal
training        the training loop, resumable
trained         runs read back for probing
devices         what the device at hand does well
checkpoints     models and training states on disk
released        the authors' checkpoints, read without executing them
costs           what a run takes, before it starts
results         run folders, provenance, tables
parameters      validation of notebook parameters
summary         statistics of tables: means with bootstrap intervals, histograms
transition      where memorization ends, how far a model is from either end, the claims
sweeps          the tables of a sweep's runs together, and those of the figures
figures         one function per figure, from tables only
hopfield        binary associative memory: couplings, margins, dynamics
attractors      its experiments: basins, training, capacity, unseen examples
theory          what the theory notebook enumerates, integrates or samples
theory_figures  its figures
==============  ======================================================================================
"""

import importlib
from importlib import metadata

__all__ = [
    "attractors",
    "batches",
    "bibles",
    "checkpoints",
    "costs",
    "data",
    "devices",
    "diffusion",
    "figures",
    "fused",
    "hopfield",
    "lm1b",
    "model",
    "options",
    "oracles",
    "packing",
    "parameters",
    "probes",
    "released",
    "results",
    "sampling",
    "schedule",
    "stopping",
    "streaming",
    "summary",
    "sweeps",
    "theory",
    "theory_figures",
    "tokenization",
    "trained",
    "training",
    "transition",
]

try:
    __version__ = metadata.version("uddm-companion")
except metadata.PackageNotFoundError:
    __version__ = "0+uninstalled"


def __getattr__(name):
    # Modules are imported when they are first used: reading a table should not wait for torch and transformers.
    if name in __all__:
        return importlib.import_module(f"uddm_lib.{name}")
    raise AttributeError(f"module 'uddm_lib' has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]
