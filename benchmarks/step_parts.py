"""What a training step of the profile ``laptop`` consists of, and what a training does besides.

python benchmarks/step_parts.py     writes results/step_parts.json (a minute, one core)
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import measure
import torch

from uddm_lib.devices import flushed_denormals
from uddm_lib.experiments import prepare
from uddm_lib.experiments.prepared import VALIDATION_BLOCKS
from uddm_lib.probes import validation_nelbo
from uddm_lib.sweep.profiles import read_profile
from uddm_lib.training import TrainingLoop

WARM, TIMED, PROFILED = 20, 100, 20
MUON, ADAMW, LOSS = "Optimizer.step#Muon.step", "Optimizer.step#AdamW.step", "_WeightedSum"
LAYERS, ATTENTION = ("aten::mm", "aten::addmm", "aten::addmm_"), ("aten::bmm", "aten::baddbmm")
VALIDATIONS = 11  # of a training of this length
DEFAULTS = {"dropout": 0.0, "adaln_zero": False}  # of notebook 02


def main():
    """Time and profile a training of each size, and write the record."""
    torch.set_num_threads(1)
    found = {
        f"{group['corpus']} {size}": training_of(group, size)
        for group in read_profile("laptop", Path(__file__).parents[1])["experiments"]
        for size in group["sizes"]
    }
    record = {
        "benchmark": "step_parts",
        "about": f"profile laptop, compiled, one thread; the median of {TIMED} steps in ms, and "
        f"what the profiler says of {PROFILED} more",
        "machine": measure.machine(),
        "trainings": found,
    }
    (measure.RESULTS / "step_parts.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def training_of(group, size):
    """Times of a training at the largest n: a step, its parts (ms), and the rest (s)."""
    shape = {name: group[name] for name in ("corpus", "length", "vocab_size")}
    experiment = prepare(shape | DEFAULTS | {"size": size, "n": "all"} | group["training"])
    folder = Path(tempfile.mkdtemp())
    loop = TrainingLoop(folder, experiment.blocks, experiment.config, experiment.options)
    loop.objective.train()
    with flushed_denormals():
        seconds = [seconds_of(loop.update, step) for step in range(WARM + TIMED)][WARM:]
        with torch.profiler.profile() as profile:
            for step in range(WARM + TIMED, WARM + TIMED + PROFILED):
                loop.update(step)
        test = experiment.corpus.test[:VALIDATION_BLOCKS]
        validation = seconds_of(validation_nelbo, loop.state.average, test)
    step = 1e3 * statistics.median(seconds)
    parts = parts_of(profile.events())
    tokens = experiment.options.batch_size * experiment.config.length
    return {
        "step_ms": step,
        "parts_ms": parts | {"rest": step - sum(parts.values())},
        "products_at_the_rate_of_large_ones_ms": 1e3 * tokens / loop.log.rate_limit,
        "steps_s": experiment.options.steps * step / 1e3,
        "validations_s": VALIDATIONS * validation,
    }


def seconds_of(function, *arguments):
    """Seconds of a call."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def parts_of(events):
    """Milliseconds a step of each part: optimizers and loss whole, then the network by kind."""
    sums = dict.fromkeys(
        ("products of layers", "products of attention", "elementwise", "loss", "Muon", "AdamW"), 0.0
    )
    whole = {MUON: "Muon", ADAMW: "AdamW", LOSS: "loss"}
    for event in events:
        if event.name in whole:
            sums[whole[event.name]] += event.cpu_time_total
        elif is_inside(event, whole):
            continue
        elif event.name in LAYERS:
            sums["products of layers"] += event.cpu_time_total
        elif event.name in ATTENTION:
            sums["products of attention"] += event.cpu_time_total
        elif "CompiledFxGraph" in event.name:  # what it does itself, without the products
            sums["elementwise"] += event.self_cpu_time_total
    return {name: microseconds / 1e3 / PROFILED for name, microseconds in sums.items()}


def is_inside(event, names):
    """Whether an event was recorded inside one of these."""
    while (event := event.cpu_parent) is not None:
        if event.name in names:
            return True
    return False


if __name__ == "__main__":
    main()
