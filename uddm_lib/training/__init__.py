"""Training: the loop through Accelerate, its options, the batches it sees, and stopping on request."""

from uddm_lib.training.loop import TrainingResult, train
from uddm_lib.training.options import TrainingOptions
from uddm_lib.training.stopping import Stopped

__all__ = ["Stopped", "TrainingOptions", "TrainingResult", "train"]
