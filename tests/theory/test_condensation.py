"""Condensation of the exact memorizer: information, times, energies, weights."""

import math

import pytest
import torch

from helpers.compare import gap
from uddm_lib.oracles import Memorizer, inverse_temperature
from uddm_lib.schedule import LogLinearSchedule
from uddm_lib.theory import condensation

SCHEDULE = LogLinearSchedule()


@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.99])
def test_channel_information_is_the_mutual_information(alpha, worst):
    vocab_size = 5
    kernel = alpha * torch.eye(vocab_size, dtype=torch.float64) + (1 - alpha) / vocab_size
    joint = kernel / vocab_size
    expected = (joint * (joint * vocab_size**2).log()).sum()
    worst(
        "information of the noisy channel (nats)",
        "sum over all pairs",
        gap(condensation.channel_information(alpha, vocab_size), expected),
        1e-14,
    )


def test_condensation_time_is_where_the_information_equals_the_rate():
    for n, length, vocab_size in ((16, 16, 32), (4096, 64, 32), (10**6, 128, 30_522)):
        t = condensation.condensation_time(n, length, vocab_size)
        information = condensation.channel_information(SCHEDULE.alpha(t), vocab_size).item()
        assert information == pytest.approx(math.log(n) / length, rel=1e-9)
    assert condensation.condensation_time(1, 16, 32) == 1.0
    assert condensation.condensation_time(64, 16, 32) > condensation.condensation_time(4096, 16, 32)


def test_the_memory_condenses_at_its_condensation_time():
    n, length = 256, 128
    critical = condensation.condensation_time(n, length, 32)
    table = condensation.original_weights(
        [n], length, 32, [critical - 0.12, critical, critical + 0.04], draws=200
    )
    below, at, above = table["weight"]
    assert below > 0.98 and 0.2 < at < 0.8 and above < 0.15
    assert (table["error"] < 0.05).all()


def test_stored_sequences_merge_later_than_they_condense():
    n, length, vocab_size = 4096, 64, 32
    t = condensation.merging_time(n, length, vocab_size)
    assert t == pytest.approx(0.9965, abs=1e-4)
    assert t > condensation.condensation_time(n, length, vocab_size)
    stored = torch.randint(vocab_size, (n, length), generator=torch.Generator().manual_seed(0))
    memory = Memorizer(stored, vocab_size)
    own = [
        memory.weights(stored[:200], SCHEDULE.sigma(time)).diagonal().mean().item()
        for time in (t - 5e-3, t, t + 2e-3)
    ]
    assert own[0] > 0.95 and 0.3 < own[1] < 0.7 and own[2] < 0.1


def test_energy_between_two_sequences_in_closed_form(worst):
    length, t = 10, 0.3
    path = condensation.energy_path(6, length, [t])
    beta, k = inverse_temperature(SCHEDULE.sigma(t), 6), torch.arange(length + 1)
    energy = -torch.logaddexp(beta * (length - k), beta * k) / length
    worst(
        "energy of the memorizer (nats per token)",
        "closed form",
        gap(torch.tensor(path["energy"].to_numpy()), energy - energy[0]),
        1e-14,
    )
