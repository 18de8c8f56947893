"""Training of a UDDM (paper appendix A) into a run's folder, from which it can be resumed.

What a step sees is a pure function of (seed, step) (:mod:`uddm_lib.training.batches`). A run that
was killed and resumed therefore sees what it would have seen. ``accelerate launch`` or torchrun
starts several processes, on one machine or on several with one file system. They split every
batch; the first of them writes all files.

The folder holds ``run.json`` (what identifies the run), ``model/`` (the averaged weights, with
the tokenizer) and ``log.csv``: step, loss and validation NELBO in nats per token, learning rate,
tokens per second, and model FLOPs utilization (MFU). MFU is the share of the device's rate of
matrix products, which is measured and printed at the start. While the training runs,
``state-<step>.safetensors`` are its last two checkpoints. A damaged one is named, and the one
before it is used.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from accelerate import PartialState
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib import checkpoints, environment
from uddm_lib.data import check_blocks
from uddm_lib.devices import default_device, flushed_denormals
from uddm_lib.facts import Facts
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.probes import validation_nelbo
from uddm_lib.results import open_run, provenance, read_run, read_table, resolve, write_table
from uddm_lib.training.loop import TrainingLoop
from uddm_lib.training.options import TrainingOptions
from uddm_lib.training.stopping import stop_requests

__all__ = ["TrainingResult", "identity", "train"]

_SHAPE = (
    "vocab_size",
    "length",
    "hidden_size",
    "cond_dim",
    "n_blocks",
    "n_heads",
    "dropout",
    "adaln_zero",
)


# Choices for the machine at hand, not for the run. Earlier versions have some in run.json.
_OF_THE_MACHINE = ("compile", "checkpoint_every", "micro_batch")
# Choices that earlier versions lack in run.json: they are there where they are not the default.
_LATER = {"objective": "nelbo", "time_conditioning": True}
# What the objectives train. A denoiser of three sequences that it knows by heart, converted, gives
# the right token 0.98 at t = 0.05, 0.93 at 0.01, 0.61 at 0.001; the NELBO's network 0.999 or more.
_FACTS: dict[str, dict[str, Any]] = {
    "nelbo": {},
    "cross_entropy": {"output": "denoiser", "least_t": 0.05},
}


class TrainingResult(NamedTuple):
    """A finished run.

    Attributes:
        folder: the run's folder.
        model: the averaged model in evaluation mode, on the device that trains.
        log: a row per ``log_every`` steps.
    """

    folder: Path
    model: UDDM
    log: pd.DataFrame


def identity(
    blocks: Int[Tensor, "n L"], config: UDDMConfig, options: TrainingOptions
) -> dict[str, Any]:
    """What identifies a run in its ``run.json``: number of blocks, the model's shape, options."""
    shape = {name: getattr(config, name) for name in _SHAPE}
    values = {"blocks": len(blocks)} | shape | asdict(options)
    values["time_conditioning"] = config.time_conditioning
    return {
        name: value
        for name, value in values.items()
        if name not in _OF_THE_MACHINE and _LATER.get(name) != value
    }


def train(
    folder: str | Path,
    blocks: Int[Tensor, "n L"],
    test_blocks: Int[Tensor, "m M"],
    config: UDDMConfig,
    options: TrainingOptions,
    tokenizer: PreTrainedTokenizerBase | None = None,
    scored: Bool[Tensor, "L"] | None = None,
    parameters: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> TrainingResult:
    """Train a UDDM; or resume, or just read, the run that ``folder`` holds.

    In the main thread, SIGTERM and SIGUSR1 end it after the current step, with a checkpoint.

    Args:
        folder: the run's folder, absolute or relative to the repository's root.
        blocks: training blocks.
        test_blocks: held-out blocks for the validation NELBO.
        config: shape of the model.
        options: how to train.
        tokenizer: saved with the model.
        scored: positions that count in the validation NELBO.
        parameters: anything else that identifies the run (corpus, n), for ``run.json``.
        show_progress: show a progress bar.

    Raises:
        ValueError: if the folder holds a run of other parameters, or blocks don't fit the model.
        FloatingPointError: if the loss is not finite; the last checkpoint stays.
        OSError: naming the file, if a disk is full or read-only; existing checkpoints stay.
        Stopped: after SIGTERM or SIGUSR1; the same call continues.
    """
    for name, part in (("blocks", blocks), ("test_blocks", test_blocks)):
        _check_shape(name, part, config)
    known = identity(blocks, config, options) | dict(parameters or {})
    config = copy.deepcopy(config)
    config.facts = Facts(**_FACTS[options.objective]).stored()
    environment.apply_to_training()
    process = PartialState(cpu=default_device().type == "cpu")
    with process.main_process_first():
        folder = _open(folder, known)
        finished = (folder / "model").is_dir() and (folder / "log.csv").is_file()
        if process.is_main_process:
            checkpoints.remove_states(folder, unfinished=not finished)
    if not finished:
        with stop_requests() as requests:
            loop = TrainingLoop(folder, blocks, config, options)
            held_out = test_blocks.to(loop.device)
            with flushed_denormals():
                rows = loop.run(
                    lambda model: validation_nelbo(model, held_out, scored).mean().item(),
                    show_progress,
                    requests,
                )
            if process.is_main_process:
                _write(loop, rows, known, tokenizer)
            process.wait_for_everyone()
            loop.stop_if(requests)
    model = checkpoints.load_uddm(folder / "model", process.device)
    return TrainingResult(folder, model, read_table(folder / "log.csv"))


def _open(folder: str | Path, known: dict[str, Any]) -> Path:
    """The run's folder, if its ``run.json`` is that of this run or not there yet.

    Raises:
        ValueError: naming each difference.
    """
    folder = resolve(folder)
    recorded = read_run(folder) if (folder / "run.json").exists() else {}
    ignored = {name: recorded[name] for name in _OF_THE_MACHINE if name in recorded}
    try:
        return open_run(folder, known | ignored)
    except ValueError as error:
        if recorded.get("steps") in (None, known["steps"]):
            raise
        raise ValueError(
            f"{error}. Another number of steps is another training: a finished one keeps no "
            "optimizer state, and most learning-rate schedules depend on the number"
        ) from None


def _check_shape(name: str, blocks: Int[Tensor, "m M"], config: UDDMConfig) -> None:
    check_blocks(blocks, config.vocab_size)
    if blocks.shape[1] != config.length or not len(blocks):
        raise ValueError(
            f"{name} has shape {tuple(blocks.shape)}; the model takes (at least 1, {config.length})"
        )


def _write(
    loop: TrainingLoop,
    rows: list[dict[str, float]],
    known: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase | None,
) -> None:
    """Write the log and the model, then remove the checkpoints."""
    how = {"computed_in": loop.computed_in, "compile": loop.options.compile}
    source = provenance(known | how, loop.options.seed)
    write_table(pd.DataFrame(rows), loop.folder / "log.csv", source)
    checkpoints.save(loop.folder / "model", loop.state.average, tokenizer)
    checkpoints.remove_states(loop.folder)
