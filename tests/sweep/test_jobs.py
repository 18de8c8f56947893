"""The jobs of a profile: their parameters, names and types."""

import nbformat
import numpy as np
import pytest
import yaml

from helpers.fake_sweep import PROFILE, profile_with, write_profile
from helpers.paths import ROOT
from uddm_lib.sweep.jobs import check_names, jobs_of
from uddm_lib.sweep.notebooks import code_digest
from uddm_lib.sweep.profiles import ProfileError
from uddm_lib.training import TrainingOptions


def training_jobs(profile, root=ROOT):
    return [job for job in jobs_of(profile, root).values() if job.stage == "training"]


def test_jobs_carry_the_parameters_of_the_profile(checkout):
    jobs = jobs_of("tiny", checkout)
    run = "runs/tiny/markov-pico-n000001-s1"
    assert list(jobs)[:4] == ["runs/tiny/01_theory.ipynb"] + [
        f"{run}/{name}.ipynb" for name in ("02_training", "03_recovery", "04_entropy")
    ]
    assert jobs[f"{run}/02_training.ipynb"].parameters == {
        "folder": "runs/tiny",
        "corpus": "markov",
        "length": 16,
        "size": "pico",
        "n": 1,
        "seed": 1,
        "steps": 3,
    }
    assert jobs[f"{run}/03_recovery.ipynb"].parameters == {"run": run, "levels": [0.1]}
    assert jobs["runs/tiny/05_scaling.ipynb"].parameters == {
        "results_folder": "runs/tiny",
        "output": "paper_figures/tiny",
        "assert_claims": ["stored"],
    }


def test_the_whole_corpus_is_the_word_all(checkout):
    write_profile(checkout, profile_with(n=["all"]))
    job = jobs_of("tiny", checkout)["runs/tiny/markov-pico-nall-s1/02_training.ipynb"]
    assert job.parameters["n"] == "all" and job.label == "training markov-pico-nall-s1"


def test_fractions_give_n(checkout):
    write_profile(checkout, profile_with(n=None, fractions=[0.01, 0.29, 1.0], total=100))
    jobs = training_jobs("tiny", checkout)
    # 0.29 * 100 is a little less than 29; a fraction of 1 is all, whatever the total.
    assert [job.parameters["n"] for job in jobs] == [1, 28, "all"]
    assert list(jobs[2].runs) == ["markov-pico-nall-s1"]


def test_runs_out_of_the_profile_are_left_out_of_the_figures(checkout):
    scaling = "runs/tiny/05_scaling.ipynb"
    assert "left_out" not in jobs_of("tiny", checkout)[scaling].parameters
    for name in ("markov-pico-n000001-s1", "markov-pico-n000009-s1", "kjv-pico-nall-s1"):
        (checkout / "runs" / "tiny" / name).mkdir(parents=True)
        (checkout / "runs" / "tiny" / name / "run.json").write_text("{}")
    left_out = jobs_of("tiny", checkout)[scaling].parameters["left_out"]
    assert left_out == ["kjv-pico-nall-s1", "markov-pico-n000009-s1"]


def test_two_experiments_with_one_run_are_refused(checkout):
    profile = profile_with()
    write_profile(checkout, {"experiments": 2 * profile["experiments"]})
    with pytest.raises(ProfileError, match="markov-pico-n000001-s1 is listed by two experiments"):
        jobs_of("tiny", checkout)


def test_runs_of_a_size_share_their_notebooks(checkout):
    profile = profile_with(n=[1, "all"], seeds=[1, 2])
    write_profile(checkout, profile | {"group": "size"})
    training, recovery, entropy = list(jobs_of("tiny", checkout).values())[1:4]
    assert training.target == "runs/tiny/markov-pico/02_training.ipynb"
    assert (training.parameters["n"], training.parameters["seed"]) == ([1, "all"], [1, 2])
    names = [f"markov-pico-{n}-s{seed}" for n in ("n000001", "nall") for seed in (1, 2)]
    assert recovery.parameters["run"] == entropy.parameters["run"]
    assert recovery.parameters["run"] == [f"runs/tiny/{name}" for name in names]
    assert list(training.runs) == list(entropy.runs) == names
    assert training.runs["markov-pico-nall-s2"] == {"n": "all", "seed": 2}
    assert recovery.tables(names[0])[0] == "runs/tiny/markov-pico-n000001-s1/recovery.csv"


def test_numbers_that_yaml_reads_as_text_are_converted(checkout):
    (checkout / "runs" / "tiny.yaml").write_text(
        "experiments:\n  - {corpus: markov, length: 16, sizes: [pico], n: [4.0], "
        "training: {steps: 9e2, learning_rate: 3e-4}, recovery: {levels: [1e-1, 1]}}\n"
    )
    training, recovery = list(jobs_of("tiny", checkout).values())[1:3]
    converted = {name: training.parameters[name] for name in ("n", "steps", "learning_rate")}
    assert converted == {"n": 4, "steps": 900, "learning_rate": 3e-4}
    assert type(converted["n"]) is type(converted["steps"]) is int
    assert recovery.parameters["levels"] == [0.1, 1.0]
    assert training.all_parameters(checkout)["steps"] == 900


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"stepz": 1}},
            "runs/tiny.yaml, training markov-pico-n000001-s1, notebooks/02_training.ipynb: "
            "unknown parameter stepz \\(did you mean steps\\?\\); "
            "allowed: folder, corpus, length, size, n, seed, steps",
        ),
        ({"training": {"steps": "abc"}}, "steps='abc': not a number, expected int"),
        ({"training": {"steps": 1.5}}, "steps=1.5: not a whole number, expected int"),
        ({"recovery": {"levels": ["low"]}}, "levels=\\['low'\\]: not a number"),
        ({"recovery": {"x": 1}}, "notebooks/03_recovery.ipynb: unknown parameter x; allowed: run"),
        ({"vocab_size": 96}, "notebooks/02_training.ipynb: unknown parameter vocab_size"),
        ({"training": {"n": 5}}, "section 'training' cannot give n: the sweep gives it"),
        ({"training": {"seed": 5}}, "section 'training' cannot give seed: the sweep gives it"),
        ({"n": [4, 4]}, r"markov pico: n \[4, 4\] or seeds \[1\] has a value twice"),
        ({"seeds": [2, 2]}, r"or seeds \[2, 2\] has a value twice"),
        ({"seeds": [-1]}, "seeds must be a list of integers from 0 on"),
    ],
)
def test_wrong_parameters_are_refused(checkout, changes, message):
    write_profile(checkout, profile_with(**changes))
    with pytest.raises(ProfileError, match=message):
        jobs_of("tiny", checkout)


def test_a_missing_notebook_is_named(checkout):
    (checkout / "notebooks" / "04_entropy.ipynb").unlink()
    with pytest.raises(ProfileError, match="notebooks/04_entropy.ipynb is missing"):
        jobs_of("tiny", checkout)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ["huge"]}, "size 'huge' is unknown; allowed: pico, "),
        ({"sizes": ["pico:x"]}, "size 'pico:x' is unknown"),
        ({"corpus": "moby"}, "corpus 'moby' is unknown; allowed: markov, "),
    ],
)
def test_unknown_corpus_and_size_are_refused(checkout, changes, message):
    write_profile(checkout, profile_with(**changes))
    with pytest.raises(ProfileError, match=message):
        check_names(jobs_of("tiny", checkout).values())


def test_a_corpus_may_name_a_file(checkout):
    write_profile(checkout, profile_with(corpus="text:book.txt"))
    check_names(jobs_of("tiny", checkout).values())


def test_paper_profile_is_the_protocol():
    jobs = [job for job in training_jobs("paper") if job.parameters["size"] == "medium"]
    fractions = sorted(
        [*np.linspace(0.0001, 0.01, 17), 0.02, 0.03, 0.05, 0.06, *np.arange(0.04, 1.005, 0.03)]
    )
    content = yaml.safe_load((ROOT / "runs" / "paper.yaml").read_text())
    given = sorted(content["experiments"][0]["fractions"])
    assert len(jobs) == len(fractions) == 54 and np.allclose(given, fractions, rtol=1e-12, atol=0)
    check_names(jobs_of("paper").values())
    parameters, names = jobs[0].all_parameters(ROOT), TrainingOptions.__dataclass_fields__
    options = {name: value for name, value in parameters.items() if name in names}
    assert TrainingOptions(**options) == TrainingOptions(
        steps=1_000_000,
        curriculum="gaussian",
        precision="bf16",
        checkpoint_every=10_000,
        micro_batch=128,
    )
    assert jobs[0].parameters["dropout"] == 0.1 and jobs[0].parameters["adaln_zero"] is True


def test_only_code_decides_whether_a_notebook_changed(checkout):
    path = checkout / "notebooks" / "02_training.ipynb"
    before = code_digest(path)
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("prose", id="prose"))
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(notebook, path)
    assert code_digest(path) == before
    notebook.cells[1].source += "\n1"
    nbformat.write(notebook, path)
    assert code_digest(path) != before


def test_the_profile_of_the_tests_is_valid(checkout):
    assert len(jobs_of("tiny", checkout)) == 2 + 3 * len(PROFILE["experiments"][0]["n"])
