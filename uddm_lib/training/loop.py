"""Training of a UDDM through Accelerate (paper appendix A), resumable from its last checkpoint.

What a step sees is a pure function of (seed, step) (:mod:`uddm_lib.training.batches`), so a run that was killed and resumed
sees what it would have seen. Started by ``accelerate launch``, or by torchrun, as several processes, on one machine
or several with one file system, it splits every batch among them; the first of them writes all files.
"""

import contextlib
import functools
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from accelerate import Accelerator, PartialState
from torch.optim.swa_utils import AveragedModel
from transformers import get_scheduler

from uddm_lib import checkpoints
from uddm_lib.data import check_blocks
from uddm_lib.devices import has_fast_bf16, compiled, default_device, matmul_rate
from uddm_lib.diffusion import fused_loss
from uddm_lib.model import UDDM
from uddm_lib.probes import validation_nelbo
from uddm_lib.results import open_run, progress, provenance, read_table, write_table
from uddm_lib.training.batches import global_batch, seeded_dropout, shares
from uddm_lib.training.stopping import Stopped, stop_requests

__all__ = ["TrainingResult", "train"]


class TrainingResult(NamedTuple):
    """A finished run: its folder, the averaged model in evaluation mode, on the device that trains, and the log (a row
    per ``log_every``)."""

    folder: Path
    model: UDDM
    log: pd.DataFrame


def train(
    folder,
    blocks,
    test_blocks,
    config,
    options,
    tokenizer=None,
    scored=None,
    parameters=None,
    show_progress=False,
):
    """Train a UDDM, or resume or just read the run that ``folder`` holds.

    Writes ``run.json`` (what was asked), ``model/`` (the averaged weights, with the tokenizer) and ``log.csv``
    (step, loss and validation NELBO in nats per token, learning rate, tokens per second, and model FLOPs utilization:
    the share of the device's measured rate of matrix products, which is printed at the start). While it runs,
    ``state-<step>.safetensors`` are the last two checkpoints; a damaged newest one is named, and the one before used.
    In the main thread, SIGTERM and SIGUSR1 make it checkpoint after the step at hand and raise :class:`Stopped`.

    Args:
        folder: the run's folder.
        blocks: training blocks, shape (n, L).
        test_blocks: held-out blocks for the validation NELBO, shape (m, L).
        config: a :class:`~uddm_lib.model.UDDMConfig`.
        options: a :class:`TrainingOptions`.
        tokenizer: stored with the model.
        scored: mask of the positions that count in the validation NELBO, shape (L,).
        parameters: anything else that identifies the run (corpus, n), kept in ``run.json``.
        show_progress: show a progress bar.

    Returns:
        A :class:`TrainingResult`.

    Raises:
        ValueError: if the folder holds a run of other parameters, or blocks don't fit the model.
        FloatingPointError: if the loss is not finite; the last checkpoint is left in place.
        OSError: naming the file, if a disk is full or read-only; checkpoints that exist are left in place.
        Stopped: after SIGTERM or SIGUSR1; the same call continues.
    """
    for name, part in (("blocks", blocks), ("test_blocks", test_blocks)):
        check_blocks(part, config.vocab_size)
        if part.shape[1] != config.length or not len(part):
            raise ValueError(
                f"{name} has shape {tuple(part.shape)}; the model takes (at least 1, {config.length})"
            )
    shape = {
        name: getattr(config, name)
        for name in (
            "vocab_size",
            "length",
            "hidden_size",
            "cond_dim",
            "n_blocks",
            "n_heads",
            "dropout",
            "adaln_zero",
        )
    }
    asked = {"blocks": len(blocks)} | shape | asdict(options) | (parameters or {})
    del asked["micro_batch"]  # of the device at hand, not of the run
    process = PartialState(cpu=default_device().type == "cpu")
    with process.main_process_first():
        folder = open_run(folder, asked)
        finished = (folder / "model").is_dir() and (folder / "log.csv").is_file()
        if process.is_main_process:
            checkpoints.remove_states(folder, unfinished=not finished)
    if not finished:
        with stop_requests() as requests:
            loop = _Loop(folder, blocks, config, options)
            held_out = test_blocks.to(loop.device)
            rows = loop.run(
                lambda model: validation_nelbo(model, held_out, scored).mean().item(),
                show_progress,
                requests,
            )
            if process.is_main_process:
                write_table(pd.DataFrame(rows), folder / "log.csv", provenance(asked, options.seed))
                checkpoints.save(folder / "model", loop.average.module, tokenizer)
                checkpoints.remove_states(folder)
            process.wait_for_everyone()
            loop.stop_if(requests)
    return TrainingResult(
        folder, checkpoints.load(folder / "model", process.device), read_table(folder / "log.csv")
    )


class _Objective(torch.nn.Module):
    """The loss of a batch as a module, so that data-parallel wrappers see all of a step's forward pass."""

    def __init__(self, model, compile=False):
        super().__init__()
        self.model = model
        # Network and loss apart: between them lies a loop over tokens, which a compiler would unroll.
        self.hidden = compiled(model.hidden, model.device) if compile else model.hidden
        self.compile_loss = self.hidden != model.hidden  # there is a compiler

    def forward(self, z_t, x, alpha_t, dalpha_t, scale, mixture):
        """Sum of the tokens' NELBOs in nats times ``scale`` (B,); ``mixture`` as in :meth:`UDDM.hidden`."""
        hidden, head = self.hidden(z_t, -torch.log(alpha_t).float(), mixture), self.model.head
        return fused_loss(
            hidden,
            head.weight,
            head.bias,
            z_t,
            x,
            alpha_t,
            dalpha_t,
            scale[:, None],
            self.compile_loss,
        )


class _Loop:
    """The state of one training run and the loop over its steps."""

    def __init__(self, folder, blocks, config, options):
        self.folder, self.options = folder, options
        self.accelerator = Accelerator(cpu=default_device().type == "cpu", mixed_precision="no")
        self.device, self.processes = self.accelerator.device, self.accelerator.num_processes
        self.shares = shares(
            options.batch_size, self.accelerator.process_index, self.processes, options.micro_batch
        )
        # What processes agree on besides gradients goes through memory: no need to wait for the GPU.
        self.group = torch.distributed.new_group(backend="gloo") if self.processes > 1 else None
        self.blocks = blocks.to(self.device)
        with torch.random.fork_rng([]):
            torch.random.default_generator.manual_seed(options.seed)
            model = UDDM(config)
        fused = {"fused": True} if self.device.type in ("cpu", "cuda") else {}
        optimizer = torch.optim.AdamW(
            model.parameters(), options.learning_rate, weight_decay=0.0, **fused
        )
        self.average = AveragedModel(
            model.to(self.device), multi_avg_fn=functools.partial(_average, options.ema_decay)
        )
        self.model, self.optimizer = self.accelerator.prepare(
            _Objective(model, options.compile), optimizer
        )
        self.lr = get_scheduler(options.lr_schedule, optimizer, options.warmup_steps, options.steps)
        self.step, self.rows, self.losses, self.bf16 = 0, [], [], False
        if (found := checkpoints.load_last(folder, self.accelerator.print)) is not None:
            self._resume(*found)
        elif options.precision == "bf16":
            self.bf16 = self._any(self.accelerator.is_main_process and has_fast_bf16(self.device))
        self.saved = self.step
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        # Tokens per second that matrix products alone would allow.
        self.limit = matmul_rate(self.device, dtype) / (3 * config.forward_flops) * self.processes
        self.accelerator.print(
            f"matrix products on this {self.device.type} device, {str(dtype)[6:]}: at most "
            f"{self.limit:,.0f} tokens/s for this model"
        )

    def run(self, validate, show_progress, requests):
        """Take the steps that are left; returns the rows of the log. Stops when ``requests`` is no longer empty."""
        options = self.options
        self.model.train()
        since, started = self.step, time.perf_counter()
        steps = range(self.step, options.steps)
        if self.accelerator.is_main_process:
            steps = progress(steps, len(steps), "training", show_progress)
        for step in steps:
            self.losses.append(self._update(step))
            self.step = step + 1
            last = self.step == options.steps
            if self.step % options.log_every == 0 or last:
                rate = (
                    (self.step - since)
                    * options.batch_size
                    * self.blocks.shape[1]
                    / (time.perf_counter() - started)
                )
                self._log(rate, validate)
                if not last and self.step - self.saved >= options.checkpoint_every:
                    self._checkpoint()
                since, started = self.step, time.perf_counter()
            if not last:
                self.stop_if(requests)
        return self.rows

    def stop_if(self, requests):
        """Leave with a checkpoint, unless the run is already written, if any process got a request."""
        if not self._any(requests):
            return
        done = self.step == self.options.steps
        if not done and self.saved < self.step:
            if self.losses:  # else a row was just added, and checked
                self._check(self._mean_losses().mean().item())
            self._checkpoint()
        self.accelerator.wait_for_everyone()  # a launcher ends the others soon after the first
        raise Stopped(
            f"{self.folder}: stopped by a signal {'at its end' if done else f'after step {self.step}'}; "
            "the same call continues",
            announce=self.accelerator.is_main_process,
        )

    def _any(self, flag):
        """Whether ``flag`` holds in any process."""
        flag = torch.tensor(int(bool(flag)))
        if self.group is not None:
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX, self.group)
        return bool(flag)

    def _log(self, rate, validate):
        """Add a row to the log, in ten of them with the validation NELBO; stop if a number is not finite."""
        loss, self.losses = self._mean_losses().mean().item(), []
        every = max(self.options.steps // 10 // self.options.log_every, 1) * self.options.log_every
        nelbo_now = math.nan
        if self.step == self.options.steps or self.step % every == 0:
            nelbo_now = validate(self.average.module.eval())
            loss = loss if math.isfinite(nelbo_now) else nelbo_now
        self._check(loss)
        self.rows.append(
            {
                "step": self.step,
                "loss": loss,
                "learning_rate": self.lr.get_last_lr()[0],
                "tokens_per_second": rate,
                "mfu": rate / self.limit,
                "validation_nelbo": nelbo_now,
            }
        )

    def _mean_losses(self):
        """Losses of the steps since the last row in nats per token, means over processes, shape (steps,)."""
        return (
            self.accelerator.reduce(torch.stack(self.losses), "mean")
            if self.losses
            else torch.empty(0)
        )

    def _check(self, loss):
        if not math.isfinite(loss):
            kept = "".join(
                f"; the last checkpoint is {path}" for path in checkpoints.states(self.folder)[-1:]
            )
            raise FloatingPointError(
                f"the loss became {loss} by step {self.step}: "
                f"lower learning_rate={self.options.learning_rate}{kept}"
            )

    def _update(self, step):
        """One optimizer step; returns the loss in nats per token of this process's share, still on the device."""
        config, loss = self.average.module.config, 0
        batch = global_batch(self.blocks, self.options, config.vocab_size, step)
        with seeded_dropout(
            config.dropout, self.options.seed, step, self.accelerator.process_index, self.device
        ):
            for part in self.shares:
                alone = (
                    part is not self.shares[-1]
                )  # gradients are exchanged once a step, with the last part's
                with self.accelerator.no_sync(self.model) if alone else contextlib.nullcontext():
                    loss = loss + self._gradients(batch.take(part))
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.gradient_clip)
        self.optimizer.step()
        self.lr.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self._network())
        return loss

    def _gradients(self, batch):
        """Add the gradients of a part of the batch; returns its part of the loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.model(
                *batch._replace(scale=batch.scale * self.processes)
            )  # of gradients, the mean is taken
        self.accelerator.backward(loss)
        return loss.detach()

    def _network(self):
        return self.accelerator.unwrap_model(self.model).model

    def _checkpoint(self):
        losses = self._mean_losses().tolist()
        if self.accelerator.is_main_process:
            tensors = {f"model.{k}": v for k, v in self._network().state_dict().items()}
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
            tensors |= {
                f"optimizer.{i}.{k}": v
                for i, slots in self.optimizer.state_dict()["state"].items()
                for k, v in slots.items()
            }
            checkpoints.save_step(
                self.folder,
                self.step,
                tensors,
                {
                    "step": self.step,
                    "rows": self.rows,
                    "losses": losses,
                    "lr": self.lr.state_dict(),
                    "bf16": self.bf16,
                },
            )
        self.saved = self.step

    def _resume(self, tensors, metadata):
        parts = {"model": {}, "average": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, key = name.split(".", 1)
            parts[part][key] = value
        slots = {}
        for name, value in parts["optimizer"].items():
            i, key = name.split(".")
            slots.setdefault(int(i), {})[key] = value
        self._network().load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": slots})
        self.lr.load_state_dict(metadata["lr"])
        for group, rate in zip(self.optimizer.param_groups, metadata["lr"]["_last_lr"]):
            group["lr"] = rate
        self.losses = list(
            torch.tensor(metadata["losses"], dtype=torch.float32, device=self.device)
        )
        self.step, self.rows, self.bf16 = (metadata[name] for name in ("step", "rows", "bf16"))


def _average(decay, averages, weights, updates):
    """Exponential moving average whose decay warms up with the number of updates, as in the released code."""
    updates = int(updates)  # once: it waits for the device
    decay = min(decay, (1 + updates) / (10 + updates))
    torch._foreach_lerp_(averages, weights, 1 - decay)
