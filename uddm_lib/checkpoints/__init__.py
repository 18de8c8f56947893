"""Our models and training states (safetensors and JSON only), and the authors' released files."""

from uddm_lib.checkpoints.models import load, load_tokenizer, save
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
    "load",
    "load_last",
    "load_released",
    "load_state",
    "load_tokenizer",
    "remove_states",
    "save",
    "save_state",
    "save_step",
    "states",
]
