"""The jobs of a sweep: the notebooks that a profile asks for, each with its parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uddm_lib.results import run_name
from uddm_lib.sweep import paths
from uddm_lib.sweep.notebooks import NOTEBOOKS, converted_parameters, default_parameters
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
        kind: stage, corpus and size; jobs of one kind take about the same time.
    """

    stage: str
    target: str
    parameters: dict[str, Any]
    label: str
    kind: list[str] = field(default_factory=list)

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
    jobs = [_job("theory", folder, content.get("theory", {}), "theory")]
    for experiment in content["experiments"]:
        jobs += _experiment_jobs(folder, experiment)
    targets = [job.target for job in jobs]
    if repeated := sorted({target for target in targets if targets.count(target) > 1}):
        raise ProfileError(
            f"{profile}: {Path(repeated[0]).parent.name} is listed by two experiments"
        )
    closing = {
        "results_folder": folder,
        "output": paths.figures_folder(profile),
        "claims": content.get("claims", {}),
        "assert_claims": content.get("assert_claims", False),
    }
    jobs.append(_job("scaling", folder, content.get("scaling", {}), "scaling", given=closing))
    return {job.target: _converted(job, profile, root) for job in jobs}


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


def _job(
    stage: str,
    folder: str,
    section: dict[str, Any],
    label: str,
    kind: tuple[str, ...] = (),
    given: dict[str, Any] | None = None,
) -> Job:
    """A job with the parameters of a profile's ``section`` and those ``given`` by the sweep."""
    given = given or {}
    if taken := sorted(section.keys() & given.keys()):
        raise ProfileError(
            f"{label}: section {stage!r} cannot give {', '.join(taken)}: the sweep gives it"
        )
    target = f"{folder}/{NOTEBOOKS[stage]}.ipynb"
    return Job(stage, target, {**given, **section}, label, [stage, *kind])


def _experiment_jobs(folder: str, experiment: dict[str, Any]) -> list[Job]:
    jobs = []
    corpus = {key: experiment[key] for key in _CORPUS if key in experiment}
    for size in experiment["sizes"]:
        for n in _stored_counts(experiment):
            run = f"{folder}/{run_name(experiment['corpus'], size, n)}"
            label, kind = f"{experiment['corpus']} {size} n={n}", (experiment["corpus"], size)
            for stage in ("training", "recovery", "entropy"):
                given: dict[str, Any] = {"run": run}
                if stage == "training":
                    given |= {**corpus, "size": size, "n": n}
                section = experiment.get(stage, {})
                jobs.append(_job(stage, run, section, f"{stage} {label}", kind, given))
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
    return Job(job.stage, job.target, parameters, job.label, job.kind)
