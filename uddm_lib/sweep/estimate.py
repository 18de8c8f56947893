"""The command ``plan``: what the sweep of a profile takes, and what of it is done."""

import argparse
import math
from pathlib import Path

from uddm_lib.sweep import paths

_DESCRIPTION = """\
Print what the sweep of a profile (runs/PROFILE.yaml) takes, before anything runs: runs, steps,
operations, GPU-hours and disk; probes apart from training; and what of it is done.
"""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "plan",
        help="say what a sweep takes before it runs, and what of it is done",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "profile", metavar="PROFILE", help="name of a YAML file in runs/: paper, gpu, laptop, ..."
    )
    parser.add_argument(
        "--mfu",
        type=float,
        default=0.4,
        metavar="SHARE",
        help="share of the device's peak rate that is reached, in (0, 1]; default: 0.4",
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--device", default="h200", metavar="NAME", help="a100, l40s, h100 or h200, the default"
    )
    rate.add_argument(
        "--tflops", type=float, metavar="RATE", help="peak rate of another device, in any precision"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the estimate; returns the exit status.

    Raises:
        ValueError: naming the option or the profile's key, its value and what is allowed.
    """
    root = paths.checkout()
    if not 0 < options.mfu <= 1:
        raise ValueError(f"--mfu {options.mfu:g} is outside (0, 1]")
    if options.tflops is not None and not 0 < options.tflops < math.inf:
        raise ValueError(f"--tflops {options.tflops:g} is not a positive number")

    from uddm_lib.sweep.costs import DEVICES  # late: torch takes seconds

    if options.device not in DEVICES:
        raise ValueError(
            f"--device {options.device} is unknown; allowed: {', '.join(DEVICES)}, or give --tflops"
        )
    rates, device = DEVICES[options.device], options.device
    if options.tflops is not None:
        rates, device = (options.tflops, options.tflops), "the device"
    print(estimate(options.profile, options.mfu, rates, device, root))
    return 0


def estimate(
    profile: str, mfu: float, rates: tuple[float, float], device: str, root: Path | None = None
) -> str:
    """What ``profile`` takes and what of it is done, as text.

    Args:
        profile: its name.
        mfu: share of the device's peak rate that is reached, in (0, 1].
        rates: peak rates of the device in bfloat16 and in float32, TFLOPS.
        device: what to call it.
        root: the checkout; by default the one around the package or the working directory.

    Raises:
        ProfileError: if the profile cannot be run, or lacks a length or a vocabulary's size.
    """
    from uddm_lib.sweep import estimated_runs, jobs  # late, likewise

    root = root or paths.checkout()
    all_jobs = jobs.jobs_of(profile, root)
    jobs.check_names(all_jobs.values())
    runs = estimated_runs.estimated_runs(all_jobs, root)
    unlisted = jobs.unlisted_runs(root / paths.results_folder(profile), all_jobs.values())
    bf16, fp32 = (1 / (mfu * rate * 1e12) for rate in rates)  # seconds of an operation
    parts = [
        f"{profile}: {len(runs)} runs, {len(all_jobs)} notebooks\n",
        "Operations of all runs; of probes, recovery and entropy, at most these.",
        estimated_runs.table(runs, estimated_runs.work),
        f"GPU-hours at {mfu:.0%} of the peak of {device}: {rates[0]:g} TFLOPS in bfloat16, "
        f"{rates[1]:g} in float32, each notebook in its own.\n"
        "Of matrix products alone: starting notebooks and kernels takes more.",
        estimated_runs.table(runs, lambda group: estimated_runs.hours(group, bf16, fp32)),
        "Disk. A checkpoint is one training's, and gone when that ends; while it is replaced "
        "there are two.",
        estimated_runs.table(runs, estimated_runs.disk),
        "Done so far.",
        estimated_runs.table(runs, estimated_runs.done),
        *estimated_runs.under_way(runs),
        *([f"not in the profile: {', '.join(unlisted)}"] if unlisted else []),
    ]
    return "\n".join(parts).rstrip()
