"""Training through Accelerate: the loop, its options, its batches, and stopping on request."""

from uddm_lib.training.loop import TrainingLoop
from uddm_lib.training.options import TrainingOptions
from uddm_lib.training.run_folder import TrainingResult, identity, train
from uddm_lib.training.stopping import Stopped

__all__ = ["Stopped", "TrainingLoop", "TrainingOptions", "TrainingResult", "identity", "train"]
