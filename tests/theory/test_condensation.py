"""Condensation of the exact memorizer: information, times, energies, weights."""

import math

import pytest
import torch

from helpers.compare import gap
from uddm_lib.oracles import Memorizer, inverse_temperature
from uddm_lib.schedule import LogLinearSchedule
from uddm_lib.theory import condensation

SCHEDULE = LogLinearSchedule()


@pytest.mark.parametrize("tokens", [None, 2])
@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.99])
def test_channel_information_is_the_mutual_information(alpha, tokens, worst):
    vocab_size, clean = 5, tokens or 5
    kernel = alpha * torch.eye(vocab_size, dtype=torch.float64) + (1 - alpha) / vocab_size
    joint = kernel[:clean] / clean
    expected = (joint * (joint * clean / joint.sum(0)).log()).sum()
    worst(
        "information of the noisy channel (nats)",
        "sum over all pairs",
        gap(condensation.channel_information(alpha, vocab_size, tokens), expected),
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


def own_weights(shape, tokens, vocab_size, times):
    """The mean weight of a stored sequence on itself, seen without noise, at each time."""
    stored = torch.randint(tokens, shape, generator=torch.Generator().manual_seed(0))
    memory = Memorizer(stored, vocab_size)
    return [
        memory.weights(stored[:200], SCHEDULE.sigma(time)).diagonal().mean().item()
        for time in times
    ]


def test_a_stored_sequence_keeps_half_of_the_weight_longer_than_it_condenses():
    n, length, vocab_size = 4096, 64, 32
    t = condensation.half_weight_time(n, length, vocab_size)
    assert t == pytest.approx(0.9965, abs=1e-4)
    assert t > condensation.condensation_time(n, length, vocab_size)
    own = own_weights((n, length), vocab_size, vocab_size, (t - 5e-3, t, t + 2e-3))
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


def test_the_class_is_decided_before_the_sequence():
    n, length, vocab_size, tokens = 1024, 64, 32, 2
    speciation = condensation.speciation_time(length, vocab_size, tokens)
    condensed = condensation.condensation_time(n // 2, length, vocab_size, tokens)
    half = condensation.half_weight_time(n // 2, length, vocab_size, tokens)
    assert condensed < 0.8 < speciation < half < 1
    times = [condensed - 0.2, condensed, speciation - 0.1, speciation, 1.0]
    table = condensation.class_weights(n, length, vocab_size, tokens, times, draws=200)
    assert table["original"][0] > 0.97 and 0.3 < table["original"][1] < 0.8
    assert table["own_class"][2] > 0.97 and table["original"][2] < 0.5
    assert 0.6 < table["own_class"][3] < 0.9 and table["original"][3] < 0.1
    assert table["own_class"][4] == pytest.approx(0.5, abs=0.02)


def test_the_class_is_the_largest_direction_of_the_tokens():
    length, vocab_size, tokens = 6, 8, 2
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(tokens, (20_000, length), generator=generator)
    x += tokens * torch.randint(2, (20_000, 1), generator=generator)
    one_hot = torch.nn.functional.one_hot(x, vocab_size).flatten(1).double()
    largest = torch.linalg.eigvalsh(one_hot.T.cov())[-1].item()
    assert largest == pytest.approx(length / (2 * tokens), rel=0.01)
    alpha = SCHEDULE.alpha(condensation.speciation_time(length, vocab_size, tokens)).item()
    assert alpha**2 * length / (2 * tokens) == pytest.approx(1 / vocab_size)


def test_two_classes_need_tokens_of_their_own():
    with pytest.raises(ValueError, match="tokens=5 is not allowed; .* from 1 to 4 each"):
        condensation.speciation_time(6, 8, 5)


def test_stored_sequences_of_few_tokens_have_half_of_the_weight_at_the_half_weight_time():
    n, length, vocab_size, tokens = 512, 64, 32, 2
    t = condensation.half_weight_time(n, length, vocab_size, tokens)
    own = own_weights((n, length), tokens, vocab_size, (t - 5e-3, t, t + 5e-3))
    assert own[0] > 0.8 and 0.3 < own[1] < 0.7 and own[2] < 0.2


@pytest.mark.parametrize("n", [64, 512, 4096])
def test_a_stored_sequence_is_a_local_minimum_at_the_half_weight_time_and_not_for_ever(n):
    length, vocab_size = 64, 32
    half = condensation.half_weight_time(n, length, vocab_size)
    stored = torch.randint(vocab_size, (n, length), generator=torch.Generator().manual_seed(0))
    is_minimum = {}
    for t in (half, 1.0):
        beta, found = inverse_temperature(SCHEDULE.sigma(t), vocab_size), []
        for x in stored[:4]:
            same = (stored == x).double()
            agree = same.sum(1)
            # The agreeing tokens after each change of one token (place, value), for every sequence.
            values = torch.nn.functional.one_hot(stored, vocab_size)
            changed = agree[:, None, None] - same[:, :, None] + values
            walls = (beta * agree).logsumexp(0) - (beta * changed).logsumexp(0)
            other = torch.nn.functional.one_hot(x, vocab_size) == 0
            found.append(bool((walls[other] > 0).all()))
        is_minimum[t] = found
    assert all(is_minimum[half]) and not any(is_minimum[1.0])
