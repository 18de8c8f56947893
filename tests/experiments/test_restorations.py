"""Sequences followed state by state: the states of the sampler, entropies, the example shown."""

import pandas as pd
import pytest
import torch

from uddm_lib import denoiser, diffusion, experiments, sampling
from uddm_lib.figures._restoration_scenes import scenes
from uddm_lib.schedule import LogLinearSchedule

PARAMETERS = {
    "corpus": "markov",
    "length": 8,
    "vocab_size": 8,
    "size": "pico",
    "n": [4, 12],
    "steps": 3,
    "batch_size": 4,
    "warmup_steps": 0,
}
T, STEPS, SEED = 0.5, 10, 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return experiments.train_runs(experiments.prepare_runs(PARAMETERS), folder)


@pytest.fixture(scope="module")
def restored(runs):
    return [experiments.restore_states(run, run.test[:6], T, STEPS, SEED) for run in runs]


def test_it_is_the_process_of_the_sampler(runs, restored):
    run, one = runs[1], restored[1]
    generator = torch.Generator().manual_seed(SEED)
    z_t = diffusion.corrupt(run.test[:6].long(), LogLinearSchedule().alpha(T), 8, generator)
    end = sampling.restore(run.model, z_t, T, STEPS, generator=generator)
    assert torch.equal(one.states[0], z_t) and torch.equal(one.states[-1], end)
    assert len(one.times) == len(one.states) and one.times[-1] == 0
    assert torch.equal(restored[0].states[0], z_t)  # the same noise for every model


def test_the_changes_lead_to_the_end(runs, restored):
    end = scenes(experiments.changes_table(restored, 2))[-1]
    for run, one in zip(runs, restored):
        tokens = [run.tokenizer.decode([i]) for i in one.states[-1, 2]]
        assert end.versions[run.labels["n"]].tokens == tokens


def test_a_film_has_evenly_spaced_states_with_their_entropies(runs, restored):
    film = experiments.film_table(restored, 2, states=4)
    assert film.groupby("n")["t"].unique().map(len).tolist() == [4, 4]
    for run, one in zip(runs, restored):
        rows = film[film["n"] == run.labels["n"]]
        assert rows["t"].unique().tolist() == [round(one.times[i], 6) for i in (0, 2, 4, 6)]
        state, sigma = one.states[2, 2], LogLinearSchedule().sigma(one.times[2])
        middle = rows[rows["t"] == round(one.times[2], 6)]
        assert list(middle["token"]) == [run.tokenizer.decode([i]) for i in state]
        assert list(middle["original"]) == [run.tokenizer.decode([i]) for i in one.x[2]]
        assert list(middle["corrupted"]) == (one.states[0, 2] != one.x[2]).tolist()
        assert list(middle["right"]) == (state == one.x[2]).tolist()
        assert list(middle["moved"]) == (state != one.states[0, 2]).tolist()
        expected = denoiser.entropy(run.model, state[None], sigma)[0]
        torch.testing.assert_close(torch.tensor(middle["entropy"].to_numpy()), expected.double())


def test_the_sequence_shown_is_the_one_nearest_to_the_mean_of_both_models():
    one = pd.DataFrame({"recovered": [0.0, 0.2, 0.1, None], "unstable": [0.5, 0.9, 0.7, 0.7]})
    two = pd.DataFrame({"recovered": [0.2, 0.8, 0.5, 0.5], "unstable": [0.0, 0.0, 0.0, 0.0]})
    assert experiments.most_typical([one, two]) == 2


def test_without_a_corrupted_token_no_sequence_is_typical():
    rates = pd.DataFrame({"recovered": [None, None], "unstable": [0.5, 0.9]}, dtype=float)
    with pytest.raises(ValueError, match="none of 2 sequences has corrupted"):
        experiments.most_typical([rates])
