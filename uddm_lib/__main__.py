"""The command line: ``uddm --help``, or ``python -m uddm_lib --help``."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from uddm_lib import convert
from uddm_lib.audit import command as audit
from uddm_lib.live import page_command
from uddm_lib.sweep import estimate, reproduce, runner, train_one


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def command_line() -> argparse.ArgumentParser:
    """The parser; each command is a sub-parser, which lives with the code that does the work."""
    parser = _Parser(
        prog="python -m uddm_lib",
        description="Tools for uniform-state diffusion language models.",
        epilog="python -m uddm_lib COMMAND --help explains a command.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in (audit, convert, estimate, page_command, reproduce, runner, train_one):
        module.add_command(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command line's words; by default those of this process.

    Returns:
        The exit status: 0, 2 after a line ``error: ...`` on stderr, or another one of the command.
    """
    parser = command_line()
    options, further = parser.parse_known_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    if further and not getattr(options, "takes_further_options", False):
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    options.further = further
    try:
        status: int = options.run(options)
    except (OSError, ValueError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
