"""Training of a UDDM through Accelerate (paper appendix A), resumable from its last checkpoint.

What a step sees (which blocks, times, noise, dropout) is a pure function of (seed, step), so a run that was
killed and resumed sees what it would have seen.
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
from accelerate import Accelerator
from torch.optim.swa_utils import AveragedModel
from transformers import get_scheduler

from uddm_lib import checkpoints
from uddm_lib.data import check_blocks
from uddm_lib.devices import bf16_helps, compiled, matmul_rate
from uddm_lib.diffusion import corrupt, fused_loss, gaussian_latent
from uddm_lib.model import UDDM
from uddm_lib.options import TrainingOptions
from uddm_lib.probes import validation_nelbo
from uddm_lib.results import open_run, progress, provenance, read_table, write_table
from uddm_lib.schedule import LogLinearSchedule, duality_alpha

__all__ = ["Run", "TrainingOptions", "batch_indices", "sample_times", "train"]

_STATE = "state.safetensors"
_GAMMA = -3.5, -1.75  # of the Gaussian curriculum, at t = 0 and t = 1


class Run(NamedTuple):
    """A finished run: its folder, the averaged model in evaluation mode, and the log (a row per ``log_every``)."""

    folder: Path
    model: UDDM
    log: pd.DataFrame


def train(folder, blocks, test_blocks, config, options, tokenizer=None, scored=None, parameters=None,
          show_progress=False):
    """Train a UDDM, or resume or just read the run that ``folder`` holds.

    Writes ``run.json`` (what was asked), ``model/`` (the averaged weights, with the tokenizer) and ``log.csv``
    (step, loss and validation NELBO in nats per token, learning rate, tokens per second, and model FLOPs utilization:
    the share of the device's measured rate of matrix products, which is printed at the start). While it runs,
    ``state.safetensors`` holds the last checkpoint.

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
        A :class:`Run`.

    Raises:
        ValueError: if the folder holds a run of other parameters, or blocks don't fit the model.
        FloatingPointError: if the loss is not finite; the last checkpoint is left in place.
    """
    for name, part in (("blocks", blocks), ("test_blocks", test_blocks)):
        check_blocks(part, config.vocab_size)
        if part.shape[1] != config.length or not len(part):
            raise ValueError(f"{name} has shape {tuple(part.shape)}; the model takes (at least 1, {config.length})")
    shape = {name: getattr(config, name) for name in
             ("vocab_size", "length", "hidden_size", "cond_dim", "n_blocks", "n_heads", "dropout", "adaln_zero")}
    asked = {"blocks": len(blocks)} | shape | asdict(options) | (parameters or {})
    folder = open_run(folder, asked)
    if not (folder / "model").is_dir() or not (folder / "log.csv").is_file():
        loop = _Loop(folder, blocks, config, options)
        rows = loop.run(lambda model: validation_nelbo(model, test_blocks, scored).mean().item(), show_progress)
        if loop.accelerator.is_main_process:
            write_table(pd.DataFrame(rows), folder / "log.csv", provenance(asked, options.seed))
            checkpoints.save(folder / "model", loop.average.module, tokenizer)
            (folder / _STATE).unlink(missing_ok=True)
        loop.accelerator.wait_for_everyone()
    return Run(folder, checkpoints.load(folder / "model"), read_table(folder / "log.csv"))


class _Objective(torch.nn.Module):
    """The loss of a batch as a module, so that data-parallel wrappers see all of a step's forward pass."""

    def __init__(self, model, compile=False):
        super().__init__()
        self.model = model
        # Network and loss apart: between them lies a loop over tokens, which a compiler would unroll.
        self.hidden = compiled(model.hidden, model.device) if compile else model.hidden
        self.compile_loss = self.hidden != model.hidden  # there is a compiler

    def forward(self, z_t, x, alpha_t, dalpha_t, scale, mixture):
        """Mean NELBO in nats per token, sequences weighed by ``scale`` (B,); ``mixture`` as in :meth:`UDDM.hidden`."""
        hidden, head = self.hidden(z_t, -torch.log(alpha_t).float(), mixture), self.model.head
        return fused_loss(hidden, head.weight, head.bias, z_t, x, alpha_t, dalpha_t, scale[:, None] / x.numel(),
                          self.compile_loss)


class _Loop:
    """The state of one training run and the loop over its steps."""

    def __init__(self, folder, blocks, config, options):
        self.folder, self.options, self.schedule = folder, options, LogLinearSchedule()
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())  # others, MPS say, have no float64
        self.device = self.accelerator.device
        self.blocks = blocks.to(self.device)
        with torch.random.fork_rng():
            torch.manual_seed(options.seed)
            model = UDDM(config)
        fused = {"fused": True} if self.device.type in ("cpu", "cuda") else {}
        optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate, weight_decay=0.0, **fused)
        self.average = AveragedModel(model.to(self.device), multi_avg_fn=functools.partial(_average, options.ema_decay))
        self.model, self.optimizer = self.accelerator.prepare(_Objective(model, options.compile), optimizer)
        self.lr = get_scheduler(options.lr_schedule, optimizer, options.warmup_steps, options.steps)
        self.bf16 = options.precision == "bf16" and bf16_helps(self.device)
        self.step, self.rows = self._resume() if (folder / _STATE).is_file() else (0, [])
        self.saved = self.step
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        # Tokens per second that matrix products alone would allow.
        self.limit = matmul_rate(self.device, dtype) / (3 * config.forward_flops) * self.accelerator.num_processes
        self.accelerator.print(f"matrix products on this {self.device.type} device, {str(dtype)[6:]}: at most "
                               f"{self.limit:,.0f} tokens/s for this model")

    def run(self, validate, show_progress):
        """Take the steps that are left; returns the rows of the log."""
        options = self.options
        self.model.train()
        since, started = self.step, time.perf_counter()
        losses = []
        steps = progress(range(self.step, options.steps), total=options.steps - self.step,
                         description="training", enabled=show_progress)
        for step in steps:
            losses.append(self._update(step))
            self.step = step + 1
            last = self.step == options.steps
            if self.step % options.log_every == 0 or last:
                rate = (self.step - since) * options.batch_size * self.blocks.shape[1] / (time.perf_counter() - started)
                self._log(torch.stack(losses).mean().item(), rate, validate)
                if not last and self.step - self.saved >= options.checkpoint_every:
                    self._checkpoint()
                losses, since, started = [], self.step, time.perf_counter()
        return self.rows

    def _log(self, loss, rate, validate):
        """Add a row to the log, in ten of them with the validation NELBO; stop if a number is not finite."""
        every = max(self.options.steps // 10 // self.options.log_every, 1) * self.options.log_every
        nelbo_now = math.nan
        if self.step == self.options.steps or self.step % every == 0:
            nelbo_now = validate(self.average.module.eval())
            loss = loss if math.isfinite(nelbo_now) else nelbo_now
        if not math.isfinite(loss):
            state = self.folder / _STATE
            kept = f"; the last checkpoint is {state}" if state.exists() else ""
            raise FloatingPointError(f"the loss became {loss} by step {self.step}: "
                                     f"lower learning_rate={self.options.learning_rate}{kept}")
        self.rows.append({"step": self.step, "loss": loss, "learning_rate": self.lr.get_last_lr()[0],
                          "tokens_per_second": rate, "mfu": rate / self.limit, "validation_nelbo": nelbo_now})

    def _update(self, step):
        """One optimizer step; returns the loss in nats per token, still on the device."""
        options = self.options
        mine = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        generator = _generator(options.seed, step)
        index = batch_indices(len(self.blocks), options.batch_size, step, options.seed)[mine]
        t, scale = (part[mine].to(self.device) for part in sample_times(
            options.batch_size, options.t_min, generator, options.t_sampling))
        x = self.blocks[index.to(self.device)].long()
        noise = _generator(options.seed, step, 1 + self.accelerator.process_index, self.device)
        z_t, mixture, alpha_t, dalpha_t = self._noisy(x, t, noise, step)
        with _seeded_dropout(self.average.module.config.dropout, options.seed, step, self.accelerator.process_index):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.model(z_t, x, alpha_t, dalpha_t, scale, mixture)
            self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), options.gradient_clip)
        self.optimizer.step()
        self.lr.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self._network())
        return loss.detach()

    def _network(self):
        return self.accelerator.unwrap_model(self.model).model

    def _noisy(self, x, t, generator, step):
        """What a step shows the network: z_t, the soft input of the curriculum or None; and alpha_t, d alpha_t / dt."""
        vocab_size, options = self.average.module.vocab_size, self.options
        if options.curriculum == "none" or step >= options.curriculum_steps:
            alpha_t = self.schedule.alpha(t)
            return corrupt(x, alpha_t, vocab_size, generator), None, alpha_t, self.schedule.dalpha(t)
        start, end = _GAMMA
        gamma = (start + (end - start) * t).requires_grad_()
        alpha_t = duality_alpha(gamma, vocab_size)
        slope, = torch.autograd.grad(alpha_t.sum(), gamma)
        z_t, *mixture = gaussian_latent(x, gamma.detach(), vocab_size, generator)
        return z_t, mixture, alpha_t.detach(), (end - start) * slope

    def _checkpoint(self):
        self.saved = self.step
        if self.accelerator.is_main_process:
            tensors = {f"model.{k}": v for k, v in self._network().state_dict().items()}
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
            tensors |= {f"optimizer.{i}.{k}": v for i, slots in self.optimizer.state_dict()["state"].items()
                        for k, v in slots.items()}
            checkpoints.save_state(self.folder / _STATE, tensors, {
                "rows": self.rows, "lr": self.lr.state_dict(), "bf16": self.bf16})

    def _resume(self):
        tensors, metadata = checkpoints.load_state(self.folder / _STATE)
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
        self.bf16 = metadata["bf16"]
        for group, rate in zip(self.optimizer.param_groups, metadata["lr"]["_last_lr"]):
            group["lr"] = rate
        return metadata["rows"][-1]["step"], metadata["rows"]


def batch_indices(n, batch_size, step, seed):
    """Which of n blocks step ``step`` takes: consecutive pieces of one shuffle per epoch, shape (batch_size,)."""
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    index = torch.empty_like(positions)
    for epoch in positions.div(n, rounding_mode="floor").unique().tolist():
        here = positions.div(n, rounding_mode="floor") == epoch
        index[here] = _shuffle(n, seed, epoch)[positions[here] % n]
    return index


def sample_times(batch_size, t_min, generator, sampling="uniform"):
    """Times of a batch in [t_min, 1], antithetic: one in each of batch_size intervals of equal probability.

    The NELBO's integrand varies as t^(-1/2) from draw to draw: where a token was replaced, which has a chance of about
    t, it is about 1/t. ``importance`` draws times with that density, the least variance for such an integrand.

    Returns:
        Times, and the weights that make the weighted mean one over uniform times (ones if ``uniform``); float64, of
        shape (batch_size,).
    """
    jitter = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    share = (torch.arange(batch_size) + jitter) / batch_size
    if sampling == "uniform":
        return t_min + (1 - t_min) * share, torch.ones_like(share)
    root = t_min**0.5 + (1 - t_min**0.5) * share
    return root**2, 2 * root / (1 + t_min**0.5)


@functools.lru_cache(maxsize=2)  # a step takes from one shuffle or, at its end, two
def _shuffle(n, seed, epoch):
    return torch.randperm(n, generator=_generator(seed, epoch, 0xE90C))


def _generator(seed, step, purpose=0, device="cpu"):
    """A generator that depends on (seed, step, purpose) alone."""
    return torch.Generator(device).manual_seed(((seed * 0x10001 + purpose) * 2**32 + step) % 2**63)


@contextlib.contextmanager
def _seeded_dropout(rate, seed, step, process):
    """Set torch's global state, the only one that dropout draws from, from the step; then put it back."""
    if not rate:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed + 2**20 * (step + 1) + process)
        yield


def _average(decay, averages, weights, updates):
    """Exponential moving average whose decay warms up with the number of updates, as in the released code."""
    decay = min(decay, (1 + int(updates)) / (10 + int(updates)))
    torch._foreach_lerp_(averages, weights, 1 - decay)
