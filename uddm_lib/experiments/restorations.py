"""Sequences restored by a run, with every state on the way: for animations and film strips."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from uddm_lib import diffusion, metrics, sampling
from uddm_lib.denoiser import entropy
from uddm_lib.experiments.trained import TrainedRun
from uddm_lib.facts import facts_of
from uddm_lib.schedule import LogLinearSchedule

__all__ = ["Restored", "changes_table", "film_table", "most_typical", "restore_states"]

_BATCH = 64  # sequences at a time: 4,096 tokens, as in sampling.restore on a CPU
_SEARCHED = 2**16  # training sequences that are compared at a time; some sets fill no memory


class Restored(NamedTuple):
    """Sequences, corrupted and restored by one model along the stochastic reverse process.

    Attributes:
        run: the model's run.
        x: the sequences before.
        times: of the states, from the start to 0.
        states: tokens at every time, the first corrupted.
        rates: as of :func:`uddm_lib.metrics.recovery_rates`.
    """

    run: TrainedRun
    x: Int[Tensor, "B L"]
    times: list[float]
    states: Int[Tensor, "T B L"]
    rates: pd.DataFrame


def restore_states(
    run: TrainedRun, x: Int[Tensor, "B L"], t: float, steps: int, seed: int = 1
) -> Restored:
    """Corrupt sequences and run the reverse process; models of one vocabulary get the same noise.

    Args:
        run: a trained run.
        x: clean sequences.
        t: time of the corruption and of the start.
        steps: intervals of the reverse grid over (0, 1].
        seed: of the corruption and of the reverse process.

    Raises:
        ValueError: if ``t`` is outside (0, 1], or ``steps`` is not a positive integer.
    """
    x = x.long().to(run.model.device)
    generator = torch.Generator(x.device).manual_seed(seed)
    z_t = diffusion.corrupt(x, LogLinearSchedule().alpha(t), run.model.vocab_size, generator)
    parts = []
    for batch in z_t.split(_BATCH):
        states = list(sampling.trajectory(run.model, batch, t, steps, generator=generator))
        parts.append(torch.stack([state for _, state in states]))
    joined = torch.cat(parts, 1)
    rates = metrics.recovery_rates(x, z_t, joined[-1], run.scored)
    return Restored(run, x, [t for t, _ in states], joined, rates)


def most_typical(rates: Sequence[pd.DataFrame]) -> int:
    """The row nearest to the mean in ``recovered`` and ``unstable`` of all tables.

    It has the least sum of squares, and is the first of equals.

    Raises:
        ValueError: if no sequence has both corrupted and untouched tokens.
    """
    numbers = pd.concat([table[["recovered", "unstable"]] for table in rates], axis=1)
    distances = ((numbers - numbers.mean()) ** 2).sum(axis=1, skipna=False)
    if distances.isna().all():
        raise ValueError(
            f"rates: none of {len(distances)} sequences has corrupted and untouched tokens; take "
            "more sequences or another time t"
        )
    return int(np.nanargmin(distances.to_numpy()))


def changes_table(restored: Sequence[Restored], row: int) -> pd.DataFrame:
    """The restorations of one sequence, as :func:`uddm_lib.figures.restoration` takes them."""
    rows = [entry for one in restored for entry in _changes(one, row)]
    return pd.DataFrame(rows)


def _changes(one: Restored, row: int) -> Iterator[dict[str, Any]]:
    """All tokens at step 0, and those that a later step changes."""
    run, scored = one.run, one.run.scored
    states = one.states[:, row][:, scored].cpu()
    equal = [(part[:, scored] == states[-1]).sum(1) for part in run.train.split(_SEARCHED)]
    nearest = run.train[torch.cat(equal).argmax(), scored]
    original = one.x[row, scored]
    for step, (t, state) in enumerate(zip(one.times, states)):
        changed = state != states[step - 1] if step else torch.ones_like(state, dtype=torch.bool)
        for i in changed.nonzero()[:, 0].tolist():
            texts = {"original": original[i], "nearest": nearest[i], "token": state[i]}
            place = {"step": step, "t": round(t, 6), "position": i}
            yield {**run.labels, **place, **{name: _text(run, i) for name, i in texts.items()}}


def film_table(restored: Sequence[Restored], row: int, states: int = 9) -> pd.DataFrame:
    """States of one sequence at evenly spaced steps, for :func:`uddm_lib.figures.film_strip`.

    Args:
        restored: by one or more models.
        row: which of their sequences.
        states: how many of each, with the first and the last.

    Returns:
        A row a token: the labels of the run; ``t``, ``position``; the texts ``original`` and
        ``token``; whether it was ``corrupted``, is ``right``, and has ``moved`` since the start;
        ``entropy``, that of the prediction for it at this state, in nats.
    """
    return pd.concat([_film(one, row, states) for one in restored], ignore_index=True)


def _film(one: Restored, row: int, states: int) -> pd.DataFrame:
    run, model, scored = one.run, one.run.model, one.run.scored
    least_t = max(sampling.T_END, facts_of(model).least_t)
    original, perturbed = one.x[row, scored], one.states[0, row, scored]
    before = {"original": [_text(run, token) for token in original]}
    before["corrupted"] = (perturbed != original).tolist()
    parts = []
    for i in np.linspace(0, len(one.times) - 1, states).round().astype(int):
        t, state = one.times[i], one.states[i, row]
        sigma = LogLinearSchedule().sigma(max(t, least_t)).to(state.device)
        h, state = entropy(model, state[None], sigma)[0, scored], state[scored]
        place = {**run.labels, "t": round(t, 6), "position": range(len(h))}
        now = {"token": [_text(run, token) for token in state], "entropy": h.tolist()}
        now |= {"right": (state == original).tolist(), "moved": (state != perturbed).tolist()}
        parts.append(pd.DataFrame({**place, **before, **now}))
    return pd.concat(parts)


def _text(run: TrainedRun, token: Tensor) -> str:
    return str(run.tokenizer.decode([int(token)]))
