"""What a profile takes and what of it is done, before anything runs: the command ``python -m uddm_lib plan``."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import profiles

from uddm_lib import checkpoints
from uddm_lib.model import UDDMConfig
from uddm_lib.sweep import costs

HOUR, TERA = 3600, 1e12
PROBES = ("recovery", "entropy")


@dataclass
class Run:
    """A run of the sweep: its name, what it is, its cost, and how much of each notebook is done (0 to 1)."""

    name: str
    kind: tuple  # corpus, size
    parameters: int
    steps: int
    tokens: int
    bf16: dict  # whether training, recovery, entropy compute in bfloat16
    flops: dict  # likewise
    tables: int  # bytes
    done: dict  # likewise, a share
    step: int | None = None  # of a training under way


def report(profile, mfu, rates, device, root=profiles.ROOT):
    """The plan of ``profile`` as text.

    Args:
        profile: its name.
        mfu: share of the device's peak rate that is reached, in (0, 1].
        rates: peak rates of the device in bfloat16 and in float32, TFLOPS.
        device: what to call it.
        root: the checkout.

    Raises:
        ProfileError: if the profile cannot be run, or leaves open what the plan counts with.
    """
    jobs = profiles.jobs(profile, root)
    profiles.check_names_of(jobs.values())
    runs = [_run(folder, stages, root) for folder, stages in _by_folder(jobs).items()]
    seconds = {name: 1 / (mfu * rate * TERA) for name, rate in zip((True, False), rates)}
    hours = (
        f"GPU-hours at {mfu:.0%} of the peak of {device}: {rates[0]:g} TFLOPS in bfloat16, {rates[1]:g} in "
        "float32, each notebook in its own.\nOf matrix products alone: starting notebooks and kernels takes more."
    )
    parts = [
        f"{profile}: {len(runs)} runs, {len(jobs)} notebooks\n",
        "Operations of all runs; of probes, recovery and entropy, at most these.",
        _table(runs, _work),
        hours,
        _table(runs, lambda group: _hours(group, seconds)),
        "Disk. A checkpoint is one training's, and gone when that ends; while it is replaced there are two.",
        _table(runs, _disk),
        "Done so far.",
        _table(runs, _done),
    ]
    return "\n".join([*parts, *_under_way(runs), *_strange(runs, root / "runs" / profile)]).rstrip()


def _by_folder(jobs):
    """folder -> stage -> Job, of the jobs that belong to a run."""
    found = {}
    for target, job in jobs.items():
        if job.stage in profiles.TABLES:
            found.setdefault(str(Path(target).parent), {})[job.stage] = job
    return found


def _run(folder, stages, root):
    training, recovery, entropy = (
        profiles.effective(stages[stage], root) for stage in ("training", *PROBES)
    )
    if missing := [name for name in ("length", "vocab_size") if not training[name]]:
        raise profiles.ProfileError(
            f"{stages['training'].label}: give {' and '.join(missing)} in the experiment, "
            "the plan counts with them"
        )
    config, parameters = _model(training["size"], training["vocab_size"], training["length"])
    steps, batch_size = training["steps"], training["batch_size"]
    passes = {
        "recovery": costs.recovery_passes(
            **_only(recovery, "sequences", "levels", "steps", "shares", "greedy_steps", "start_t")
        ),
        "entropy": costs.entropy_passes(
            **_only(entropy, "sequences", "generated", "steps", "outcome_t")
        ),
    }
    flops = {"training": costs.training_flops(config, steps, batch_size)}
    flops |= {stage: costs.probe_flops(config, count) for stage, count in passes.items()}
    bf16 = {
        stage: given.get("precision") == "bf16"
        for stage, given in zip(("training", *PROBES), (training, recovery, entropy))
    }
    done = {stage: float(_finished(root, job)) for stage, job in stages.items()}
    step = None if done["training"] else _step(root / folder)
    if step:
        done["training"] = step / steps
    tables = costs.table_bytes(
        config, recovery, entropy, 3 if training["corpus"] == "markov" else 1
    )
    return Run(
        Path(folder).name,
        (training["corpus"], training["size"]),
        parameters,
        steps,
        steps * batch_size * config.length,
        bf16,
        flops,
        tables,
        done,
        step,
    )


@lru_cache
def _model(size, vocab_size, length):
    config = UDDMConfig.named(size, vocab_size, length)
    return config, costs.parameter_count(config)


def _only(parameters, *names):
    return {
        name: tuple(value) if isinstance(value := parameters[name], list) else value
        for name in names
    }


def _finished(root, job):
    target = root / job.target
    return all(
        (target.parent / name).is_file() for name in (target.name, *profiles.TABLES[job.stage])
    )


def _step(folder):
    """The step of the last checkpoint of a training under way, 0 without one, None if it has not begun."""
    if not (folder / "run.json").is_file():
        return None
    states = checkpoints.states(folder)
    return int(states[-1].stem.partition("-")[2]) if states else 0


def _table(runs, columns):
    """A row of ``columns(group)`` for each corpus and size, and the sum where there are several."""
    groups = {}
    for run in runs:
        groups.setdefault(run.kind, []).append(run)
    rows = [
        {"corpus": corpus, "size": size, **columns(group)}
        for (corpus, size), group in groups.items()
    ]
    if len(rows) > 1:
        rows.append({"corpus": "all", "size": "", **columns(runs)})
    return pd.DataFrame(rows).to_string(index=False) + "\n"


def _work(group):
    counts = {run.parameters for run in group}
    flops = {
        stage: f"{sum(run.flops[stage] for run in group):.3g}" for stage in ("training", *PROBES)
    }
    return {
        "parameters": f"{counts.pop():,}" if len(counts) == 1 else "",
        "runs": len(group),
        "steps": f"{sum(run.steps for run in group):,}",
        "tokens": f"{sum(run.tokens for run in group):.3g}",
        **flops,
    }


def _hours(group, seconds):
    def hours(stage, share=lambda run, stage: 1.0):
        return (
            sum(run.flops[stage] * share(run, stage) * seconds[run.bf16[stage]] for run in group)
            / HOUR
        )

    stages = ("training", *PROBES)
    columns = {stage: hours(stage) for stage in stages}
    columns["together"] = sum(columns.values())
    columns["still to do"] = sum(
        hours(stage, lambda run, stage: 1 - run.done[stage]) for stage in stages
    )
    return {
        name: f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for name, value in columns.items()
    }


def _disk(group):
    models, tables = (
        sum(size)
        for size in zip(*((costs.model_bytes(run.parameters), run.tables) for run in group))
    )
    return {
        "models": _size(models),
        "tables and notebooks": _size(tables),
        "together": _size(models + tables),
        "a checkpoint": _size(max(costs.state_bytes(run.parameters) for run in group)),
    }


def _size(count):
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _done(group):
    return {
        stage: f"{sum(run.done[stage] == 1 for run in group)} of {len(group)}"
        for stage in ("training", *PROBES)
    }


def _under_way(runs):
    started = [run for run in runs if run.step is not None]
    return [
        f"{run.name}: training, "
        + (f"checkpoint at step {run.step:,} of {run.steps:,}" if run.step else "no checkpoint yet")
        for run in started
    ]


def _strange(runs, folder):
    strange = sorted(
        {path.parent.name for path in folder.glob("*/run.json")} - {run.name for run in runs}
    )
    return [f"not in the profile: {', '.join(strange)}"] if strange else []
