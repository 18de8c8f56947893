"""The log of a training: rows of losses and rates, and the losses since the last row."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from uddm_lib import checkpoints
from uddm_lib.model import UDDM
from uddm_lib.training.options import TrainingOptions

__all__ = ["TrainingLog"]


class TrainingLog:
    """Rows of the log; a tenth of them has the validation NELBO.

    Args:
        folder: the run's folder, for messages.
        accelerator: of the processes whose losses are averaged.
        options: how to train.
        length: L, tokens of a sequence.
        rate_limit: tokens per second that matrix products alone would allow.
    """

    def __init__(
        self,
        folder: Path,
        accelerator: Accelerator,
        options: TrainingOptions,
        length: int,
        rate_limit: float,
    ) -> None:
        self.folder, self.accelerator, self.options = folder, accelerator, options
        self.rate_limit = rate_limit
        self.tokens_per_step = options.batch_size * length
        self.rows: list[dict[str, float]] = []
        self.losses: list[Float[Tensor, ""]] = []  # of the steps since the last row
        self.start_clock(0)

    def start_clock(self, step: int) -> None:
        """Measure the speed from now on, after ``step`` steps."""
        self.clock_step, self.clock_time = step, time.perf_counter()

    def mean_losses(self) -> Float[Tensor, "steps"]:
        """Losses since the last row in nats per token, averaged over processes."""
        if not self.losses:
            return torch.empty(0)
        return self.accelerator.reduce(torch.stack(self.losses), "mean")

    def add_row(
        self, step: int, learning_rate: float, average: UDDM, validate: Callable[[UDDM], float]
    ) -> None:
        """Add a row after ``step`` steps.

        Raises:
            FloatingPointError: if the loss or the validation NELBO is not finite.
        """
        steps_per_second = (step - self.clock_step) / (time.perf_counter() - self.clock_time)
        tokens_per_second = steps_per_second * self.tokens_per_step
        loss, self.losses = self.mean_losses().mean().item(), []
        options = self.options
        validate_every = max(options.steps // 10 // options.log_every, 1) * options.log_every
        nelbo = math.nan
        if step == options.steps or step % validate_every == 0:
            nelbo = validate(average)
            loss = loss if math.isfinite(nelbo) else nelbo
        self.check(loss, step)
        self.rows.append(
            {
                "step": step,
                "loss": loss,
                "learning_rate": learning_rate,
                "tokens_per_second": tokens_per_second,
                "mfu": tokens_per_second / self.rate_limit,
                "validation_nelbo": nelbo,
            }
        )

    def check(self, loss: float, step: int) -> None:
        """Refuse a loss that is not finite.

        Raises:
            FloatingPointError: naming the step, the learning rate and the last checkpoint.
        """
        if not math.isfinite(loss):
            kept = "".join(
                f"; the last checkpoint is {path}" for path in checkpoints.states(self.folder)[-1:]
            )
            raise FloatingPointError(
                f"the loss became {loss} by step {step}: "
                f"lower learning_rate={self.options.learning_rate}{kept}"
            )
