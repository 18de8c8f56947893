"""The command ``reproduce``: run a profile's sweep again, and hold it against its figures.

    python -m uddm_lib reproduce laptop --cores 2
    python -m uddm_lib reproduce laptop --seeds 4,5,6 --name laptop-reproduced-seeds
    python -m uddm_lib reproduce laptop --compare paper_figures/laptop-reproduced

The sweep is that of a derived profile, with folders of its own: those of the first are not touched.
"""

import argparse
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from uddm_lib.results import atomic_write
from uddm_lib.sweep import paths, runner
from uddm_lib.sweep.profiles import SweepError, read_profile

if TYPE_CHECKING:
    import pandas

_DESCRIPTION = """\
Run the sweep of a profile again, in a folder of its own, and hold every point of its figures
against the bands of paper_figures/PROFILE. Called again, it continues where it stopped. The exit
status is 1 if too few points lie inside, or a verdict on a claim turns from one to the other.
Further options go to Snakemake.
"""
_WORST = 10  # points that are shown


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "reproduce",
        help="run a sweep again and compare it with its figures",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    runner.add_options(parser)
    parser.add_argument(
        "--name", help="of the new folders in runs/ and paper_figures/; default: PROFILE-reproduced"
    )
    parser.add_argument("--seeds", type=_seeds, help="other trainings: their seeds, such as 4,5,6")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="another precision")
    parser.add_argument(
        "--share",
        type=float,
        default=0.9,
        help="least share of points inside the bands of a second sweep; default: 0.9",
    )
    parser.add_argument(
        "--compare", metavar="FOLDER", help="run nothing: compare the figures' tables in FOLDER"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sweep and compare it; returns the exit status.

    Raises:
        SweepError: if there is no such profile, or the sweep cannot start.
        ValueError: naming the option, its value and what is allowed.
        FileNotFoundError: if there are no tables to compare with.
    """
    from uddm_lib.statistics import comparison  # late: pandas takes a second

    if not 0 <= options.share <= 1:
        raise ValueError(f"--share {options.share:g} is outside [0, 1]")
    root = paths.checkout()
    read_profile(options.profile, root)  # refuses an unknown one
    first = paths.figures_folder(options.profile)
    committed = comparison.read_tables(root / first)
    second = options.compare
    if not second:
        name = options.name or f"{options.profile}-reproduced"
        write_derived(options.profile, name, root, options.seeds, options.precision)
        options.profile = name
        if status := runner.run(options):
            return status
        second = paths.figures_folder(name)
    new = comparison.read_tables(second if options.compare else root / second)
    print(f"\n{second} against {first}\n")
    return report(committed, new, options.share)


def write_derived(
    profile: str, name: str, root: Path, seeds: list[int] | None, precision: str | None
) -> Path:
    """Write the profile ``name``, which is ``profile`` with the changes; returns its path.

    Raises:
        SweepError: if there is another sweep of this name.
        ProfileError: if ``profile`` is not valid.
    """
    content = derived(read_profile(profile, root), seeds, precision)
    path = root / paths.derived_profile(name)
    if Path(name).name != name or (root / paths.profile_file(name)).exists():
        raise SweepError(f"--name {name}: must be the name of a new folder, and of no profile")
    if path.exists() and read_profile(name, root) != content:
        raise SweepError(
            f"runs/{name} holds a sweep with other parameters ({paths.derived_profile(name)}): "
            "choose another --name, or delete the folder"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return atomic_write(path, yaml.safe_dump(content, sort_keys=False))


def derived(
    content: dict[str, Any], seeds: list[int] | None, precision: str | None
) -> dict[str, Any]:
    """The content of a profile with other seeds or another precision.

    A claim that does not hold is for the comparison to report: it does not stop the sweep.
    """
    content = copy.deepcopy(content) | {"assert_claims": []}
    for experiment in content["experiments"]:
        if seeds:
            experiment["seeds"] = seeds
        if precision:
            for section in ("training", "recovery", "entropy"):
                experiment[section] = experiment.get(section, {}) | {"precision": precision}
    return content


def report(
    committed: "dict[str, pandas.DataFrame]", new: "dict[str, pandas.DataFrame]", share: float
) -> int:
    """Print how the ``new`` tables lie in the bands of the ``committed``; returns the exit status.

    Raises:
        ValueError: if the tables have no points in common.
    """
    from uddm_lib.statistics import comparison

    points = comparison.compare(committed, new)
    shares = comparison.compared_shares(points)
    total = shares.to_dict("index")["all"]
    if not total["points"]:
        raise ValueError("the two sweeps have no points in common")
    print("Share of points inside the bands (95 %), and inside those of a second sweep")
    print(shares.round(3).to_string(), "\n")
    if all((table["seeds"] == 1).all() for table in committed.values() if "seeds" in table):
        print("Each point is of one training: its band does not know how trainings differ\n")
    for name in ("committed", "new"):
        alone = points[points["found"] == name]
        if len(alone):
            labels = alone.columns[: alone.columns.get_loc("committed")]
            print(f"Points that only the {name} sweep has: {len(alone)}")
            print(_text(alone[labels].dropna(axis=1, how="all")))
    outside = points[(points["found"] == "both") & ~points["inside"]]
    worst = outside.nlargest(_WORST, "distance")
    if len(worst):
        print("Points farthest outside the bands, and how far, in widths of the band")
        hidden = ["found", "inside", "inside_second"]
        print(_text(worst.drop(columns=hidden)))
    flips = None
    if "claims" in committed and "claims" in new:
        flips = comparison.verdict_flips(committed["claims"], new["claims"])
        print(f"Claims that turned from one verdict to the other: {len(flips)}")
        print(_text(flips) if len(flips) else "")
    good = bool(total["inside_second"] >= share) and (flips is None or flips.empty)
    print(
        f"{'reproduced' if good else 'not reproduced'}: {total['inside_second']:.1%} of "
        f"{total['points']} points inside the bands of a second sweep, at least {share:.0%} asked"
    )
    return 0 if good else 1


def _text(table: "pandas.DataFrame") -> str:
    """A table to read; whole numbers stay whole beside missing ones."""
    whole = table.round(5).convert_dtypes().astype(object)
    return whole.where(table.notna(), "-").to_string(index=False) + "\n"


def _seeds(text: str) -> list[int]:
    """The numbers in ``4,5,6``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of integers such as 4,5,6") from None
