"""Which regime is a model in? From what it generates, without its training data."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib import _checks
from uddm_lib.audit.calibration import (
    GENERALIZING,
    MEMORIZING,
    WITHOUT_DATA,
    calibration_error,
    judged,
    labelled,
    probabilities,
    verdicts,
)
from uddm_lib.audit.generated import DRAWS, SETTINGS, Generated, Measures, generated_by, measures_of
from uddm_lib.audit.generated import read as read_tokens
from uddm_lib.audit.output_check import SEQUENCES, OutputCheck, check_output
from uddm_lib.denoiser import Denoiser
from uddm_lib.sampling import generate

__all__ = ["RegimeAudit", "audit_regime", "setting_for", "special_tokens"]

LEAST_UNSEEN = 32  # blocks of unseen text that are taken into account
# From this ratio of entropy to NELBO on a token tells nothing of the others, as after a training
# that failed. The calibration's models have at most 0.84.
KNOWS_NOTHING = 0.95


@dataclass(frozen=True)
class RegimeAudit:
    """What was found about a model.

    Attributes:
        verdict: ``generalizing``, ``in transition``, ``memorizing`` or ``cannot say``.
        probabilities: of the three regimes.
        reasons: sentences that explain the verdict and its limits.
        measures: of the generated sequences.
        unseen: measures of the unseen text, if it was given.
        generated: the sequences, with the entropy of every token.
        output: whether its facts say what the model's output is, on unseen text if there is any.
    """

    verdict: str
    probabilities: dict[str, float]
    reasons: tuple[str, ...]
    measures: Measures
    unseen: Measures | None
    generated: Generated
    output: OutputCheck

    @property
    def features(self) -> dict[str, float]:
        """What the calibration takes, by its names."""
        measured = {name: getattr(self.measures, name) for name in WITHOUT_DATA}
        if self.unseen is not None:
            measured["unseen_overconfidence"] = self.unseen.overconfidence
        return measured


def audit_regime(
    denoiser: Denoiser,
    count: int = 512,
    length: int | None = None,
    special: tuple[int, ...] = (),
    unseen: Int[Tensor, "M L"] | None = None,
    seed: int = 1,
    show_progress: bool = False,
    precision: str = "fp32",
) -> RegimeAudit:
    """Say which regime a model is in, from sequences that it generates.

    Args:
        denoiser: any but one that was trained with masks alone.
        count: sequences to generate: 64, 128, 256 or 512.
        length: tokens a sequence, L; by default the denoiser's.
        special: tokens that do not count, such as BOS, EOS and padding.
        unseen: blocks that the model was not trained on, 32 or more; they make the verdict surer.
        seed: of all that is random.
        show_progress: show a progress bar of the generation.
        precision: of the generation; see :func:`~uddm_lib.audit.generated.generated_by`.

    Raises:
        ValueError: if an argument is out of range, or the denoiser cannot be read at t = 0.1.
    """
    if count not in SETTINGS:
        raise ValueError(f"count={count!r} must be one of {', '.join(map(str, sorted(SETTINGS)))}")
    length = getattr(denoiser, "length", None) if length is None else length
    length = _checks.integer("length", length, 3)
    if unseen is not None and (len(unseen) < LEAST_UNSEEN or unseen.shape[1] != length):
        raise ValueError(
            f"there are {len(unseen)} blocks of unseen text, of {unseen.shape[1]} tokens each; "
            f"needed are at least {LEAST_UNSEEN} of {length}"
        )
    generated = generated_by(
        denoiser, count, length, SETTINGS[count], special, seed, show_progress, precision
    )
    measures, strange, last = measures_of(generated), None, generated
    if unseen is not None:
        order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(seed))
        rows = unseen[order[:count]].to(generated.tokens.device)
        last = read_tokens(denoiser, rows, special, seed)
        strange = measures_of(last)
    output = check_output(denoiser, zip(last.tokens, last.scored), seed)
    audit = RegimeAudit("", {}, (), measures, strange, generated, output)
    law = probabilities(pd.DataFrame([audit.features]), labelled(count), unseen is not None)
    by_regime = {str(name): float(value) for name, value in law.iloc[0].items()}
    verdict, why = _verdict(audit, law, count)
    reasons = [*why, *_reasons(audit.measures, strange, count), output.reason]
    return replace(
        audit,
        verdict=verdict,
        probabilities=by_regime,
        reasons=tuple(dict.fromkeys(reasons)),  # a contradiction comes once
    )


def _verdict(audit: RegimeAudit, law: pd.DataFrame, count: int) -> tuple[str, list[str]]:
    """The verdict by the probabilities, unless something speaks against any; and why."""
    (verdict,) = verdicts(law)
    if audit.measures.ratio >= KNOWS_NOTHING:
        return "cannot say", ["a token tells nothing of the others: was the model trained?"]
    if audit.output.contradicts:
        return "cannot say", [audit.output.reason]
    if audit.unseen is None:
        if verdict == "cannot say":
            return verdict, ["give --unseen: with unseen text fewer models are left unjudged"]
        return verdict, []
    (alone,) = verdicts(probabilities(pd.DataFrame([audit.features]), labelled(count)))
    if {alone, verdict} == {GENERALIZING, MEMORIZING}:
        return "cannot say", [
            f"what the model generates says {alone}, the unseen text says {verdict}: is that text "
            "of the training text's kind, and was it not trained on?"
        ]
    return verdict, ["it is assumed that the unseen text is of the kind of the training text"]


def setting_for(
    denoiser: Denoiser, length: int, minutes: float, precision: str = "fp32", unseen: int = 0
) -> tuple[int, float]:
    """How many sequences to generate so that the audit takes at most ``minutes``.

    Args:
        denoiser: any but one that was trained with masks alone.
        length: tokens a sequence, L.
        minutes: of the whole audit.
        precision: of the generation.
        unseen: blocks of unseen text that there are; as many are read as sequences, at most.

    Returns:
        The number, and the minutes that it takes by what a reverse step and the reading of a
        sequence take, timed here.

    Raises:
        ValueError: if not even the smallest number fits.
    """
    if not 0 < minutes < np.inf:
        raise ValueError(f"minutes={minutes!r} must be a positive number")
    size, few, seconds = 4, 2, []
    generator = torch.Generator(getattr(denoiser, "device", "cpu")).manual_seed(1)
    for _ in range(3):
        times = [time.perf_counter()]
        tokens = generate(denoiser, size, length, few, generator, precision=precision)
        tokens.sum().item()  # waits for a GPU
        times.append(time.perf_counter())
        read_tokens(denoiser, tokens).nelbo.sum().item()
        times.append(time.perf_counter())
        seconds.append(np.diff(times) / size)
    few_steps, reading = np.median(seconds, axis=0)
    step = few_steps / (few + 1)  # the last removes the noise that is left
    check = 2 * SEQUENCES * reading / (DRAWS + 1)  # of the output, at most
    needed = {
        n: (n * (steps + 1) * step + (n + min(n, unseen)) * reading + check) / 60
        for n, steps in SETTINGS.items()
    }
    for n, minutes_of_n in needed.items():
        if minutes_of_n <= minutes:
            return n, minutes_of_n
    raise ValueError(
        f"minutes={minutes:g} is too little: {min(needed)} sequences take about "
        f"{min(needed.values()):.3g}"
    )


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids of a tokenizer's special tokens, which do not count."""
    return tuple(tokenizer.all_special_ids)


def _reasons(measures: Measures, unseen: Measures | None, count: int) -> tuple[str, ...]:
    models = labelled(count)
    outside = models["regime"].isin([GENERALIZING, MEMORIZING])
    generalize = models["regime"] == GENERALIZING
    law = judged(models, unseen is not None)
    said, error = verdicts(law)[outside], calibration_error(law, models["regime"])
    reasons = [
        _overconfidence("its own sequences", measures, models["overconfidence"][generalize]),
        *(
            []
            if unseen is None
            else [
                _overconfidence("unseen text", unseen, models["unseen_overconfidence"][generalize])
            ]
        ),
        f"{measures.twins:.0%} of its sequences agree with another one in 90% of the tokens: "
        f"{_of_birthday(measures)}",
        f"not used for the verdict: given all others, a token of its own sequences has an entropy "
        f"of {measures.entropy:.2f} nats; {measures.low:.0%} of the tokens have less than 0.1",
        f"calibrated on {len(models)} small models of {models['source'].nunique()} sources; with "
        f"the source left out, {(said == models['regime'][outside]).mean():.0%} of those outside "
        f"the transition are judged right and {(said == 'cannot say').mean():.0%} not at all; "
        f"over all of them the probabilities are off by {error:.2f}",
        "a model that generalizes may still have memorized single texts: ask with --texts",
    ]
    return tuple(reasons)


def _overconfidence(what: str, measures: Measures, generalizing: pd.Series) -> str:
    share = f"{measures.overconfidence:.0%} of" if measures.overconfidence < 1 else "at least"
    return (
        f"on {what} its loss is {measures.loss - measures.entropy:.2f} nats a token above its "
        f"entropy, {share} the NELBO; generalizing models of the calibration have up to "
        f"{generalizing.max():.0%}"
    )


def _of_birthday(measures: Measures) -> str:
    birthday = measures.birthday
    if birthday.low is None:
        return "none comes twice"
    if birthday.estimate is None:
        return (
            f"{birthday.repeated} come more than once, as if drawn from {birthday.low:.0f} or more"
        )
    high = "any number" if birthday.high is None else f"{birthday.high:.0f}"
    return (
        f"{birthday.repeated} come more than once, as if drawn from {birthday.estimate:.0f} "
        f"(between {birthday.low:.0f} and {high}) that are equally likely"
    )
