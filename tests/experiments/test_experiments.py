import inspect
import json
import re

import nbformat
import pytest
import torch

from helpers.paths import ROOT
from uddm_lib import experiments
from uddm_lib.data import load_corpus, markov_chain, subset
from uddm_lib.training import TrainingLoop, TrainingOptions

PARAMETERS = {
    "corpus": "markov",
    "length": 8,
    "vocab_size": 8,
    "size": "pico",
    "n": 5,
    "steps": 2,
    "batch_size": 4,
    "warmup_steps": 0,
}
DIGESTS = {"train_sha256", "test_sha256", "tokenizer_sha256"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    experiments.train_run(experiments.prepare(PARAMETERS), folder)
    return folder


def test_parameters_have_the_defaults_of_the_library():
    experiment = experiments.prepare({"corpus": "markov", "size": "pico", "n": 5})
    corpus = load_corpus("markov")
    assert torch.equal(experiment.blocks, subset(corpus, 5))
    assert vars(experiment.options) == vars(TrainingOptions()) | {"log_every": 50}
    assert (experiment.config.dropout, experiment.config.adaln_zero) == (0.1, True)


def test_parameters_reach_their_places():
    given = PARAMETERS | {"dropout": 0.2, "adaln_zero": False, "corpus_seed": 3}
    experiment = experiments.prepare(given | {"micro_batch": 2, "folder": "x", "progress": True})
    assert torch.equal(experiment.blocks, subset(load_corpus("markov", 8, 8, seed=3), 5, seed=3))
    assert (experiment.options.steps, experiment.options.log_every) == (2, 1)
    assert (experiment.config.dropout, experiment.config.adaln_zero) == (0.2, False)
    known = experiment.identity
    assert {name: known[name] for name in ("corpus", "length", "vocab_size", "size", "n")} == {
        "corpus": "markov",
        "length": 8,
        "vocab_size": 8,
        "size": "pico",
        "n": 5,
    }
    assert not {"folder", "progress", "micro_batch"} & known.keys()
    assert experiments.prepare(PARAMETERS | {"log_every": 7}).options.log_every == 7


def test_all_is_a_number_of_blocks():
    experiment = experiments.prepare(PARAMETERS | {"n": "all"})
    size = len(load_corpus("markov", 8, 8).train)
    assert len(experiment.blocks) == size == experiment.identity["n"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n": 0}, "n=0 is not an integer from 1 to"),
        ({"n": 10**9}, "n=1000000000 is not an integer from 1 to"),
        ({"size": "huge"}, "size='huge' is unknown"),
        ({"step": 3}, "unknown parameter step; allowed: corpus, size, n, .*steps"),
        ({"steps": 0}, "steps=0 is not"),
        ({"corpus": "bread"}, "corpus must be one of"),
    ],
)
def test_bad_parameters_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        experiments.prepare(PARAMETERS | change)


def test_missing_parameters_are_named():
    with pytest.raises(ValueError, match="corpus, n not given"):
        experiments.prepare({"size": "pico"})


def test_the_notebook_has_these_parameters_and_defaults():
    """Its own values are those of a small model in a short training; all else is as here."""
    notebook = nbformat.read(ROOT / "notebooks" / "02_training.ipynb", 4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    declared = {}
    exec(cell.source, declared)
    values = {name: declared[name] for name in declared["__annotations__"]}
    experiments.prepare_runs(values)
    of_its_own = {"steps", "batch_size", "learning_rate", "warmup_steps", "lr_schedule"}
    options = inspect.signature(TrainingOptions).parameters
    same = values.keys() & options.keys() - of_its_own - {"ema_decay"}
    assert {name: values[name] for name in same} == {name: options[name].default for name in same}
    assert {"t_min", "curriculum_steps", "seed", "micro_batch", "checkpoint_every"} <= same


def test_a_run_comes_back_with_its_sequences(folder):
    run = experiments.load_run(folder)
    corpus = load_corpus("markov", 8, 8)
    assert run.labels == {"corpus": "markov", "size": "pico", "n": 5, "seed": 1}
    assert torch.equal(run.train, subset(corpus, 5)) and torch.equal(run.test, corpus.test)
    assert run.model.length == 8 and run.tokenizer.decode(run.train[0])


def test_a_run_on_a_known_source_has_both_limits(folder):
    run = experiments.load_run(folder)
    known = run.denoisers
    assert list(known) == ["network", "memorizer", "generalizer"] and known["network"] is run.model
    prediction = known["memorizer"].denoise(run.train, torch.tensor(1e-4))
    assert torch.equal(prediction.argmax(-1), run.train)
    chain = markov_chain(8)
    assert torch.equal(known["generalizer"].transition, chain[1])
    on_text = run._replace(parameters=run.parameters | {"corpus": "kjv"})
    assert list(on_text.denoisers) == ["network"]


def test_small_training_sets_are_repeated_and_the_control_is_noise(folder):
    run = experiments.load_run(folder)
    sets = run.sets(12)
    assert torch.equal(sets["train"], run.train.repeat(3, 1)[:12])
    assert torch.equal(sets["test"], run.test[:12])
    assert torch.equal(sets["test"], run.sets(24)["test"][:12])
    assert sets["random"].shape == (3, 8) and torch.equal(sets["random"], run.sets(12)["random"])
    assert len(run.sets(400)["random"].unique()) == 8


def test_constant_positions_of_the_control_are_those_of_the_text(folder):
    run = experiments.load_run(folder)
    scored = torch.ones(8, dtype=torch.bool)
    scored[[0, -1]] = False
    noise = run._replace(scored=scored).sets(12)["random"]
    assert (noise[:, 0] == run.test[0, 0]).all() and (noise[:, -1] == run.test[0, -1]).all()


def test_other_folders_are_refused_by_name(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        experiments.load_run(tmp_path / "nowhere")
    (tmp_path / "run.json").write_text(json.dumps({"parameters": {"corpus": "markov"}}))
    with pytest.raises(
        ValueError, match="run.json lacks corpus_seed, length, n, seed, size, vocab_size"
    ):
        experiments.load_run(tmp_path)
    about = json.loads((folder / "run.json").read_text())
    about["parameters"] |= {"vocab_size": 9}
    (tmp_path / "run.json").write_text(json.dumps(about))
    (tmp_path / "model").symlink_to(folder / "model")
    with pytest.raises(
        ValueError, match="vocab_size=8 and length=8; corpus markov now gives 9 and 8"
    ):
        experiments.load_run(tmp_path)


# text that changes


@pytest.fixture
def book(tmp_path):
    """A text of 400 different lines, and parameters of a run on it."""
    words = ["light", "dark", "water", "earth", "stone", "cloud", "river", "field"]
    lines = [f"{words[i % 8]} {words[i // 8 % 8]} {words[i // 64]} {1000 + i}!" for i in range(400)]
    path = tmp_path / "book.txt"
    path.write_text("\n".join(lines))
    sizes = {"length": 16, "vocab_size": 40, "n": "all"}
    return path, PARAMETERS | sizes | {"corpus": f"text:{path}"}


def swap_two_lines(path, corpus, blocks):
    """Let two lines change places that are in ``blocks``."""
    text = " ".join(corpus.tokenizer.batch_decode(blocks))
    first, *_, last = sorted(re.findall(r"\d{4}(?=!)", text))
    lines = path.read_text().split("\n")
    i, j = int(first) - 1000, int(last) - 1000
    lines[i], lines[j] = lines[j], lines[i]
    path.write_text("\n".join(lines))


CHANGES = {
    "training blocks": lambda path, corpus: swap_two_lines(path, corpus, corpus.train),
    "test blocks": lambda path, corpus: swap_two_lines(path, corpus, corpus.test),
    # The mark beside it takes its id: the blocks stay, and mean another text.
    "tokenizer": lambda path, _: path.write_text(path.read_text().replace("!", '"')),
}


@pytest.mark.parametrize("part", CHANGES)
def test_a_finished_run_is_not_read_with_another_text(book, tmp_path, part):
    path, parameters = book
    experiment = experiments.prepare(parameters)
    experiments.train_run(experiment, tmp_path / "run")
    assert experiments.load_run(tmp_path / "run").labels["corpus"] == f"text:{path}"
    CHANGES[part](path, experiment.corpus)
    changed = f"run was trained on corpus text:.*book.txt, whose {part} changed since. Restore"
    with pytest.raises(ValueError, match=changed):
        experiments.load_run(tmp_path / "run")
    with pytest.raises(ValueError, match=changed):
        experiments.load_runs(f"{tmp_path}/r*n")
    with pytest.raises(ValueError, match=changed):
        experiments.train_run(experiments.prepare(parameters), tmp_path / "run")


@pytest.mark.parametrize("part", CHANGES)
def test_a_run_is_not_resumed_with_another_text(book, tmp_path, monkeypatch, part):
    path, parameters = book
    experiment = experiments.prepare(parameters)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "update", None)
        with pytest.raises(TypeError):
            experiments.train_run(experiment, tmp_path / "run")
    CHANGES[part](path, experiment.corpus)
    with pytest.raises(ValueError, match=f"run was trained on .*, whose {part} changed since"):
        experiments.train_run(experiments.prepare(parameters), tmp_path / "run")


def test_a_run_is_not_read_with_a_shorter_text(book, tmp_path):
    path, parameters = book
    experiments.train_run(experiments.prepare(parameters), tmp_path / "run")
    path.write_text("\n".join(path.read_text().split("\n")[:-40]))
    all_parts = " and ".join(CHANGES)
    with pytest.raises(ValueError, match=f"run was trained on .*, whose {all_parts} changed since"):
        experiments.load_run(tmp_path / "run")


@pytest.mark.parametrize("unknown", [DIGESTS, {"tokenizer_sha256"}])
def test_runs_without_digests_are_read_and_resumed(folder, tmp_path, unknown):
    about = json.loads((folder / "run.json").read_text())
    assert about["parameters"].keys() >= DIGESTS
    for name in unknown:
        del about["parameters"][name]
    (tmp_path / "run.json").write_text(json.dumps(about))
    (tmp_path / "model").symlink_to(folder / "model")
    for name in ("log.csv", "log.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert experiments.load_run(tmp_path).labels["n"] == 5
    result = experiments.train_run(experiments.prepare(PARAMETERS), tmp_path)
    assert result.log["step"].iloc[-1] == 2
    with pytest.raises(ValueError, match="other parameters: steps 2 there, 3"):
        experiments.train_run(experiments.prepare(PARAMETERS | {"steps": 3}), tmp_path)


@pytest.mark.parametrize("name", ["kjv-nano-n000016-s1", "kjv-nano-nall-s1"])
def test_shipped_models_know_their_text(name):
    run = experiments.load_run(f"runs/pretrained/{name}", "cpu")
    assert run.parameters.keys() >= DIGESTS
