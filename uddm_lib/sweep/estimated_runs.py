"""What each run of a sweep costs and how much of it is done, and tables of that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from uddm_lib import checkpoints
from uddm_lib.model import UDDMConfig
from uddm_lib.sweep import costs
from uddm_lib.sweep.jobs import Job
from uddm_lib.sweep.notebooks import TABLES
from uddm_lib.sweep.profiles import ProfileError


@dataclass
class EstimatedRun:
    """A run of a sweep, counted before it starts.

    Attributes:
        name: the name of its folder.
        kind: corpus and size.
        parameters: of the model.
        steps, tokens: of the training.
        bf16: stage -> whether it computes in bfloat16.
        flops: stage -> operations.
        table_bytes: size of its tables and executed notebooks.
        done: stage -> the share that is done, 0 to 1.
        checkpoint_step: of a training under way, 0 without a checkpoint; None if none is under way.
    """

    name: str
    kind: tuple[str, str]
    parameters: int
    steps: int
    tokens: int
    bf16: dict[str, bool]
    flops: dict[str, int]
    table_bytes: int
    done: dict[str, float]
    checkpoint_step: int | None


def estimated_runs(jobs: Mapping[str, Job], root: Path) -> list[EstimatedRun]:
    """The runs that ``jobs`` make in the checkout ``root``.

    Raises:
        ProfileError: if an experiment lacks a length or a vocabulary's size.
    """
    stages: dict[str, dict[str, Job]] = {}
    for job in jobs.values():
        for run in job.runs:
            stages.setdefault(run, {})[job.stage] = job
    return [_estimated_run(run, found, root) for run, found in stages.items()]


def table(runs: list[EstimatedRun], columns: Callable[[list[EstimatedRun]], dict[str, Any]]) -> str:
    """A row of ``columns(group)`` for each corpus and size, and one of all if there are several."""
    groups: dict[tuple[str, str], list[EstimatedRun]] = {}
    for run in runs:
        groups.setdefault(run.kind, []).append(run)
    rows = [
        {"corpus": corpus, "size": size, **columns(group)}
        for (corpus, size), group in groups.items()
    ]
    if len(rows) > 1:
        rows.append({"corpus": "all", "size": "", **columns(runs)})
    return pd.DataFrame(rows).to_string(index=False) + "\n"


def work(group: list[EstimatedRun]) -> dict[str, Any]:
    """Columns of a table: parameters, runs, steps, tokens, operations."""
    counts = {run.parameters for run in group}
    return {
        "parameters": f"{counts.pop():,}" if len(counts) == 1 else "",
        "runs": len(group),
        "steps": f"{sum(run.steps for run in group):,}",
        "tokens": f"{sum(run.tokens for run in group):.3g}",
        **{stage: f"{sum(run.flops[stage] for run in group):.3g}" for stage in TABLES},
    }


def hours(group: list[EstimatedRun], bf16: float, fp32: float) -> dict[str, str]:
    """Columns of a table: hours of each stage, all of them, and those not yet spent.

    Args:
        group: the runs of a row.
        bf16, fp32: seconds of an operation in bfloat16 and in float32.
    """

    def spent(run: EstimatedRun, stage: str) -> float:
        return run.flops[stage] * (bf16 if run.bf16[stage] else fp32) / 3600

    columns = {stage: sum(spent(run, stage) for run in group) for stage in TABLES}
    columns["together"] = sum(columns.values())
    columns["still to do"] = sum(
        spent(run, stage) * (1 - run.done[stage]) for run in group for stage in TABLES
    )
    return {
        name: f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for name, value in columns.items()
    }


def disk(group: list[EstimatedRun]) -> dict[str, str]:
    """Columns of a table: sizes on disk."""
    models = sum(costs.model_bytes(run.parameters) for run in group)
    tables = sum(run.table_bytes for run in group)
    return {
        "models": _size(models),
        "tables and notebooks": _size(tables),
        "together": _size(models + tables),
        "a checkpoint": _size(max(costs.state_bytes(run.parameters) for run in group)),
    }


def done(group: list[EstimatedRun]) -> dict[str, str]:
    """Columns of a table: how many runs are done with each stage."""
    return {
        stage: f"{sum(run.done[stage] == 1 for run in group)} of {len(group)}" for stage in TABLES
    }


def under_way(runs: list[EstimatedRun]) -> list[str]:
    """A line for each training that has begun."""
    return [
        f"{run.name}: training, "
        + (
            f"checkpoint at step {run.checkpoint_step:,} of {run.steps:,}"
            if run.checkpoint_step
            else "no checkpoint yet"
        )
        for run in runs
        if run.checkpoint_step is not None
    ]


def _estimated_run(run: str, stages: Mapping[str, Job], root: Path) -> EstimatedRun:
    parameters = {stage: stages[stage].all_parameters(root) for stage in TABLES}
    training = parameters["training"]
    if missing := [name for name in ("length", "vocab_size") if not training[name]]:
        raise ProfileError(
            f"{stages['training'].label}: give {' and '.join(missing)} in the experiment, "
            "the plan counts with them"
        )
    config, count = _model(training["size"], training["vocab_size"], training["length"])
    steps, batch_size = training["steps"], training["batch_size"]
    passes = {
        "recovery": costs.recovery_passes(**_recovery_counts(parameters["recovery"])),
        "entropy": costs.entropy_passes(
            **_select(parameters["entropy"], "sequences", "generated", "steps", "outcome_t")
        ),
    }
    flops = {"training": costs.training_flops(config, steps, batch_size)}
    flops |= {stage: costs.probe_flops(config, number) for stage, number in passes.items()}
    shares = {stage: float(_finished(job, run, root)) for stage, job in stages.items()}
    folder = root / stages["training"].run_folder(run)
    step = None if shares["training"] else _checkpoint_step(folder)
    if step:
        shares["training"] = step / steps
    return EstimatedRun(
        name=run,
        kind=(training["corpus"], training["size"]),
        parameters=count,
        steps=steps,
        tokens=steps * batch_size * config.length,
        bf16={stage: parameters[stage].get("precision") == "bf16" for stage in TABLES},
        flops=flops,
        table_bytes=costs.table_bytes(
            config,
            parameters["recovery"],
            parameters["entropy"],
            denoisers=3 if training["corpus"] == "markov" else 1,
        ),
        done=shares,
        checkpoint_step=step,
    )


def _recovery_counts(parameters: dict[str, Any]) -> dict[str, Any]:
    counts = _select(parameters, "sequences", "steps", "greedy_steps", "start_t")
    return counts | {name: tuple(parameters[name]) for name in ("levels", "shares")}


@lru_cache
def _model(size: str, vocab_size: int, length: int) -> tuple[UDDMConfig, int]:
    config = UDDMConfig.named(size, vocab_size, length)
    return config, costs.parameter_count(config)


def _select(parameters: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: parameters[name] for name in names}


def _finished(job: Job, run: str, root: Path) -> bool:
    return all((root / table).is_file() for table in job.tables(run))


def _checkpoint_step(folder: Path) -> int | None:
    """The step of a training's last checkpoint, 0 without one; None if it has not begun."""
    if not (folder / "run.json").is_file():
        return None
    states = checkpoints.states(folder)
    return int(states[-1].stem.partition("-")[2]) if states else 0


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
