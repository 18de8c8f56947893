import math

import pytest
import torch

from helpers.compare import gap
from uddm_lib.oracles import Memorizer, inverse_temperature
from uddm_lib.schedule import LogLinearSchedule, duality_alpha
from uddm_lib.theory import exact, hopfield

SCHEDULE = LogLinearSchedule()


@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.99])
def test_channel_information_is_the_mutual_information(alpha, worst):
    vocab_size = 5
    joint = (
        alpha * torch.eye(vocab_size, dtype=torch.float64) + (1 - alpha) / vocab_size
    ) / vocab_size
    expected = (joint * (joint * vocab_size**2).log()).sum()
    worst(
        "information of the noisy channel (nats)",
        "sum over all pairs",
        gap(exact.channel_information(alpha, vocab_size), expected),
        1e-14,
    )


def test_condensation_time_is_where_the_information_equals_the_rate():
    for n, length, vocab_size in ((16, 16, 32), (4096, 64, 32), (10**6, 128, 30_522)):
        t = exact.condensation_time(n, length, vocab_size)
        information = exact.channel_information(SCHEDULE.alpha(t), vocab_size).item()
        assert information == pytest.approx(math.log(n) / length, rel=1e-9)
    assert exact.condensation_time(1, 16, 32) == 1.0
    assert exact.condensation_time(64, 16, 32) > exact.condensation_time(4096, 16, 32)


def test_the_memory_condenses_at_its_condensation_time():
    n, length = 256, 128
    critical = exact.condensation_time(n, length, 32)
    table = exact.condensation(
        [n], length, 32, [critical - 0.12, critical, critical + 0.04], draws=200
    )
    below, at, above = table["weight"]
    assert below > 0.98 and 0.2 < at < 0.8 and above < 0.15
    assert (table["error"] < 0.05).all()


def test_energy_between_two_sequences_in_closed_form(worst):
    length, t = 10, 0.3
    path = exact.energy_path(6, length, [t])
    beta, k = inverse_temperature(SCHEDULE.sigma(t), 6), torch.arange(length + 1)
    energy = -torch.logaddexp(beta * (length - k), beta * k) / length
    worst(
        "energy of the memorizer (nats per token)",
        "closed form",
        gap(torch.tensor(path["energy"].to_numpy()), energy - energy[0]),
        1e-14,
    )


@pytest.mark.parametrize("vocab_size", [2, 50])
def test_argmax_of_gaussians_has_the_alpha_of_the_duality(vocab_size):
    table = exact.argmax_alpha([-3.0, -1.0, 1.0], vocab_size, 20_000)
    expected = duality_alpha(table["gamma"].tolist(), vocab_size).numpy()
    assert ((table["alpha"] - expected).abs() < 4 * table["error"]).all() and table[
        "error"
    ].max() < 0.01


def test_no_direction_has_a_larger_margin_than_the_maximum():
    patterns = hopfield.random_patterns(12, 40, torch.Generator().manual_seed(0))
    best = exact.maximum_margins(patterns, range(40))
    trained = hopfield.margins(hopfield.train(patterns, 3000), patterns).amin(0)
    assert (trained < best * (1 + 1e-6)).all() and (trained > 0.995 * best).all()


def test_the_nelbo_of_the_leave_one_out_conditional_is_the_entropy():
    joint = torch.tensor([[0.3, 0.1], [0.05, 0.55]], dtype=torch.float64)
    times = torch.linspace(0, 1, 801, dtype=torch.float64)[1:] ** 3
    table = exact.nelbo_integrands(joint, times)
    area = {
        name: torch.trapezoid(torch.tensor(table[name].to_numpy()), times).item()
        for name in table.columns[1:]
    }
    entropy = torch.special.entr(joint).sum().item()
    # What is left is the entropy of t in (0, t_1) and (t_1 = 1e-3 of alpha) beyond t = 1.
    assert area["leave-one-out conditional"] == pytest.approx(entropy, abs=2e-3)
    assert area["ordinary posterior"] > entropy + 0.1 and area["uniform prediction"] > entropy + 0.1
    assert (table["leave-one-out conditional"] <= table.iloc[:, 2:].min(axis=1) + 1e-12).all()


def test_double_well_against_a_double_sum(worst):
    k, c = 3.0, 4.0
    x, y = (
        torch.linspace(0, 3, 1501, dtype=torch.float64),
        torch.linspace(-4, 7, 1501, dtype=torch.float64),
    )
    energy = k * (x[:, None] ** 2 - 1) ** 2 / 4 + c * (y - x[:, None]) ** 2 / 2
    p = torch.exp(-energy)
    total = torch.trapezoid(torch.trapezoid(p, y), x)
    entropy = torch.trapezoid(torch.trapezoid(p * energy, y), x) / total + total.log()
    table = exact.double_well([k, 1e4], c)
    worst("entropy of a well (nats)", "double sum", abs(table["entropy"][0] - entropy.item()), 1e-6)
    hessian = torch.autograd.functional.hessian(
        lambda point: k * (point[0] ** 2 - 1) ** 2 / 4 + c * (point[1] - point[0]) ** 2 / 2,
        torch.ones(2, dtype=torch.float64),
    )
    assert table["log_det"][0] == pytest.approx(torch.logdet(hessian).item())
    assert table["laplace"][1] == pytest.approx(table["entropy"][1], abs=1e-3)


def test_stored_sequences_merge_later_than_they_condense():
    n, length, vocab_size = 4096, 64, 32
    t = exact.merging_time(n, length, vocab_size)
    assert t == pytest.approx(0.9965, abs=1e-4) and t > exact.condensation_time(
        n, length, vocab_size
    )
    stored = torch.randint(vocab_size, (n, length), generator=torch.Generator().manual_seed(0))
    memory = Memorizer(stored, vocab_size)
    own = [
        memory.weights(stored[:200], SCHEDULE.sigma(time)).diagonal().mean().item()
        for time in (t - 5e-3, t, t + 2e-3)
    ]
    assert own[0] > 0.95 and 0.3 < own[1] < 0.7 and own[2] < 0.1
