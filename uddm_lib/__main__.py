"""The command line: ``python -m uddm_lib --help``."""

import argparse
import math
import sys
from pathlib import Path

_CONVERT = """\
Convert a checkpoint that the paper's authors released (a PyTorch Lightning .ckpt file) into a folder with
config.json and model.safetensors, which this package loads. Nothing in the file is executed, so it need not
be trusted; it is left as it is.
"""
_EXAMPLE = """\
example:
  python -m uddm_lib convert lm1b-small-1.0.ckpt models/small --tokenizer bert-base-uncased

then, in Python:
  from uddm_lib import checkpoints
  model = checkpoints.load("models/small")
"""
_PLAN = """\
What the sweep of a profile (runs/PROFILE.yaml) takes, before anything runs: runs, steps, operations, GPU-hours and
disk; probes apart from training; and what of it is done. It needs a checkout of the repository.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def parser():
    """The command line's parser; each command is a sub-parser whose ``run`` does the work."""
    top = _Parser(
        prog="python -m uddm_lib",
        description="Tools for uniform-state diffusion language models.",
        epilog="python -m uddm_lib COMMAND --help explains a command.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    convert = commands.add_parser(
        "convert",
        help="turn a released .ckpt file into a folder that loads safely",
        description=_CONVERT,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    convert.add_argument("source", metavar="SRC.ckpt", type=Path, help="the file to read")
    convert.add_argument(
        "folder", metavar="DST", type=Path, help="the folder to write; new, or empty"
    )
    convert.add_argument(
        "--weights",
        choices=["ema", "raw"],
        default="ema",
        help="moving averages, which evaluate best (the default), or the last training step's",
    )
    convert.add_argument(
        "--heads", type=int, metavar="N", help="attention heads, should the file not tell"
    )
    convert.add_argument(
        "--length",
        type=int,
        metavar="L",
        help="tokens a sequence; default: what the file says, or 128",
    )
    convert.add_argument(
        "--tokenizer",
        metavar="NAME_OR_FOLDER",
        help="a tokenizer to save beside the model: a Hugging Face name, or a folder",
    )
    convert.set_defaults(run=_convert)
    plan = commands.add_parser(
        "plan",
        help="say what a sweep takes before it runs, and what of it is done",
        description=_PLAN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument(
        "profile", metavar="PROFILE", help="name of a YAML file in runs/: paper, gpu, laptop, ..."
    )
    plan.add_argument(
        "--mfu",
        type=float,
        default=0.4,
        metavar="SHARE",
        help="share of the device's peak rate that is reached, in (0, 1]; default: 0.4",
    )
    rate = plan.add_mutually_exclusive_group()
    rate.add_argument(
        "--device", default="h200", metavar="NAME", help="a100, l40s, h100 or h200, the default"
    )
    rate.add_argument(
        "--tflops", type=float, metavar="RATE", help="peak rate of another device, in any precision"
    )
    plan.set_defaults(run=_plan)
    return top


def _convert(arguments):
    source, folder = arguments.source, arguments.folder.resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(
            f"{arguments.folder} exists and is not an empty folder: name a new one, nothing is replaced"
        )

    from uddm_lib import checkpoints, data  # late: --help should not wait for torch

    model = checkpoints.load_released(source, arguments.weights, arguments.heads, arguments.length)
    tokenizer = None
    if arguments.tokenizer is not None:
        tokenizer = data.load_tokenizer(arguments.tokenizer)
        if len(tokenizer) > model.vocab_size:
            raise ValueError(
                f"the tokenizer {arguments.tokenizer} has {len(tokenizer)} tokens, "
                f"more than the model's {model.vocab_size}: it is another model's"
            )
    checkpoints.save(folder, model, tokenizer)
    config, size = model.config, sum(weight.numel() for weight in model.parameters())
    print(
        f"{source} ({arguments.weights} weights) -> {arguments.folder}\n"
        f"{size:,} parameters: V={config.vocab_size}, L={config.length}, {config.n_blocks} blocks, "
        f"{config.n_heads} heads, hidden size {config.hidden_size}\n"
        f"load it with:\n  from uddm_lib import checkpoints\n  model = checkpoints.load({str(arguments.folder)!r})"
    )
    if tokenizer is not None:
        print(f"  tokenizer = checkpoints.load_tokenizer({str(arguments.folder)!r})")


def _plan(arguments):
    from uddm_lib.results import repository_root

    try:
        runs = repository_root() / "runs"
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"plan needs a checkout of the repository, with its runs/: {error}"
        ) from None
    if not 0 < arguments.mfu <= 1:
        raise ValueError(f"--mfu {arguments.mfu:g} is outside (0, 1]")
    if arguments.tflops is not None and not 0 < arguments.tflops < math.inf:
        raise ValueError(f"--tflops {arguments.tflops:g} is not a positive number")

    from uddm_lib.sweep.costs import DEVICES

    if arguments.device not in DEVICES:
        raise ValueError(
            f"--device {arguments.device} is unknown; allowed: {', '.join(DEVICES)}, or give --tflops"
        )
    sys.path.insert(
        0, str(runs)
    )  # the sweep's modules are scripts beside each other and no package
    import plan

    rates, device = DEVICES[arguments.device], arguments.device
    if arguments.tflops is not None:
        rates, device = (arguments.tflops, arguments.tflops), "the device"
    print(plan.report(arguments.profile, arguments.mfu, rates, device))


def main(arguments=None):
    """Run a command.

    Args:
        arguments: the command line's words; this process's own by default.

    Returns:
        The exit code: 0, or 2 after a line ``error: ...`` on stderr.
    """
    command_line = parser()
    arguments = command_line.parse_args(arguments)
    if not hasattr(arguments, "run"):
        command_line.print_help()
        return 0
    try:
        arguments.run(arguments)
    except (OSError, ValueError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
