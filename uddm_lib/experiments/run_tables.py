"""The tables of trained runs: what notebooks 02 to 04 measure, run by run.

A table is kept in its run's folder with the parameters, the training and the version of the package
that made it. It is read from there as long as they are the same, and made anew otherwise: a
measurement of many runs that was stopped goes on where it was.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from uddm_lib import diffusion, metrics, probes, sampling
from uddm_lib.denoiser import Denoiser
from uddm_lib.devices import computed_in
from uddm_lib.experiments.trained import TrainedRun
from uddm_lib.results import progress, provenance, read_table, write_table
from uddm_lib.schedule import LogLinearSchedule

__all__ = ["entropy_tables", "recovery_tables", "training_tables"]

VALIDATION_BLOCKS = 2048  # test blocks of the validation NELBO, each at four noise levels
SHOWN_SAMPLES = 8  # generated sequences that are kept as text

_NOT_OF_THE_TABLES = ("run", "folder", "progress", "interactive")
_Tables = dict[str, pd.DataFrame]


def training_tables(runs: Sequence[TrainedRun], seed: int = 1, keep: bool = True) -> _Tables:
    """Logs of the trainings, and the validation NELBO of the trained models.

    Args:
        runs: trained runs.
        seed: of the noise.
        keep: write tables into the runs' folders, and read those that are there.

    Returns:
        ``log``, a row per ``log_every`` steps, and ``validation``, with ``nelbo`` (nats per token)
        and ``perplexity``. Every table begins with the labels of the runs.
    """

    def compute(run: TrainedRun) -> _Tables:
        x = run.test[:VALIDATION_BLOCKS].to(run.model.device)
        bound = probes.validation_nelbo(run.model, x, run.scored, draws=4, seed=seed).mean().item()
        row = {**run.labels, "nelbo": bound, "perplexity": math.exp(bound)}
        return {"validation": pd.DataFrame([row])}

    tables = _joined(runs, ("validation",), {"seed": seed}, compute, keep, "validation", False)
    logs = [_labelled(run, read_table(run.folder / "log.csv")) for run in runs]
    return {"log": pd.concat(logs, ignore_index=True), **tables}


def recovery_tables(
    runs: Sequence[TrainedRun], parameters: Mapping[str, Any], keep: bool = True
) -> _Tables:
    """Token recovery of runs (paper eq. (12), experiments 1 and 2) and examples of it.

    Args:
        runs: trained runs of one corpus.
        parameters: those of notebook 03.
        keep: write tables into the runs' folders, and read those that are there.

    Returns:
        ``recovery`` (stochastic, by time ``t``) and ``basins`` (greedy, by ``share`` of corrupted
        tokens), rows as of :func:`uddm_lib.probes.token_recovery`; ``examples``, a row per token of
        one training and one test sequence, at each of the levels ``example_t`` (stochastic) and
        ``example_share`` (greedy).

    Raises:
        ValueError: if a list of levels is empty.
    """
    for name in ("levels", "shares", "example_t", "example_share"):
        if not parameters[name]:
            raise ValueError(f"{name}=[] must hold at least one level")

    def compute(run: TrainedRun) -> _Tables:
        stochastic = {"levels": parameters["levels"], "steps": parameters["steps"]}
        greedy = {
            "levels": parameters["shares"],
            "steps": parameters["greedy_steps"],
            "start_t": parameters["start_t"],
            "greedy": True,
        }
        sets = run.sets(parameters["sequences"], parameters["seed"])
        denoisers = _denoisers(run, runs)
        return {
            "recovery": _recovery(run, denoisers, sets, stochastic, "t", parameters),
            "basins": _recovery(run, denoisers, sets, greedy, "share", parameters),
            "examples": pd.concat(_examples(run, parameters), ignore_index=True),
        }

    names = ("recovery", "basins", "examples")
    return _joined(runs, names, parameters, compute, keep, "recovery", parameters["progress"])


def entropy_tables(
    runs: Sequence[TrainedRun], parameters: Mapping[str, Any], keep: bool = True
) -> _Tables:
    """Conditional entropies of runs (paper eq. (13)), of given and of generated sequences.

    Args:
        runs: trained runs of one corpus.
        parameters: those of notebook 04.
        keep: write tables into the runs' folders, and read those that are there.

    Returns:
        ``token_entropy``, a row per corrupted token after restoration; ``sequence_entropy``, a row
        per sequence, in nats, with the ``overlap`` of a generated sequence with its nearest
        training sequence (NaN for the others); ``samples``, some generated sequences as text.

    Raises:
        ValueError: if no token is corrupted at ``outcome_t``.
    """

    def compute(run: TrainedRun) -> _Tables:
        sets = run.sets(parameters["sequences"], parameters["seed"])
        outcomes = [_outcomes(run, name, sets[name], parameters) for name in ("train", "test")]
        if not sum(map(len, outcomes)):
            raise ValueError(
                f"outcome_t={parameters['outcome_t']} corrupts no token of "
                f"sequences={parameters['sequences']} sequences: raise one of them"
            )
        sequences, samples = [], pd.DataFrame()
        for kind, denoiser in _denoisers(run, runs).items():
            generated = _generated(run, denoiser, parameters)
            near = metrics.novelty(generated, run.train, run.scored)["overlap"]
            for name, x in {**sets, "generated": generated}.items():
                if name != "random":
                    table = _entropies(run, denoiser, x).assign(denoiser=kind, set=name)
                    overlap = near if name == "generated" else math.nan
                    sequences.append(table.assign(overlap=overlap))
            if kind == "network":
                samples = _texts(run, generated, near)
        columns = [*run.labels, "denoiser", "set", "sequence", "entropy", "tokens", "overlap"]
        return {
            "token_entropy": pd.concat(outcomes, ignore_index=True),
            "sequence_entropy": pd.concat(sequences, ignore_index=True)[columns],
            "samples": samples,
        }

    names = ("token_entropy", "sequence_entropy", "samples")
    return _joined(runs, names, parameters, compute, keep, "entropy", parameters["progress"])


def _joined(
    runs: Sequence[TrainedRun],
    names: Sequence[str],
    parameters: Mapping[str, Any],
    compute: Callable[[TrainedRun], _Tables],
    keep: bool,
    description: str,
    show_progress: bool,
) -> _Tables:
    """The tables ``names`` of all runs, each run's kept or computed."""
    found = []
    for run in progress(runs, len(runs), f"{description}, runs", show_progress):
        choices = {k: v for k, v in parameters.items() if k not in _NOT_OF_THE_TABLES}
        if "precision" in choices:
            choices["computed_in"] = computed_in(choices["precision"], run.model.device)
            choices["limits"] = len(_denoisers(run, runs)) > 1
        about = provenance(choices, choices["seed"]) | {"trained": _training_digest(run)}
        tables = _kept(run, names, about) if keep else None
        if tables is None:
            tables = compute(run)
            if keep:
                for name in names:
                    write_table(tables[name], run.folder / f"{name}.csv", about)
        found.append(tables)
    return {
        name: pd.concat([tables[name] for tables in found], ignore_index=True) for name in names
    }


def _kept(run: TrainedRun, names: Sequence[str], about: Mapping[str, Any]) -> _Tables | None:
    """The tables in the run's folder, if the same parameters and package made all of them."""
    tables = {}
    for name in names:
        try:
            tables[name] = read_table(run.folder / f"{name}.csv")
        except (FileNotFoundError, ValueError):  # missing or damaged
            return None
        kept = tables[name].attrs.pop("provenance")  # runs differ in it: concat would drop it
        if any(kept.get(key) != about[key] for key in ("parameters", "code", "trained")):
            return None
    return tables


def _training_digest(run: TrainedRun) -> str:
    """What tells this training from another one in the same folder: its log, times included."""
    log = run.folder / "log.csv"
    return hashlib.sha256(log.read_bytes()).hexdigest() if log.is_file() else ""


def _denoisers(run: TrainedRun, runs: Sequence[TrainedRun]) -> Mapping[str, Denoiser]:
    """The network; with the first seed of a point also the exact limits, alike for all seeds."""
    twins = [other for other in runs if _point(other) == _point(run)]
    first = min(twins, key=lambda other: other.labels["seed"])
    return run.denoisers if run.labels == first.labels else {"network": run.model}


def _point(run: TrainedRun) -> dict[str, Any]:
    return {key: value for key, value in run.labels.items() if key != "seed"}


def _labelled(run: TrainedRun, table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with the run's labels as its first columns."""
    return table.assign(**run.labels)[[*run.labels, *table.columns]]


def _recovery(
    run: TrainedRun,
    denoisers: Mapping[str, Denoiser],
    sets: Mapping[str, Int[Tensor, "_ L"]],
    experiment: dict[str, Any],
    level: str,
    parameters: Mapping[str, Any],
) -> pd.DataFrame:
    """Recovery by every denoiser; the random control by the network alone."""
    options = {name: parameters[name] for name in ("seed", "precision")}
    tables = []
    for kind, denoiser in denoisers.items():
        for name, x in sets.items():
            if kind == "network" or name != "random":
                table = probes.token_recovery(
                    denoiser, x, **experiment, scored=run.scored, **options
                )
                table = table.rename(columns={"level": level})
                columns = ["denoiser", "set", *table.columns]
                tables.append(table.assign(denoiser=kind, set=name)[columns])
    return _labelled(run, pd.concat(tables, ignore_index=True))


def _examples(run: TrainedRun, parameters: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    """A training and a test sequence: original, perturbed, restored by both processes."""
    model, vocab_size = run.model, run.model.vocab_size
    levels = [("stochastic", t) for t in parameters["example_t"]]
    levels += [("greedy", share) for share in parameters["example_share"]]
    for process, level in levels:
        for name in ("train", "test"):
            x = run.sets(1, parameters["seed"])[name]
            generator = torch.Generator(model.device).manual_seed(parameters["seed"])
            if process == "greedy":
                z_t = diffusion.corrupt_share(x, level, vocab_size, generator)
                start, steps = parameters["start_t"], parameters["greedy_steps"]
            else:
                z_t = diffusion.corrupt(x, LogLinearSchedule().alpha(level), vocab_size, generator)
                start, steps = level, parameters["steps"]
            end = sampling.restore(model, z_t, start, steps, process == "greedy", generator)
            stages = {"original": x, "perturbed": z_t, "restored": end}
            tokens = {
                stage: [run.tokenizer.decode([token]) for token in row[0, run.scored]]
                for stage, row in stages.items()
            }
            labels = {**run.labels, "set": name, "process": process, "level": level}
            positions = range(len(tokens["original"]))
            yield pd.DataFrame({**labels, "position": positions, **tokens})


def _outcomes(
    run: TrainedRun, name: str, x: Int[Tensor, "B L"], parameters: Mapping[str, Any]
) -> pd.DataFrame:
    """Entropy of corrupted tokens, by whether they came back."""
    t, options = parameters["outcome_t"], {name: parameters[name] for name in ("seed", "precision")}
    table = probes.token_outcomes(
        run.model, x, t, parameters["steps"], scored=run.scored, **options
    )
    table = table[table["outcome"].isin(["recovered", "failed"])].astype({"outcome": str})
    table = table.assign(set=name, t=t, entropy=table["entropy"].round(5))
    return _labelled(run, table[["set", "t", "sequence", "outcome", "entropy"]])


def _entropies(run: TrainedRun, denoiser: Denoiser, x: Int[Tensor, "B L"]) -> pd.DataFrame:
    """Conditional entropy of sequences, summed over the positions that count."""
    h = probes.conditional_entropy(denoiser, x)[:, run.scored]
    columns = {"sequence": range(len(x)), "entropy": h.sum(1).tolist(), "tokens": h.shape[1]}
    return _labelled(run, pd.DataFrame(columns).round({"entropy": 5}))


def _generated(
    run: TrainedRun, denoiser: Denoiser, parameters: Mapping[str, Any]
) -> Int[Tensor, "B L"]:
    generator = torch.Generator(run.model.device).manual_seed(parameters["seed"])
    return sampling.generate(
        denoiser,
        parameters["generated"],
        run.model.length,
        parameters["steps"],
        generator,
        precision=parameters["precision"],
    )


def _texts(run: TrainedRun, generated: Int[Tensor, "B L"], near: pd.Series) -> pd.DataFrame:
    """The first generated sequences as text."""
    shown = generated[:SHOWN_SAMPLES]
    texts = [run.tokenizer.decode(sequence, skip_special_tokens=True) for sequence in shown]
    return _labelled(run, pd.DataFrame({"overlap": near[: len(texts)].round(3), "text": texts}))
