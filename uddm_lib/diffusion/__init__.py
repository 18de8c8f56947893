"""Uniform-state discrete diffusion (paper section 2): pure functions of tokens, predictions and noise levels.

Each quantity has a readable form (``nelbo``, ``reverse_step``) and, where tensors over the vocabulary would cost more than the
network, a fused form that works from hidden states and never holds a (B, L, V) tensor.
"""

from uddm_lib.diffusion.gaussian import gaussian_latent
from uddm_lib.diffusion.loss import fused_loss, fused_nelbo
from uddm_lib.diffusion.reference import (
    check_share,
    corrupt,
    corrupt_share,
    nelbo,
    posterior,
    reverse_step,
)
from uddm_lib.diffusion.step import (
    fused_entropy,
    fused_reverse_step,
    fused_sharpness,
    most_probable,
    undecided,
)

__all__ = [
    "check_share",
    "corrupt",
    "corrupt_share",
    "fused_entropy",
    "fused_loss",
    "fused_nelbo",
    "fused_reverse_step",
    "fused_sharpness",
    "gaussian_latent",
    "most_probable",
    "nelbo",
    "posterior",
    "reverse_step",
    "undecided",
]
