"""Language diffusion models as associative memories: the companion of the paper.

Data flows one way: corpus -> token blocks -> nested subset of n -> training -> checkpoint ->
denoiser -> probe -> table -> figure. Import what you need by name, for instance
``from uddm_lib import diffusion, sampling``:

=============  =====================================================================================
results        run folders, tables with their provenance, notebook parameters, progress
environment    what counts of a user's settings; cores and memory at hand
schedule       noise schedules alpha_t and sigma_t; the uniform-Gaussian duality
devices        the device at hand: precision, compiler
metrics        comparisons of tokens: recovery, novelty
diffusion      corruption, reverse posterior, NELBO, reverse step: readable forms and fused ones
facts          what a denoiser is, and what its predictions mean
noise          the noise that a denoiser was trained under: uniform or hybrid
model          the diffusion transformer as a transformers model; its named sizes
oracles        exact denoisers: the memorizer of a training set, the generalizer of a Markov chain
denoiser       what is computed from a denoiser
sampling       the reverse process from any start
probes         token recovery, conditional entropy, validation NELBO
memory_probes  fixed points of the prediction, and how it depends on single tokens
data           corpora, tokenizers, token blocks, nested subsets
checkpoints    models and training states on disk; public checkpoints of other families
training       the training loop: resumable, on any number of processes
experiments    runs: made from parameters, trained, read back
statistics     intervals, the transition, a verdict on every claim, comparisons of sweeps
figures        one function per figure, from tables only
audit          does a model memorize, and which texts
live           the live page: small runs in one HTML file that a browser runs by itself
theory         binary associative memories; what can be enumerated, integrated or sampled
sweep          profiles, their execution on one machine or on a cluster, what they cost
convert        the command that converts public checkpoints
=============  =====================================================================================

After ``import uddm_lib``, transformers knows the model: ``AutoModel.from_pretrained`` reads a
saved folder.
"""

import importlib
import sys
from importlib import metadata
from types import ModuleType

import wrapt

__all__ = ["__version__"]

try:
    __version__ = metadata.version("uddm-companion")
except metadata.PackageNotFoundError:
    __version__ = "0+uninstalled"

_AUTO_CONFIG = "transformers.models.auto.configuration_auto"
_AUTO_MODEL = "transformers.models.auto.modeling_auto"


def _register_model(imported: ModuleType) -> None:
    """Make transformers know the model, which registers itself when its module is imported."""
    # AutoModel's module imports AutoConfig's. In the midst of that it is too early.
    if imported.__name__ == _AUTO_MODEL or _AUTO_MODEL not in sys.modules:
        importlib.import_module("uddm_lib.model")


# Late, when transformers' own classes are imported: reading a table should not wait for torch.
for _module in (_AUTO_CONFIG, _AUTO_MODEL):
    wrapt.register_post_import_hook(_register_model, _module)
