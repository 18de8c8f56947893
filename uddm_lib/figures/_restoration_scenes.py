"""The scenes of the animation, as tokens and sentences: what every frame says."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from uddm_lib.figures._text_panel import Version, outcomes, visible
from uddm_lib.statistics.summary import require_columns

_SECONDS = {"original": 2.0, "corrupted": 2.5, "running": 0.12, "end": 6.0}


class Scene(NamedTuple):
    """What one frame shows.

    Attributes:
        phase: ``original``, ``corrupted``, ``running`` or ``end``.
        caption: the sentence above the text.
        versions: the text as the model of every n has it, with the kinds of its tokens.
    """

    phase: str
    caption: str
    versions: dict[int, Version]

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return _SECONDS[self.phase]

    def count(self, n: int, *kinds: str) -> int:
        """Number of tokens of such kinds."""
        return sum(kind in kinds for kind in self.versions[n].kinds)

    def corrupted(self, n: int) -> int:
        """Number of tokens that were corrupted, whatever became of them."""
        return self.count(n, "corrupted", "recovered", "failed")


def scenes(table: pd.DataFrame) -> list[Scene]:
    """The text, the text corrupted, one scene for every step that changes a token, and the end.

    Args:
        table: as for :func:`uddm_lib.figures.restoration`.

    Raises:
        ValueError: if a column is missing, or the perturbed text of some n.
    """
    require_columns(table, ["n", "step", "t", "position", "original", "nearest", "token"])
    first = table[table["step"] == 0].sort_values("position")
    start = {n: first[first["n"] == n] for n in sorted(table["n"].unique().tolist())}
    if 0 in map(len, start.values()):
        raise ValueError("an n has no rows at step 0, which hold its perturbed text")
    original = _shown(next(iter(start.values()))["original"])
    perturbed = {n: _shown(rows["token"]) for n, rows in start.items()}
    state = {n: list(tokens) for n, tokens in perturbed.items()}
    untouched = Version("", original, ["untouched"] * len(original))
    unseen = "neither model has seen" if len(start) > 1 else "the model has not seen"
    found = [
        Scene("original", f"A text that {unseen}", dict.fromkeys(start, untouched)),
        _scene("corrupted", original, perturbed, state),
    ]
    for _, changes in table[table["step"] > 0].groupby("step"):
        for n, position, token in zip(changes["n"], changes["position"], changes["token"]):
            state[n][position] = visible(token)
        found.append(_scene("running", original, perturbed, state, float(changes["t"].iloc[0])))
    end = _scene("end", original, perturbed, state)
    return [*found, end._replace(caption=_summary(end, start))]


def _shown(tokens: Iterable[str]) -> list[str]:
    return [visible(token) for token in tokens]


def _scene(
    phase: str,
    original: list[str],
    perturbed: dict[int, list[str]],
    state: dict[int, list[str]],
    t: float = 0,
) -> Scene:
    versions = {}
    for n, tokens in state.items():
        kinds = outcomes(original, perturbed[n], tokens)
        if phase != "end":  # what the process has not touched yet may still come back
            waiting = (a == b != c for a, b, c in zip(tokens, perturbed[n], original))
            kinds = ["corrupted" if waits else kind for waits, kind in zip(waiting, kinds)]
        versions[n] = Version("", list(tokens), kinds)
    scene = Scene(phase, f"The reverse process goes back in time: t = {t:.3f}", versions)
    if phase == "corrupted":
        count = scene.count(min(state), "corrupted")
        caption = f"{count} of its {len(original)} tokens, replaced at random"
        return scene._replace(caption=caption)
    return scene


def _summary(end: Scene, start: dict[int, pd.DataFrame]) -> str:
    """What became of the text."""
    few, many = min(start), max(start)
    written = end.versions[few].tokens
    same = sum(a == b for a, b in zip(written, _shown(start[few]["nearest"])))
    what = "wrote a training text over it" if same >= 0.9 * len(written) else "wrote over it"
    back, corrupted = end.count(many, "recovered"), end.corrupted(many)
    return f"A {what}; B kept it and brought back {back} of {corrupted}"
