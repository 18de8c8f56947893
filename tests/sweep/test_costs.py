"""The counts of what runs cost, against a count by hand and against the reverse process."""

import pytest
import torch

from helpers.paper_costs import (
    ENTROPY,
    RECOVERY,
    SHARES,
    STOCHASTIC,
    TABLE_1,
    TOKENS,
    L,
    V,
    flops_per_token,
    parameters,
)
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.sampling import restore
from uddm_lib.sweep import costs


def test_parameters_by_hand():
    counts = {size: parameters(size) for size in TABLE_1}
    assert {size: round(count / 1e6, 1) for size, count in counts.items()} == {
        "tiny": 23.7,
        "small": 139.3,
        "medium": 384.0,
    }  # those of the released models
    for size, count in counts.items():
        assert costs.parameter_count(UDDMConfig.named(size, V, L)) == count


def test_operations_by_hand():
    for size in TABLE_1:
        config = UDDMConfig.named(size, V, L)
        assert costs.training_flops(config, 1_000_000, 512) == 3 * flops_per_token(size) * TOKENS
        assert costs.probe_flops(config, 7) == 7 * L * flops_per_token(size)


def test_passes_by_hand():
    shares = tuple(0.1 * share for share in range(SHARES))
    assert costs.recovery_passes(5_000, tuple(STOCHASTIC), 1_000, shares, 1_000, 1.0) == RECOVERY
    assert costs.entropy_passes(20_000, 20_000, 1_000, 0.1) == ENTROPY


@pytest.mark.parametrize(("start_t", "steps", "greedy"), [(0.5, 10, False), (1.0, 40, True)])
def test_passes_are_those_of_the_reverse_process(start_t, steps, greedy):
    model = UDDM(
        UDDMConfig(vocab_size=5, length=64, hidden_size=8, cond_dim=8, n_blocks=1, n_heads=1)
    ).eval()
    asked = []
    model.hidden = lambda z_t, sigma, hidden=model.hidden: (
        asked.append(len(z_t)) or hidden(z_t, sigma)
    )
    restore(
        model,
        torch.randint(5, (6, 64), generator=torch.Generator().manual_seed(1)),
        start_t,
        steps,
        greedy,
        torch.Generator().manual_seed(1),
    )
    most = 6 * (
        costs._greedy_calls(steps, start_t) if greedy else len(costs.time_grid(steps, start_t))
    )
    assert sum(asked) == most if greedy else most / 2 < sum(asked) <= most
