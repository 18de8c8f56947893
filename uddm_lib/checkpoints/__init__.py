"""Models and training states on disk, and public checkpoints of others; nothing is unpickled."""

from uddm_lib.checkpoints.diffusion_gemma import DiffusionGemma
from uddm_lib.checkpoints.models import load, load_tokenizer, load_uddm, save
from uddm_lib.checkpoints.released import load_released
from uddm_lib.checkpoints.states import (
    load_last,
    load_state,
    remove_states,
    save_state,
    save_step,
    states,
)

__all__ = [
    "DiffusionGemma",
    "load",
    "load_last",
    "load_released",
    "load_state",
    "load_tokenizer",
    "load_uddm",
    "remove_states",
    "save",
    "save_state",
    "save_step",
    "states",
]
