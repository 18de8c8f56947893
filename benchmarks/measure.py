"""Time side by side, and peak memory of each side in its own process; results as JSON.

A benchmark is a script with groups of named sides. Each is a function that prepares a problem and
returns the piece of work to repeat. Run plainly, it measures all sides; ``--only GROUP/SIDE`` runs
one and prints its extra memory. It runs on a GPU if there is one, at the paper's batch, else on the
CPU; ``BENCH_DEVICE`` overrides. The results describe the machine.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
DEVICE = torch.device(
    os.environ.get("BENCH_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
)
GPU = DEVICE.type == "cuda"


def alternating(works, repeats):
    """Seconds of each piece of work, in turns, after one run that is not counted."""
    for work in works.values():
        work()
    seconds = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            wait()
            started = time.perf_counter()
            work()
            wait()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def wait():
    """Let a GPU finish what it was given."""
    if GPU:
        torch.cuda.synchronize()


def extra_mib(work):
    """Memory that a piece of work needs, in MiB: its peak above what it leaves behind.

    The first run is not measured: it loads code, compiles, and leaves gradients. On a CPU (Linux)
    the memory is the resident memory of the process.
    """
    work()
    gc.collect()
    if GPU:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL(None).malloc_trim(
        0
    )  # what is free but kept by the allocator would count as left behind
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def machine():
    """What the numbers depend on besides the code."""
    names = (
        [
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        if Path("/proc/cpuinfo").is_file()
        else []
    )
    about = {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_instructions": sorted(
            name
            for name, has in getattr(torch.cpu, "get_capabilities", dict)().items()
            if has and ("amx" in name or "bf16" in name)
        ),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": list(os.getloadavg()),
        "gpu": torch.cuda.get_device_name() if GPU else None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _answer("git", "rev-parse", "--short", "HEAD"),
    }
    return about | (_gpu() if GPU else {})


def _gpu():
    properties = torch.cuda.get_device_properties(DEVICE)
    return {
        "gpu_memory_gib": properties.total_memory / 2**30,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": _answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
    }


def _answer(*command):
    """The first line that a command prints, or None if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:
        return None
    return next(iter(done.stdout.splitlines()), None) if not done.returncode else None


def main(name, groups, about, facts=None):
    """Measure a benchmark's sides and write ``results/<name>.json``.

    Args:
        name: of the benchmark.
        groups: {group: {side: function that prepares the problem and returns the work}}; the first
            side of a group is what its others are compared to.
        about: sizes, for the record.
        facts: a function from the rows to further numbers by name, such as rates.
    """
    sides = {
        f"{group}/{side}": prepare
        for group, parts in groups.items()
        for side, prepare in parts.items()
    }
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--only", choices=list(sides), help="run one side and print its extra memory in MiB"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:
        print(extra_mib(sides[options.only]()))
        return
    name += "-gpu" if GPU else ""
    record = {
        "benchmark": name,
        "about": about,
        "repeats": options.repeats,
        "machine": machine(),
        "rows": [],
    }
    for group, parts in groups.items():
        seconds = alternating({side: prepare() for side, prepare in parts.items()}, options.repeats)
        extra = {side: _apart(f"{group}/{side}", options.threads) for side in parts}
        first, median = (
            next(iter(parts)),
            {side: statistics.median(times) for side, times in seconds.items()},
        )
        record["rows"] += [
            {
                "group": group,
                "side": side,
                "median_s": median[side],
                "least_s": min(seconds[side]),
                "most_s": max(seconds[side]),
                "faster": median[first] / median[side],
                "extra_mib": extra[side],
                "memory": extra[side] / extra[first],
            }
            for side in parts
        ]
    record |= {"facts": facts(record["rows"]) if facts else {}, "load_after": list(os.getloadavg())}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    show(record)


def _apart(side, threads):
    """Extra memory of a side in a process of its own."""
    script = sys.modules["__main__"].__file__
    # glibc adapts what it keeps for itself; told not to, resident memory is what tensors hold.
    environment = os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }
    done = subprocess.run(
        [sys.executable, script, "--only", side, "--threads", str(threads)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return float(done.stdout.split()[-1])


def show(record):
    """A benchmark's table."""
    width = max(len(row["side"]) for row in record["rows"])
    print(f"{record['benchmark']}: {record['about']}")
    group = None
    for row in record["rows"]:
        if row["group"] != group:
            group = row["group"]
            print(f"{group}\n  {'':{width}}  median s   least s    faster  extra MiB  of first")
        print(
            f"  {row['side']:{width}}  {row['median_s']:8.3f}  {row['least_s']:8.3f}  "
            f"{row['faster']:7.2f}x  {row['extra_mib']:9.0f}  {row['memory']:8.2f}"
        )
    for name, value in record["facts"].items():
        print(f"  {name}: {value:.3g}")
    print(flush=True)
