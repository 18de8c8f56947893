"""The command line: ``python -m uddm_lib --help``."""

import argparse
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


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def parser():
    """The command line's parser; each command is a sub-parser whose ``run`` does the work."""
    top = _Parser(prog="python -m uddm_lib", description="Tools for uniform-state diffusion language models.",
                  epilog="python -m uddm_lib COMMAND --help explains a command.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    convert = commands.add_parser("convert", help="turn a released .ckpt file into a folder that loads safely",
                                  description=_CONVERT, epilog=_EXAMPLE,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    convert.add_argument("source", metavar="SRC.ckpt", type=Path, help="the file to read")
    convert.add_argument("folder", metavar="DST", type=Path, help="the folder to write; new, or empty")
    convert.add_argument("--weights", choices=["ema", "raw"], default="ema",
                         help="moving averages, which evaluate best (the default), or the last training step's")
    convert.add_argument("--heads", type=int, metavar="N", help="attention heads, should the file not tell")
    convert.add_argument("--length", type=int, metavar="L",
                         help="tokens a sequence; default: what the file says, or 128")
    convert.add_argument("--tokenizer", metavar="NAME_OR_FOLDER",
                         help="a tokenizer to save beside the model: a Hugging Face name, or a folder")
    convert.set_defaults(run=_convert)
    return top


def _convert(arguments):
    source, folder = arguments.source, arguments.folder.resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{arguments.folder} exists and is not an empty folder: name a new one, nothing is replaced")

    from uddm_lib import checkpoints, data  # late: --help should not wait for torch

    model = checkpoints.load_released(source, arguments.weights, arguments.heads, arguments.length)
    tokenizer = None
    if arguments.tokenizer is not None:
        tokenizer = data.load_tokenizer(arguments.tokenizer)
        if len(tokenizer) > model.vocab_size:
            raise ValueError(f"the tokenizer {arguments.tokenizer} has {len(tokenizer)} tokens, "
                             f"more than the model's {model.vocab_size}: it is another model's")
    checkpoints.save(folder, model, tokenizer)
    config, size = model.config, sum(weight.numel() for weight in model.parameters())
    print(f"{source} ({arguments.weights} weights) -> {arguments.folder}\n"
          f"{size:,} parameters: V={config.vocab_size}, L={config.length}, {config.n_blocks} blocks, "
          f"{config.n_heads} heads, hidden size {config.hidden_size}\n"
          f"load it with:\n  from uddm_lib import checkpoints\n  model = checkpoints.load({str(arguments.folder)!r})")
    if tokenizer is not None:
        print(f"  tokenizer = checkpoints.load_tokenizer({str(arguments.folder)!r})")


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
