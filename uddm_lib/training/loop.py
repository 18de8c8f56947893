"""The loop over optimizer steps, in one process or several, with its checkpoints."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import checkpoints, devices
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.results import progress
from uddm_lib.training.batches import Batch, global_batch, seeded_dropout, shares
from uddm_lib.training.log import TrainingLog
from uddm_lib.training.objective import Objective
from uddm_lib.training.options import TrainingOptions
from uddm_lib.training.state import TrainingState
from uddm_lib.training.stopping import Stopped

__all__ = ["TrainingLoop"]


class TrainingLoop:
    """One training run: what it consists of, and the loop over its steps.

    It starts from the last checkpoint in the folder, if there is one.

    Args:
        folder: the run's folder.
        blocks: training blocks.
        config: shape of the model.
        options: how to train.

    Raises:
        ValueError: if all checkpoints in the folder are damaged.
    """

    def __init__(
        self,
        folder: Path,
        blocks: Int[Tensor, "n L"],
        config: UDDMConfig,
        options: TrainingOptions,
    ) -> None:
        self.folder, self.options, self.config = folder, options, config
        on_cpu = devices.default_device().type == "cpu"
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")
        self.device, self.processes = self.accelerator.device, self.accelerator.num_processes
        self.shares = shares(
            options.batch_size, self.accelerator.process_index, self.processes, options.micro_batch
        )
        # What processes agree on besides gradients goes through memory: no wait for the GPU.
        self.group = torch.distributed.new_group(backend="gloo") if self.processes > 1 else None
        self.blocks = blocks.to(self.device)
        with torch.random.fork_rng([]):
            torch.random.default_generator.manual_seed(options.seed)
            model = UDDM(config)
        self.step, self.bf16 = 0, False
        checkpoint = checkpoints.load_last(folder, self.accelerator.print)
        if checkpoint is not None:  # a run keeps the precision that it began with
            self.step, self.bf16 = checkpoint[1]["step"], checkpoint[1]["bf16"]
        elif options.precision == "bf16":
            first = self.accelerator.is_main_process
            self.bf16 = self._any(first and devices.has_fast_bf16(self.device))
        self.state = TrainingState(model.to(self.device), options, self.bf16)
        self.objective, *self.optimizers = self.accelerator.prepare(
            Objective(model, options.compile), *self.state.optimizers.values()
        )
        self.saved_step = self.step
        self.log = TrainingLog(folder, self.accelerator, options, config.length, self._rate_limit())
        if checkpoint is not None:
            self._resume(*checkpoint)

    @property
    def computed_in(self) -> str:
        """Precision of matrix products, ``bf16`` or ``fp32``."""
        return "bf16" if self.bf16 else "fp32"

    def run(
        self,
        validate: Callable[[UDDM], float],
        show_progress: bool = False,
        requests: Sequence[int] = (),
    ) -> list[dict[str, float]]:
        """Take the steps that are left.

        Args:
            validate: gives the validation NELBO of a model.
            show_progress: show a progress bar.
            requests: as soon as this is not empty, the loop stops.

        Returns:
            The rows of the log.

        Raises:
            FloatingPointError: if the loss is not finite.
            Stopped: if it was asked to stop before its end.
        """
        options = self.options
        self.objective.train()
        self.log.start_clock(self.step)
        steps: Iterable[int] = range(self.step, options.steps)
        if self.accelerator.is_main_process:
            description = f"training {self.folder.name}"
            steps = progress(steps, options.steps - self.step, description, show_progress)
        for step in steps:
            self.log.losses.append(self.update(step))
            self.step = step + 1
            last = self.step == options.steps
            if self.step % options.log_every == 0 or last:
                rate = self.state.schedules["adamw"].get_last_lr()[0]
                self.log.add_row(self.step, rate, self.state.average, validate)
                if not last and self.step - self.saved_step >= options.checkpoint_every:
                    self._checkpoint()
                self.log.start_clock(self.step)
            if not last:
                self.stop_if(requests)
        return self.log.rows

    def update(self, step: int) -> Float[Tensor, ""]:
        """Take one optimizer step.

        Returns:
            The loss of this process's share in nats per token, still on the device.
        """
        loss = torch.zeros((), device=self.device)
        batch = global_batch(self.blocks, self.options, self.config.vocab_size, step)
        process = self.accelerator.process_index
        with seeded_dropout(self.config.dropout, self.options.seed, step, process, self.device):
            for part in self.shares:
                # Processes exchange gradients once a step, with the last part's.
                apart = part is not self.shares[-1]
                with (
                    self.accelerator.no_sync(self.objective) if apart else contextlib.nullcontext()
                ):
                    loss = loss + self._gradients(batch.take(part))
        self.accelerator.clip_grad_norm_(self.objective.parameters(), self.options.gradient_clip)
        for optimizer, schedule in zip(self.optimizers, self.state.schedules.values()):
            optimizer.step()
            schedule.step()
        self.objective.zero_grad()
        self.state.update_average(step)
        return loss

    def stop_if(self, requests: Sequence[int]) -> None:
        """Make a checkpoint and stop, if a process was asked to; a finished run is not saved again.

        Raises:
            Stopped: if so.
        """
        if not self._any(bool(requests)):
            return
        done = self.step == self.options.steps
        if not done and self.saved_step < self.step:
            if self.log.losses:  # else a row was just added, and checked
                self.log.check(self.log.mean_losses().mean().item(), self.step)
            self._checkpoint()
        self.accelerator.wait_for_everyone()  # a launcher ends the others soon after the first
        when = "at its end" if done else f"after step {self.step}"
        raise Stopped(f"{self.folder}: stopped by a signal {when}; the same call continues")

    def _rate_limit(self) -> float:
        """Measure the tokens per second that matrix products alone would allow, and print it."""
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        flops = devices.matmul_rate(self.device, dtype)
        limit = flops / (3 * self.config.forward_flops) * self.processes
        self.accelerator.print(
            f"matrix products on this {self.device.type} device, {str(dtype)[6:]}: at most "
            f"{limit:,.0f} tokens/s for this model"
        )
        return limit

    def _any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process."""
        agreed = torch.tensor(int(flag))
        if self.group is not None:
            torch.distributed.all_reduce(agreed, torch.distributed.ReduceOp.MAX, self.group)
        return bool(agreed)

    def _gradients(self, batch: Batch) -> Float[Tensor, ""]:
        """Add the gradients of a part of the batch; returns its part of the loss."""
        # Processes average their gradients: the sum is wanted.
        batch = batch._replace(scale=batch.scale * self.processes)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.objective(*batch)
        self.accelerator.backward(loss)
        return loss.detach()

    def _checkpoint(self) -> None:
        losses = self.log.mean_losses().tolist()
        if self.accelerator.is_main_process:
            metadata = {
                "step": self.step,
                "rows": self.log.rows,
                "losses": losses,
                "lr": {name: one.state_dict() for name, one in self.state.schedules.items()},
                "bf16": self.bf16,
            }
            checkpoints.save_step(self.folder, self.step, self.state.tensors(), metadata)
        self.saved_step = self.step

    def _resume(self, tensors: dict[str, Tensor], metadata: dict) -> None:
        self.state.restore(tensors, metadata["lr"])
        self.log.rows = metadata["rows"]
        losses = torch.tensor(metadata["losses"], dtype=torch.float32, device=self.device)
        self.log.losses = list(losses)
