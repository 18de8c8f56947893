"""The options of a training, checked."""

import math
from dataclasses import dataclass

from uddm_lib._checks import integer

__all__ = ["TrainingOptions"]

_LEAST = {
    "steps": 1,
    "batch_size": 1,
    "log_every": 1,
    "checkpoint_every": 1,
    "warmup_steps": 0,
    "curriculum_steps": 0,
    "seed": 0,
    "micro_batch": 0,
}
_CHOICES = {
    "objective": ("nelbo", "cross_entropy"),
    "optimizer": ("adamw", "muon"),
    "t_sampling": ("uniform", "importance"),
    "curriculum": ("none", "gaussian"),
    "precision": ("fp32", "bf16"),
    "lr_schedule": ("constant_with_warmup", "cosine", "linear"),
}


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the defaults are the paper's (appendix A), except for the number of steps.

    Args:
        steps: optimizer steps.
        batch_size: sequences in the global batch, of all devices together.
        micro_batch: sequences that a device takes at once, 0: its whole share of the batch. Fewer
            take less memory. Gradients are summed: without dropout the result is the same but for
            rounding.
        objective: ``nelbo`` (paper, eq. (3)), whose optimum is the leave-one-out conditional; or
            ``cross_entropy`` of the clean tokens, whose optimum also sees the noisy token itself.
            The model's facts then say so, and probes convert its output at t >= 0.05. It holds the
            logits of a ``micro_batch``.
        optimizer: ``adamw`` (paper; betas 0.9, 0.999; eps 1e-8), or ``muon`` (Jordan et al. 2024;
            momentum 0.95; updates as large as AdamW's, Liu et al. 2025) for the matrices inside the
            network, with AdamW for embedding, head and vectors. Neither has weight decay.
        learning_rate: peak rate of the optimizer.
        warmup_steps: steps of linear warm-up.
        lr_schedule: what follows the warm-up: ``constant_with_warmup`` (paper), ``cosine`` or
            ``linear`` (to zero).
        gradient_clip: largest norm of the gradient.
        ema_decay: decay of the exponential moving average of the weights, in [0, 1).
        t_min: times are drawn from [t_min, 1]. The paper's is 1e-3; a larger one spends short
            runs on the times that carry gradient.
        t_sampling: ``uniform`` (paper), or ``importance``: times with a density of t^(-1/2) and
            weights that undo it. This lowers the variance of the loss and its gradient, which
            comes from small times.
        curriculum: ``none``, or ``gaussian``: begin with the soft inputs of the Duo paper
            (appendix B). The argmax of its Gaussian latents is uniform-state noise of a narrow
            range of levels.
        curriculum_steps: steps that the curriculum lasts.
        precision: ``fp32``, or ``bf16`` for matrix products in bfloat16 under autocast. Without
            fast ones the training stays in float32 and says so.
        compile: compile the network with torch.compile. Without a working compiler the training
            runs eagerly and says so.
        seed: seed of everything random.
        log_every: steps between rows of the log.
        checkpoint_every: least number of steps between checkpoints, which are made with a row of
            the log.

    Raises:
        ValueError: if an option is out of range; the message names it.
    """

    steps: int = 3000
    batch_size: int = 512
    optimizer: str = "adamw"
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
    objective: str = "nelbo"

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            integer(name, getattr(self, name), least)
        _number("learning_rate", self.learning_rate, 0, math.inf, "a positive number")
        _number("gradient_clip", self.gradient_clip, 0, math.inf, "a positive number")
        _number("ema_decay", self.ema_decay, 0, 1, "in [0, 1)", or_equal=True)
        _number("t_min", self.t_min, 0, 1, "in (0, 1)")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"{name}={value!r} is not allowed; it must be one of {', '.join(choices)}"
                )


def _number(
    name: str, value: object, above: float, below: float, allowed: str, or_equal: bool = False
) -> None:
    """Check that a number is between two bounds (or equal to the lower one)."""
    inside = False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        inside = above < value < below or (or_equal and value == above)
    if not inside:
        raise ValueError(f"{name}={value!r} is not allowed; it must be {allowed}")
