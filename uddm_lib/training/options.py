"""How to train: the options of :func:`uddm_lib.training.train`, checked."""

import math
from dataclasses import dataclass

__all__ = ["TrainingOptions"]


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the defaults are the paper's (appendix A), but for the number of steps.

    Args:
        steps: optimizer steps.
        batch_size: global batch, in sequences, of all devices together.
        micro_batch: sequences that a device takes at once, 0: its whole share of the batch. Fewer take less memory;
            gradients are summed, so that without dropout the result is the same but for rounding.
        learning_rate: peak rate of AdamW (betas 0.9, 0.999; eps 1e-8; no weight decay).
        warmup_steps: steps of linear warm-up.
        lr_schedule: what follows the warm-up: ``constant_with_warmup`` (paper), ``cosine`` or ``linear`` (to zero).
        gradient_clip: largest norm of the gradient.
        ema_decay: decay of the exponential moving average of the weights, in [0, 1).
        t_min: times are drawn from [t_min, 1]. 1e-3 is the paper's; a larger one spends short runs on the times
            that carry gradient.
        t_sampling: ``uniform`` (the paper's), or ``importance``: times with a density of t^(-1/2) and weights that undo
            it, for less variance of the loss and its gradient, which come from small times.
        curriculum: ``none``, or ``gaussian``: begin with the soft inputs of the Duo paper (appendix B), the argmax of
            whose Gaussian latents is uniform-state noise of a narrow range of levels.
        curriculum_steps: steps that the curriculum lasts.
        precision: ``fp32``, or ``bf16`` for matrix products in bfloat16 under autocast; where the device has no fast
            ones, training stays in float32 and says so.
        compile: compile the network with torch.compile; without a working compiler training runs eagerly and says so.
        seed: seed of everything random.
        log_every: steps between rows of the log.
        checkpoint_every: least number of steps between checkpoints, which are made with a row of the log.

    Raises:
        ValueError: if an option is out of range; the message names it.
    """

    steps: int = 3000
    batch_size: int = 512
    learning_rate: float = 3e-4
    warmup_steps: int = 2500
    lr_schedule: str = "constant_with_warmup"
    gradient_clip: float = 1.0
    ema_decay: float = 0.9999
    t_min: float = 1e-3
    t_sampling: str = "uniform"
    curriculum: str = "none"
    curriculum_steps: int = 500_000
    precision: str = "fp32"
    compile: bool = False
    seed: int = 1
    log_every: int = 100
    checkpoint_every: int = 1000
    micro_batch: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "checkpoint_every"):
            _require(
                name,
                getattr(self, name),
                lambda v: isinstance(v, int) and v >= 1,
                "a positive integer",
            )
        for name in ("warmup_steps", "curriculum_steps", "seed", "micro_batch"):
            _require(
                name,
                getattr(self, name),
                lambda v: isinstance(v, int) and v >= 0,
                "an integer of at least 0",
            )
        for name in ("learning_rate", "gradient_clip"):
            _require(name, getattr(self, name), lambda v: 0 < v < math.inf, "a positive number")
        _require("ema_decay", self.ema_decay, lambda v: 0 <= v < 1, "in [0, 1)")
        _require("t_min", self.t_min, lambda v: 0 < v < 1, "in (0, 1)")
        _require(
            "t_sampling",
            self.t_sampling,
            ("uniform", "importance").__contains__,
            "one of uniform, importance",
        )
        _require(
            "curriculum",
            self.curriculum,
            ("none", "gaussian").__contains__,
            "one of none, gaussian",
        )
        _require("precision", self.precision, ("fp32", "bf16").__contains__, "one of fp32, bf16")
        _require(
            "lr_schedule",
            self.lr_schedule,
            ("constant_with_warmup", "cosine", "linear").__contains__,
            "one of constant_with_warmup, cosine, linear",
        )


def _require(name, value, test, allowed):
    if isinstance(value, bool) or not test(value):
        raise ValueError(f"{name}={value!r} is not allowed; it must be {allowed}")
