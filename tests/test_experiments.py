import json

import pytest
import torch

from uddm_lib import experiments
from uddm_lib.data import load_corpus, markov_chain, subset
from uddm_lib.model import UDDMConfig
from uddm_lib.training import TrainingOptions, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    corpus = load_corpus("markov", 8, 8)
    config = UDDMConfig.named("pico", corpus.vocab_size, corpus.length)
    asked = {
        "corpus": "markov",
        "length": 8,
        "vocab_size": 8,
        "corpus_seed": 1,
        "size": "pico",
        "n": 5,
    }
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = TrainingOptions(steps=2, batch_size=4, warmup_steps=0)
    train(
        folder,
        subset(corpus, 5),
        corpus.test[:4],
        config,
        options,
        corpus.tokenizer,
        corpus.scored,
        asked,
    )
    return folder


def test_a_run_comes_back_with_its_sequences(folder):
    run = experiments.load_run(folder)
    corpus = load_corpus("markov", 8, 8)
    assert run.labels == {"corpus": "markov", "size": "pico", "n": 5}
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
    assert list(run._replace(parameters=run.parameters | {"corpus": "kjv"}).denoisers) == [
        "network"
    ]


def test_small_training_sets_are_repeated_and_the_control_is_noise(folder):
    run = experiments.load_run(folder)
    sets = run.sets(12)
    assert torch.equal(sets["train"], run.train.repeat(3, 1)[:12])
    assert torch.equal(sets["test"], run.test[:12])
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
    with pytest.raises(ValueError, match="run.json lacks corpus_seed, length, n, size, vocab_size"):
        experiments.load_run(tmp_path)
    about = json.loads((folder / "run.json").read_text())
    about["parameters"] |= {"vocab_size": 9}
    (tmp_path / "run.json").write_text(json.dumps(about))
    (tmp_path / "model").symlink_to(folder / "model")
    with pytest.raises(
        ValueError, match="vocab_size=8 and length=8; corpus markov now gives 9 and 8"
    ):
        experiments.load_run(tmp_path)
