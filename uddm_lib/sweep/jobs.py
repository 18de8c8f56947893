"""The jobs of a sweep: the notebooks that a profile asks for, each with its parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uddm_lib.results import file_name, run_name
from uddm_lib.sweep import paths
from uddm_lib.sweep.notebooks import NOTEBOOKS, TABLES, converted_parameters, default_parameters
from uddm_lib.sweep.profiles import ProfileError, read_profile

_CORPUS = ("corpus", "length", "vocab_size", "tokenizer")  # keys of an experiment


@dataclass(frozen=True)
class Job:
    """One notebook to execute.

    Attributes:
        stage: a key of :data:`~uddm_lib.sweep.notebooks.NOTEBOOKS`.
        target: the executed notebook, relative to the repository root.
        parameters: those that the profile gives.
        label: the job's name on the screen.
        runs: from the name of each run that the notebook works on to its ``n`` and ``seed``.
    """

    stage: str
    target: str
    parameters: dict[str, Any]
    label: str
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run_folder(self, run: str) -> Path:
        """The folder of ``run``, relative to the repository root."""
        return Path(self.target).parents[1] / run

    def tables(self, run: str) -> list[str]:
        """The tables that the notebook writes for ``run``, relative to the repository root."""
        return [(self.run_folder(run) / name).as_posix() for name in TABLES.get(self.stage, [])]

    @property
    def notebook(self) -> str:
        """The notebook's file, relative to the repository root."""
        return f"notebooks/{NOTEBOOKS[self.stage]}.ipynb"

    def all_parameters(self, root: Path) -> dict[str, Any]:
        """The parameters that the notebook runs with, those that it sets by default included."""
        return default_parameters(root / self.notebook) | self.parameters


def jobs_of(profile: str, root: Path | None = None) -> dict[str, Job]:
    """The jobs of ``profile`` in the order of the paper, by their targets.

    Args:
        profile: its name.
        root: the checkout; by default the one around the package or the working directory.

    Raises:
        ProfileError: if the profile cannot be run; the message names the key or the parameter.
    """
    root = root or paths.checkout()
    content = read_profile(profile, root)
    folder = paths.results_folder(profile)
    _check_corpora(content["experiments"], profile)
    jobs = [_job("theory", folder, content.get("theory", {}), "theory", {})]
    for experiment in content["experiments"]:
        jobs += _experiment_jobs(folder, experiment, content.get("group", "run"))
    names = [Path(job.target).parent.name for job in jobs if job.stage == "training"]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ProfileError(f"{profile}: {repeated[0]} is listed by two experiments: join them")
    closing: dict[str, Any] = {
        "results_folder": folder,
        "output": paths.figures_folder(profile),
        "assert_claims": content.get("assert_claims", []),
    }
    if unlisted := unlisted_runs(root / folder, jobs):
        closing["left_out"] = unlisted
    jobs.append(_job("scaling", folder, content.get("scaling", {}), "scaling", closing))
    return {job.target: _converted(job, profile, root) for job in jobs}


def unlisted_runs(folder: Path, jobs: Iterable[Job]) -> list[str]:
    """Names of the runs in a profile's ``folder`` that none of its ``jobs`` works on."""
    listed = {run for job in jobs for run in job.runs}
    return sorted({path.parent.name for path in folder.glob("*/run.json")} - listed)


def check_names(jobs: Iterable[Job]) -> None:
    """Check the corpora and sizes of ``jobs`` against the library's; it imports torch, seconds.

    Raises:
        ProfileError: naming the corpus or size and the allowed ones.
    """
    training = [job.parameters for job in jobs if job.stage == "training"]
    if not training:
        return
    from uddm_lib.data import CORPORA
    from uddm_lib.model import SIZES

    for parameters in training:
        corpus, size = parameters["corpus"], parameters["size"]
        if corpus.partition(":")[0] not in CORPORA:
            raise ProfileError(f"corpus {corpus!r} is unknown; allowed: {', '.join(CORPORA)}")
        if size not in SIZES:
            raise ProfileError(f"size {size!r} is unknown; allowed: {', '.join(SIZES)}")


def _check_corpora(experiments: list[dict[str, Any]], profile: str) -> None:
    """Refuse a corpus that two experiments read in different ways: figures show it once."""
    first: dict[str, dict[str, Any]] = {}
    for experiment in experiments:
        other = first.setdefault(experiment["corpus"], experiment)
        if changed := [key for key in _CORPUS if experiment.get(key) != other.get(key)]:
            raise ProfileError(
                f"{profile}: the experiments of corpus {experiment['corpus']!r} differ in "
                f"{', '.join(changed)}: give each of them a profile of its own"
            )


def _job(
    stage: str,
    folder: str,
    section: dict[str, Any],
    label: str,
    given: dict[str, Any],
) -> Job:
    """A job with the parameters of a profile's ``section`` and those ``given`` by the sweep."""
    if taken := sorted(section.keys() & given.keys()):
        raise ProfileError(
            f"{label}: section {stage!r} cannot give {', '.join(taken)}: the sweep gives it"
        )
    target = f"{folder}/{NOTEBOOKS[stage]}.ipynb"
    return Job(stage, target, {**given, **section}, label)


def _experiment_jobs(folder: str, experiment: dict[str, Any], group: str) -> list[Job]:
    """Three jobs for every group: for every run, or for all runs of a size."""
    name, counts = experiment["corpus"], _stored_counts(experiment)
    seeds = [int(seed) for seed in experiment.get("seeds", [1])]
    corpus = {key: experiment[key] for key in _CORPUS if key in experiment}
    jobs = []
    for size in experiment["sizes"]:
        runs: dict[str, dict[str, Any]] = {
            run_name(name, size, n, seed): {"n": n, "seed": seed} for n in counts for seed in seeds
        }
        if len(runs) < len(counts) * len(seeds):
            raise ProfileError(f"{name} {size}: n {counts} or seeds {seeds} has a value twice")
        lists = {"n": counts, "seed": seeds}
        groups = {f"{file_name(name)}-{size}": list(runs)}
        if group == "run":
            groups = {run: [run] for run in runs}
        for place, members in groups.items():
            choice: dict[str, Any] = lists if group == "size" else runs[place]
            folders = [f"{folder}/{run}" for run in members]
            for stage in TABLES:
                given: dict[str, Any] = {"run": folders if group == "size" else folders[0]}
                if stage == "training":
                    given = {"folder": folder, **corpus, "size": size, **choice}
                section, label = experiment.get(stage, {}), f"{stage} {place}"
                job = _job(stage, f"{folder}/{place}", section, label, given)
                jobs.append(replace(job, runs={run: runs[run] for run in members}))
    return jobs


def _stored_counts(experiment: dict[str, Any]) -> list[int | str]:
    """The numbers of training blocks of an experiment's runs; "all" for the whole corpus."""
    if "n" in experiment:
        return [n if n == "all" else int(n) for n in experiment["n"]]
    fractions, total = experiment["fractions"], experiment["total"]
    if min(fractions) * total < 1:
        raise ProfileError(
            f"fractions must be numbers from 1/total = {1 / total:g} to 1; got {fractions}"
        )
    return ["all" if fraction == 1 else int(fraction * total) for fraction in fractions]


def _converted(job: Job, profile: str, root: Path) -> Job:
    """``job`` with its parameters converted to the types that its notebook declares."""
    notebook = root / job.notebook
    if not notebook.is_file():
        raise ProfileError(f"{job.notebook} is missing: the sweep executes it")
    try:
        parameters = converted_parameters(notebook, job.parameters)
    except ValueError as error:
        raise ProfileError(
            f"{paths.profile_file(profile)}, {job.label}, {job.notebook}: {error}"
        ) from None
    return replace(job, parameters=parameters)
