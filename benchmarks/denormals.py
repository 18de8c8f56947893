"""What denormal numbers cost a step at laptop size, and what flushing them gives back.

One training of 1,000 steps with adaLN-zero is continued in three ways, in turns: by our step, by it
without flushing, and by the published loss from logits of all tokens without flushing.

    python benchmarks/denormals.py     writes results/denormals.json (5 minutes)
"""

import contextlib
import json
import statistics
import tempfile
from pathlib import Path

import measure
import torch

from training import Published
from uddm_lib.devices import flushed_denormals
from uddm_lib.experiments import prepare
from uddm_lib.training import TrainingLoop

STEPS, AT_A_TIME, REPEATS = 1000, 10, 7
TRAINING = {
    "corpus": "kjv",
    "length": 64,
    "vocab_size": 80,
    "size": "nano",
    "n": 8192,
    "steps": 2 * STEPS,
    "batch_size": 64,
    "learning_rate": 4e-3,
    "warmup_steps": 200,
    "t_min": 1e-3,
    "dropout": 0.0,
    "adaln_zero": True,
}


def main():
    """Train, then time the ways to continue, and write the record."""
    torch.set_num_threads(1)
    experiment = prepare(TRAINING)
    trained = loop_of(experiment)
    with flushed_denormals():
        for step in range(STEPS):
            trained.update(step)
    schedules = {name: one.state_dict() for name, one in trained.state.schedules.items()}
    loops = {}
    for side in ("published", "ours, not flushed", "ours"):
        loops[side] = loop_of(experiment)
        copies = {name: part.clone() for name, part in trained.state.tensors().items()}
        loops[side].state.restore(copies, schedules)
        if side == "published":
            loops[side].objective = Published(loops[side].state.model)
    steps = {side: iter(range(STEPS, 2 * STEPS)) for side in loops}

    def work(side):
        flushed = flushed_denormals if side == "ours" else contextlib.nullcontext
        with flushed():
            for _ in range(AT_A_TIME):
                loops[side].update(next(steps[side]))

    works = {side: lambda side=side: work(side) for side in loops}
    seconds = measure.alternating(works, REPEATS)
    median = {side: statistics.median(times) / AT_A_TIME for side, times in seconds.items()}
    record = {
        "benchmark": "denormals",
        "about": f"a step after {STEPS:,}, float32, eager: " + json.dumps(TRAINING),
        "machine": measure.machine(),
        "step_ms": {side: 1e3 * value for side, value in median.items()},
        "faster than the published form": {
            side: median["published"] / value for side, value in median.items()
        },
    }
    path = measure.RESULTS / "denormals.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def loop_of(experiment):
    """A training that has not begun, in a folder of its own."""
    folder = Path(tempfile.mkdtemp())
    loop = TrainingLoop(folder, experiment.blocks, experiment.config, experiment.options)
    loop.objective.train()
    return loop


if __name__ == "__main__":
    main()
