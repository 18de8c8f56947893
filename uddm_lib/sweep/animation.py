"""Make the README's animation from the two text models that ship in ``runs/pretrained``.

.venv/bin/python -m uddm_lib.sweep.animation

It writes ``paper_figures/restoration.gif``, the table that it is drawn from, and what it shows in
words, ``restoration.txt``.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uddm_lib import experiments, figures, metrics
from uddm_lib.experiments import Restored, changes_table, most_typical, restore_states
from uddm_lib.results import atomic_write, provenance, read_table, run_name, write_table
from uddm_lib.sweep import paths

PARAMETERS: dict[str, Any] = {"sequences": 256, "t": 0.1, "steps": 1000, "seed": 1}
_NEAR = 0.9  # share of equal tokens from which on a text counts as that of a training sequence
_TEXT = """\
The animation restoration.gif: one unseen sequence of the King James Bible, restored by the two
models in runs/pretrained (size {size}, seed {seed} of each training), n = {few:,} (A) and n =
{many:,} (B).

How it was chosen: the first {sequences} test sequences were corrupted at t = {t:g} (uniform noise,
seed {noise}) and restored by both models along the stochastic reverse process of {steps:,} steps
over the whole of (0, 1]. The sequence shown is nearest to the mean in four numbers (least sum of
squares): for both models, the share of corrupted tokens that come back and the share of untouched
tokens that are changed. It is number {number} of {sequences}. Both models start from the same
corrupted tokens.

{models}

A frame is a step at which a token changes in one of the texts. Corrupted tokens are gray until they
change. The point in the curve is the share of this sequence's corrupted tokens that are right in
the frame; the curves are means over trainings and sequences, with 20 reverse steps
(desktop/figure2_recovery.csv), and bands their 95 % intervals.

Made by: python -m uddm_lib.sweep.animation (commit {commit}, torch {torch}). Another machine may
draw other tokens from the same seeds.
"""
_MODEL = """\
n = {n:,}: {back:.2f} of the corrupted tokens of this sequence came back (mean of all
sequences {mean_back:.2f}), {changed:.2f} of the untouched ones were changed (mean
{mean_changed:.2f}). The end agrees with the nearest training sequence in {near:.2f} of the tokens
(median {median_near:.2f}; {copies} of {sequences} agree in {limit:.2f} or more)."""


def main() -> None:
    """Make the animation, in place of the one that is there."""
    folder = paths.checkout() / "paper_figures"
    pretrained = paths.checkout() / "runs" / "pretrained"
    runs = [
        experiments.load_run(pretrained / run_name("kjv", "nano", n), "cpu") for n in (16, "all")
    ]
    x = runs[0].test[: PARAMETERS["sequences"]]
    how = {name: PARAMETERS[name] for name in ("t", "steps", "seed")}
    restored = [restore_states(run, x, **how) for run in runs]
    row = most_typical([one.rates for one in restored])
    about = provenance(PARAMETERS, PARAMETERS["seed"])
    write_table(changes_table(restored, row), folder / "restoration.csv", about)
    atomic_write(folder / "restoration.txt", words(restored, row, about))
    draw(folder)


def draw(folder: Path) -> None:
    """Draw the animation from the tables in ``paper_figures``.

    Raises:
        FileNotFoundError, ValueError: if a table is missing or damaged.
    """
    recovery = read_table(folder / "desktop" / "figure2_recovery.csv")
    frames = figures.restoration(read_table(folder / "restoration.csv"), recovery)
    figures.save_gif(frames, folder, "restoration")
    size = (folder / "restoration.gif").stat().st_size
    print(f"paper_figures/restoration.gif: {len(frames)} frames, {size / 1e6:.2f} MB")


def words(restored: Sequence[Restored], row: int, about: dict[str, Any]) -> str:
    """What the animation shows and how it was chosen, in lines of 96 letters."""
    ns = [one.run.labels["n"] for one in restored]
    models = "\n\n".join(_words_of(one, row) for one in restored)
    text = _TEXT.format(
        **PARAMETERS | restored[0].run.labels,
        few=ns[0],
        many=ns[-1],
        noise=PARAMETERS["seed"],
        number=row + 1,
        models=models,
        commit=about["commit"],
        torch=about["torch"],
    )
    return "\n\n".join(textwrap.fill(part, 96) for part in text.split("\n\n")) + "\n"


def _words_of(one: Restored, row: int) -> str:
    this, mean = one.rates.iloc[row], one.rates.mean(numeric_only=True)
    overlap = metrics.novelty(one.states[-1], one.run.train, one.run.scored)["overlap"]
    return _MODEL.format(
        n=one.run.labels["n"],
        back=this["recovered"],
        mean_back=mean["recovered"],
        changed=this["unstable"],
        mean_changed=mean["unstable"],
        near=overlap[row],
        median_near=overlap.median(),
        copies=int((overlap >= _NEAR).sum()),
        sequences=len(overlap),
        limit=_NEAR,
    )


if __name__ == "__main__":
    main()
