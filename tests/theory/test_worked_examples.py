"""The NELBO on pairs of tokens, a rule with facts, the argmax of Gaussians, a double well."""

import pytest
import torch

from helpers.compare import gap
from uddm_lib.schedule import duality_alpha
from uddm_lib.theory import worked_examples


@pytest.mark.parametrize("vocab_size", [2, 50])
def test_argmax_of_gaussians_has_the_alpha_of_the_duality(vocab_size):
    table = worked_examples.argmax_alpha([-3.0, -1.0, 1.0], vocab_size, 20_000)
    expected = duality_alpha(table["gamma"].tolist(), vocab_size).numpy()
    assert ((table["alpha"] - expected).abs() < 4 * table["error"]).all()
    assert table["error"].max() < 0.01


def test_the_nelbo_of_the_leave_one_out_conditional_is_the_entropy():
    joint = torch.tensor([[0.3, 0.1], [0.05, 0.55]], dtype=torch.float64)
    times = torch.linspace(0, 1, 801, dtype=torch.float64)[1:] ** 3
    table = worked_examples.nelbo_integrands(joint, times)
    area = {
        name: torch.trapezoid(torch.tensor(table[name].to_numpy()), times).item()
        for name in table.columns[1:]
    }
    entropy = torch.special.entr(joint).sum().item()
    # What is left is the entropy of t in (0, t_1) and (t_1 = 1e-3 of alpha) beyond t = 1.
    assert area["leave-one-out conditional"] == pytest.approx(entropy, abs=2e-3)
    assert area["ordinary posterior"] > entropy + 0.1 and area["uniform prediction"] > entropy + 0.1
    assert (table["leave-one-out conditional"] <= table.iloc[:, 2:].min(axis=1) + 1e-12).all()


def test_entropy_of_facts_against_the_enumerated_source(worst):
    draw = torch.Generator().manual_seed(0)
    size, length, share = 3, 4, 0.2
    initial = torch.rand(size, generator=draw, dtype=torch.float64).softmax(0)
    transition = torch.rand(size, size, generator=draw, dtype=torch.float64).softmax(1)
    everything = torch.cartesian_prod(*[torch.arange(size)] * length)
    facts = everything[[5, 70]]
    steps = transition[everything[:, :-1], everything[:, 1:]].prod(1)
    law = (1 - share) * initial[everything[:, 0]] * steps
    law[[5, 70]] += share / 2
    assert law.sum().item() == pytest.approx(1)
    cube = law.reshape(*[size] * length)

    def entropy(x, place):
        row = cube.movedim(place, -1)[tuple(torch.cat([x[:place], x[place + 1 :]]))]
        return torch.special.entr(row / row.sum()).sum()

    expected = torch.tensor(
        [[entropy(x, place) for place in range(length)] for x in everything], dtype=torch.float64
    )
    found = worked_examples.entropy_of_facts(everything, facts, share, (initial, transition))
    worst("entropy of a token given the others (nats)", "enumeration", gap(found, expected), 1e-12)


@pytest.mark.usefixtures("unchecked")
def test_a_share_of_facts_is_a_probability():
    one = torch.zeros(1, 2, dtype=torch.long)
    rule = torch.ones(1), torch.ones(1, 1)
    with pytest.raises(ValueError, match="share=0 is not allowed; it must lie between 0 and 1"):
        worked_examples.entropy_of_facts(one, one, 0, rule)


def test_double_well_against_a_double_sum(worst):
    k, c = 3.0, 4.0
    x = torch.linspace(0, 3, 1501, dtype=torch.float64)
    y = torch.linspace(-4, 7, 1501, dtype=torch.float64)
    energy = k * (x[:, None] ** 2 - 1) ** 2 / 4 + c * (y - x[:, None]) ** 2 / 2
    p = torch.exp(-energy)
    total = torch.trapezoid(torch.trapezoid(p, y), x)
    entropy = torch.trapezoid(torch.trapezoid(p * energy, y), x) / total + total.log()
    table = worked_examples.double_well([k, 1e4], c)
    worst("entropy of a well (nats)", "double sum", abs(table["entropy"][0] - entropy.item()), 1e-6)
    hessian = torch.autograd.functional.hessian(
        lambda point: k * (point[0] ** 2 - 1) ** 2 / 4 + c * (point[1] - point[0]) ** 2 / 2,
        torch.ones(2, dtype=torch.float64),
    )
    assert table["log_det"][0] == pytest.approx(torch.logdet(hessian).item())
    assert table["laplace"][1] == pytest.approx(table["entropy"][1], abs=1e-3)
