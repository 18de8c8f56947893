"""How many notebooks at a time, and with how many threads each: by measurement, on the CPU that runs the sweep.

Whether several single-thread workers or fewer with more threads train faster depends on the machine and on the model's
size. Each way of sharing out the cores trains the profile's most expensive model for some steps, all workers at once;
the one with the most tokens a second wins. The answer is kept in `runs/cache/workers.json`. Where a GPU computes, one
notebook at a time gets all cores: several might not fit into its memory.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from profiles import ROOT, ProfileError

from uddm_lib.results import atomic_write

CACHE = ROOT / "runs" / "cache" / "workers.json"
STEPS = 40
# What a step's time depends on, but for compile, which takes long itself.
_SHAPE = ("size", "length", "vocab_size", "batch_size", "precision", "dropout", "adaln_zero")


def threads_each(plan, cores):
    """Threads for each notebook of ``plan`` (target -> Job), of which ``cores`` over that many run at a time."""
    training = [job.parameters for job in plan.values() if job.stage == "training"]
    shapes = [{name: given[name] for name in _SHAPE if name in given} for given in training]
    shapes = [shape for i, shape in enumerate(shapes) if shape not in shapes[:i]]
    choices = [threads for threads in range(1, cores + 1) if cores % threads == 0]
    if len(choices) == 1 or not shapes:
        return 1
    key = json.dumps(
        [platform.node(), platform.machine(), os.cpu_count(), cores, shapes], sort_keys=True
    )
    known = _known()
    if key not in known:
        import torch

        if torch.cuda.is_available():
            return cores
        rates = {threads: sum(_rates(shapes, threads, cores // threads)) for threads in choices}
        known[key] = {"threads": max(rates, key=rates.get), "tokens_per_second": rates}
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(CACHE, json.dumps(known, indent=1))
        print(_in_words(known[key], cores), flush=True)
    return known[key]["threads"]


def _known():
    try:
        return json.loads(CACHE.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _in_words(found, cores):
    ways = ", ".join(
        f"{cores // threads} x {threads} threads {rate:,.0f}"
        for threads, rate in found["tokens_per_second"].items()
    )
    return f"tokens/s in training: {ways}; chosen: {found['threads']} threads a notebook"


def _rates(shapes, threads, workers):
    """Tokens a second of each of ``workers`` that train at the same time."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, json.dumps(shapes)],
            env=environment,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(workers)
    ]
    for worker in running:
        worker.stdout.readline()  # ready
    for worker in running:
        with contextlib.suppress(BrokenPipeError):  # it failed; its exit status says so
            worker.stdin.write("go\n")
            worker.stdin.flush()
    found = [worker.communicate()[0].split() for worker in running]
    if failed := [worker.returncode for worker in running if worker.returncode]:
        raise ProfileError(
            f"training to measure speed with {threads} threads failed (exit status {failed[0]}); "
            "make figures THREADS=1 goes without"
        )
    return [float(words[-1]) for words in found]


def measure(shapes):
    """Train the most expensive of the shapes once the parent says so; print tokens a second."""
    import tempfile

    import torch

    from uddm_lib.model import UDDMConfig
    from uddm_lib.training import TrainingOptions, train

    def config(shape):
        options = {name: shape[name] for name in ("dropout", "adaln_zero") if name in shape}
        return UDDMConfig.named(
            shape["size"], shape.get("vocab_size", 1024), shape.get("length", 64), **options
        )

    def tokens(shape):
        return shape.get("batch_size", 64) * config(shape).length

    shape = max(shapes, key=lambda shape: tokens(shape) * config(shape).forward_flops)
    options = {name: shape[name] for name in ("batch_size", "precision") if name in shape}
    options = TrainingOptions(**{"batch_size": 64} | options, steps=STEPS, log_every=STEPS // 4)
    blocks = torch.randint(shape.get("vocab_size", 1024), (64, config(shape).length))
    print("ready", flush=True)
    sys.stdin.readline()
    with tempfile.TemporaryDirectory() as folder:
        log = train(Path(folder) / "run", blocks, blocks[:1], config(shape), options).log
    print(log["tokens_per_second"].iloc[1:].median())


if __name__ == "__main__":
    measure(json.loads(sys.argv[1]))
