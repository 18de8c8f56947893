"""Uniform-state discrete diffusion (paper section 2): pure functions of tokens and predictions.

Each quantity has a readable form (``nelbo``, ``reverse_step``, ``entropy``, ``sharpness``). Where
tensors over the vocabulary would cost more than the network, it also has a fused form, which works
from hidden states and never holds a (B, L, V) tensor.
"""

from uddm_lib.diffusion._levels import ReverseWeights, reverse_weights
from uddm_lib.diffusion.gaussian import gaussian_latent
from uddm_lib.diffusion.hybrid import T_EPS, HybridNoise, HybridSteps
from uddm_lib.diffusion.loss import fused_loss, fused_nelbo
from uddm_lib.diffusion.reference import (
    check_share,
    corrupt,
    corrupt_share,
    entropy,
    nelbo,
    posterior,
    reverse_step,
    sharpness,
    step_from_logits,
)
from uddm_lib.diffusion.step import (
    fused_entropy,
    fused_mode,
    fused_reverse_step,
    fused_sharpness,
    step_from_hidden,
    undecided,
    uniform_draws,
)

__all__ = [
    "T_EPS",
    "HybridNoise",
    "HybridSteps",
    "ReverseWeights",
    "check_share",
    "corrupt",
    "corrupt_share",
    "entropy",
    "fused_entropy",
    "fused_loss",
    "fused_mode",
    "fused_nelbo",
    "fused_reverse_step",
    "fused_sharpness",
    "gaussian_latent",
    "nelbo",
    "posterior",
    "reverse_step",
    "reverse_weights",
    "sharpness",
    "step_from_hidden",
    "step_from_logits",
    "undecided",
    "uniform_draws",
]
