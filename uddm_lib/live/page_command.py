"""The command ``page``: small runs in one HTML file that a browser runs by itself."""

import argparse

_DESCRIPTION = """\
Write one HTML file in which a browser runs the models of small runs, side by side: choose or type
a text, corrupt it, watch the reverse process token by token. The file needs no internet.
"""
_EXAMPLE = """\
example:
  python -m uddm_lib page --output live.html
  python -m uddm_lib page runs/mine/kjv-nano-n000016-s1 runs/mine/kjv-nano-nall-s1 --output my.html
"""
SHIPPED = ("runs/pretrained/kjv-nano-n000016-s1", "runs/pretrained/kjv-nano-nall-s1")


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "page",
        help="write an HTML file that runs small models live",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="*",
        default=SHIPPED,
        metavar="RUN",
        help="folders of 1 to 4 runs of one corpus; default: the two that ship in runs/pretrained",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the .html file to write")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page and say where it is; returns the exit status.

    Raises:
        OSError, ValueError: if a run cannot be read or shown, or the file not be written.
    """
    from uddm_lib.live.html_page import write_live_page  # late: --help should not wait for torch

    path = write_live_page(options.runs, options.output)
    print(f"{path}: {path.stat().st_size:,} bytes; open it in a browser")
    return 0
