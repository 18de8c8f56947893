"""The command ``convert``: turn a public checkpoint into a folder of this package's format."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DESCRIPTION = """\
Convert a public checkpoint into a folder of this package's own format, with config.json and
model.safetensors: a PyTorch Lightning .ckpt file that the paper's authors released, or a folder of
UDLM, Duo or GIDD. Nothing in it is executed, so it need not be trusted; it is left as it is.
"""
_EXAMPLE = """\
example:
  python -m uddm_lib convert lm1b-small-1.0.ckpt models/small --tokenizer bert-base-uncased

then, in Python:
  from uddm_lib import checkpoints
  model = checkpoints.load("models/small")
"""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "convert",
        help="turn a public checkpoint into a folder of this package's format",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="the .ckpt file or folder")
    parser.add_argument(
        "folder", metavar="DST", type=Path, help="the folder to write; new, or empty"
    )
    parser.add_argument(
        "--weights",
        choices=["ema", "raw"],
        help="of a .ckpt file: moving averages, which evaluate best (the default), or the last "
        "training step's",
    )
    parser.add_argument(
        "--heads", type=int, metavar="N", help="attention heads, if a .ckpt file does not say"
    )
    parser.add_argument(
        "--length",
        type=int,
        metavar="L",
        help="tokens a sequence; default: what the .ckpt file says, or 128",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME_OR_FOLDER",
        help="a tokenizer to save beside the model: a Hugging Face name, or a folder; default: the "
        "source's own, if it has one",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert the file and say how to load the model; returns the exit status.

    Raises:
        OSError, ValueError: if the file cannot be read or the folder not be written; the message
            names it.
    """
    source, folder = options.source, options.folder.resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(
            f"{options.folder} exists and is not an empty folder: name a new one, "
            "nothing is replaced"
        )

    from uddm_lib import checkpoints, data  # late: --help should not wait for torch

    if source.is_dir():
        of_files = {"weights": options.weights, "heads": options.heads, "length": options.length}
        if given := [f"--{name}" for name, value in of_files.items() if value is not None]:
            raise ValueError(f"{', '.join(given)} is for .ckpt files; {source} is a folder")
        model = checkpoints.load_uddm(source)
        what = f"{source} ({model.facts.family})"
    else:
        weights = options.weights or "ema"
        model = checkpoints.load_released(source, weights, options.heads, options.length)
        what = f"{source} ({weights} weights)"
    tokenizer: PreTrainedTokenizerBase | None = None
    if options.tokenizer is not None:
        tokenizer = data.load_tokenizer(options.tokenizer)
    elif (source / "tokenizer.json").is_file():
        tokenizer = checkpoints.load_tokenizer(source)
    if tokenizer is not None and (size := data.vocabulary_size(tokenizer)) > model.vocab_size:
        raise ValueError(
            f"the tokenizer {options.tokenizer or source} has {size} tokens, "
            f"more than the model's {model.vocab_size}: it is another model's"
        )
    checkpoints.save(folder, model, tokenizer)
    config, size = model.config, sum(weight.numel() for weight in model.parameters())
    print(
        f"{what} -> {options.folder}\n"
        f"{size:,} parameters: V={config.vocab_size}, L={config.length}, {config.n_blocks} blocks, "
        f"{config.n_heads} heads, hidden size {config.hidden_size}\n"
        "load it with:\n  from uddm_lib import checkpoints\n"
        f"  model = checkpoints.load({str(options.folder)!r})"
    )
    if tokenizer is not None:
        print(f"  tokenizer = checkpoints.load_tokenizer({str(options.folder)!r})")
    return 0
