"""Profiles of the sweep: what `runs/<profile>.yaml` asks for, checked, and the notebooks it takes.

Reads no heavy library, so that a mistake in a profile is found before anything starts.
"""

import ast
import difflib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from uddm_lib.results import run_name
from uddm_lib.results.parameters import unknown_names

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = {
    "theory": "01_theory",
    "training": "02_training",
    "recovery": "03_recovery",
    "entropy": "04_entropy",
    "scaling": "05_scaling",
}
# A training's log is not among them: Snakemake deletes a job's outputs before it runs the job again, and with the log
# training would start again, however long it took.
TABLES = {
    "training": ["validation.csv"],
    "recovery": ["recovery.csv", "basins.csv", "examples.csv"],
    "entropy": ["token_entropy.csv", "sequence_entropy.csv"],
}
_PROFILE_KEYS = {"experiments", "theory", "scaling", "claims", "assert_claims"}
_CORPUS_KEYS = ("corpus", "length", "vocab_size", "tokenizer")
_EXPERIMENT_KEYS = {
    *_CORPUS_KEYS,
    "sizes",
    "n",
    "fractions",
    "total",
    "training",
    "recovery",
    "entropy",
}


class ProfileError(ValueError):
    """A profile that cannot be run; the message says what is wrong and what is allowed."""


@dataclass(frozen=True)
class Job:
    """One notebook to execute: its stage and parameters, what it becomes, its name on the screen."""

    stage: str
    target: str  # the executed notebook, relative to the repository root
    parameters: dict
    label: str
    kind: list = field(
        default_factory=list
    )  # stage, corpus, size: jobs of one kind take about the same time

    @property
    def notebook(self):
        return f"notebooks/{NOTEBOOKS[self.stage]}.ipynb"


def jobs(profile, root=ROOT):
    """The jobs of ``profile`` in the order of the paper, as a dictionary target -> Job.

    Raises:
        ProfileError: if there is no such profile, or it is malformed, or asks for a parameter that a
            notebook does not have.
    """
    content = _read(profile, root)
    folder = f"runs/{profile}"
    plan = [_job("theory", folder, content.get("theory", {}), "theory")]
    for experiment in content["experiments"]:
        plan += _experiment_jobs(folder, experiment)
    names = [job.target for job in plan]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ProfileError(
            f"{profile}: {Path(repeated[0]).parent.name} is listed by two experiments"
        )
    closing = {
        "results_folder": folder,
        "output": f"paper_figures/{profile}",
        "claims": content.get("claims", {}),
        "assert_claims": content.get("assert_claims", False),
    }
    plan.append(_job("scaling", folder, content.get("scaling", {}), "scaling", sets=closing))
    _check_names(profile, plan, root)
    return {job.target: job for job in plan}


def effective(job, root=ROOT):
    """The parameters that the notebook of ``job`` runs with: its own defaults and those that the profile gives."""
    return _declared(root / job.notebook) | job.parameters


def code_digest(notebook):
    """Digest of a notebook's code: neither its prose nor its stored outputs make a job run again."""
    digest = hashlib.sha256("\n\0".join(_code_cells(notebook)).encode())
    return digest.hexdigest()[:16]


def check_names_of(plan):
    """Check the corpora and sizes of ``plan`` against the library's (imports torch: seconds).

    Raises:
        ProfileError: naming the corpus or size and the allowed ones.
    """
    training = [job for job in plan if job.stage == "training"]
    if not training:
        return
    from uddm_lib.data import CORPORA
    from uddm_lib.model import SIZES

    for job in training:
        for name, allowed in (("corpus", CORPORA), ("size", SIZES)):
            value = job.parameters[name]
            if value.partition(":")[0] not in allowed:
                raise ProfileError(f"{name} {value!r} is unknown; allowed: {', '.join(allowed)}")


def _job(stage, folder, section, label, kind=(), sets=None):
    """A job with the parameters of a profile's ``section`` and those that the sweep ``sets``."""
    sets = sets or {}
    if taken := sorted(section.keys() & sets.keys()):
        raise ProfileError(
            f"{label}: section {stage!r} cannot give {', '.join(taken)}: the sweep sets it"
        )
    return Job(
        stage, f"{folder}/{NOTEBOOKS[stage]}.ipynb", {**sets, **section}, label, [stage, *kind]
    )


def _experiment_jobs(folder, experiment):
    plan = []
    corpus = {key: experiment[key] for key in _CORPUS_KEYS if key in experiment}
    for size in experiment["sizes"]:
        for n in _counts(experiment):
            run = f"{folder}/{run_name(experiment['corpus'], size, n)}"
            label, kind = f"{experiment['corpus']} {size} n={n}", (experiment["corpus"], size)
            for stage in ("training", "recovery", "entropy"):
                sets = {"run": run}
                if stage == "training":
                    sets |= {**corpus, "size": size, "n": 0 if n == "all" else n}
                plan.append(
                    _job(stage, run, experiment.get(stage, {}), f"{stage} {label}", kind, sets)
                )
    return plan


def _counts(experiment):
    """The n of an experiment: as listed, or as fractions of ``total`` blocks, where 1 is all whatever the total."""
    if "n" in experiment:
        return experiment["n"]
    return [
        "all" if fraction == 1 else int(fraction * experiment["total"])
        for fraction in experiment["fractions"]
    ]


def _read(profile, root):
    path = root / "runs" / f"{profile}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in (root / "runs").glob("*.yaml"))
        raise ProfileError(
            f"no profile {profile!r} (runs/{profile}.yaml); there are {', '.join(known)}"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"runs/{path.name} is not valid YAML: {error}") from None
    where = f"runs/{path.name}"
    _keys(where, content, _PROFILE_KEYS, needed={"experiments"})
    for name, kind in (
        ("theory", dict),
        ("scaling", dict),
        ("claims", dict),
        ("assert_claims", bool),
    ):
        _kind(where, content, name, kind)
    _kind(where, content, "experiments", list)
    if not content["experiments"]:
        raise ProfileError(f"{where}: experiments is empty; list at least one")
    for number, experiment in enumerate(content["experiments"], 1):
        _check_experiment(f"{where}, experiment {number}", experiment)
    return content


def _check_experiment(where, experiment):
    _keys(where, experiment, _EXPERIMENT_KEYS, needed={"corpus", "sizes"})
    for name, kind in (
        ("corpus", str),
        ("length", int),
        ("vocab_size", int),
        ("tokenizer", str),
        ("sizes", list),
        ("n", list),
        ("fractions", list),
        ("total", int),
        ("training", dict),
        ("recovery", dict),
        ("entropy", dict),
    ):
        _kind(where, experiment, name, kind)
    if ("n" in experiment) == ("fractions" in experiment):
        words = "both n and" if "n" in experiment else "neither n nor"
        raise ProfileError(f"{where} has {words} fractions; give one")
    if ("fractions" in experiment) != ("total" in experiment):
        raise ProfileError(
            f"{where}: fractions and total, the training blocks that they are fractions of, go together"
        )
    total = experiment.get("total", 1)
    for name, rule, valid in (
        ("sizes", "a list of names", lambda size: isinstance(size, str)),
        (
            "n",
            "a list of positive integers, or 'all' for the whole corpus",
            lambda n: n == "all" or (type(n) is int and n > 0),
        ),
        (
            "fractions",
            f"a list of numbers from 1/total = {1 / total:g} to 1",
            lambda fraction: (
                type(fraction) in (int, float) and fraction <= 1 and fraction * total >= 1
            ),
        ),
    ):
        values = experiment.get(name)
        if values is not None and not (values and all(map(valid, values))):
            raise ProfileError(f"{where}: {name} must be {rule}; got {experiment[name]!r}")


def _keys(where, content, allowed, needed):
    if not isinstance(content, dict):
        raise ProfileError(f"{where} must be a mapping with the keys {', '.join(sorted(allowed))}")
    if missing := sorted(needed - content.keys()):
        raise ProfileError(f"{where} has no {', '.join(missing)}")
    for key in content.keys() - allowed:
        close = difflib.get_close_matches(str(key), allowed, 1)
        raise ProfileError(
            f"{where}: unknown key {key!r}{f' (did you mean {close[0]}?)' if close else ''}; "
            f"allowed: {', '.join(sorted(allowed))}"
        )


def _kind(where, content, name, kind):
    value = content.get(name)
    words = {
        dict: "a mapping",
        list: "a list",
        int: "a positive integer",
        str: "text",
        bool: "true or false",
    }
    if name in content and (type(value) is not kind or (kind is int and value < 1)):
        raise ProfileError(f"{where}: {name} must be {words[kind]}; got {value!r}")


def _code_cells(notebook):
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _declared(notebook):
    """Parameters of ``notebook`` and their defaults: what its cell tagged ``parameters`` assigns."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    defaults = {}
    for statement in ast.parse("".join(tagged[0]["source"]) if tagged else "").body:
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        defaults |= {
            target.id: ast.literal_eval(statement.value)
            for target in targets
            if isinstance(target, ast.Name)
        }
    return defaults


def _check_names(profile, plan, root):
    declared = {}
    for job in plan:
        if job.notebook not in declared:
            if not (root / job.notebook).is_file():
                raise ProfileError(f"{job.notebook} is missing: the sweep executes it")
            declared[job.notebook] = _declared(root / job.notebook)
        allowed = declared[job.notebook]
        if unknown := [name for name in job.parameters if name not in allowed]:
            raise ProfileError(
                f"runs/{profile}.yaml, {job.label}, {job.notebook}: "
                f"{unknown_names(unknown, allowed)}"
            )
