"""The number of stored sequences, from how often a model repeats itself."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from uddm_lib.audit.birthday import Birthday, birthday_estimate, groups_of_twins


@pytest.mark.parametrize(("n", "draws", "stored"), [(16, 512, 0.5), (128, 512, 0.9), (400, 256, 1)])
def test_the_interval_holds_n(n, draws, stored):
    """Some draws are no stored sequences and occur once: the estimate does not mind them."""
    generator = np.random.default_rng(0)
    inside, estimates = 0, []
    for _ in range(60):
        copies = generator.binomial(draws, stored)
        label = np.concatenate([generator.integers(n, size=copies), n + np.arange(draws - copies)])
        result = birthday_estimate(np.unique(label, return_inverse=True)[1])
        estimates.append(result.estimate)
        # The grid of n has steps of 2 %.
        inside += result.low <= 1.02 * n and (result.high is None or result.high >= 0.98 * n)
    assert inside >= binom.ppf(0.001, 60, 0.95)
    assert np.median(estimates) == pytest.approx(n, rel=0.2)


def test_without_repeats_there_is_no_estimate():
    assert birthday_estimate(np.arange(5)) == Birthday(distinct=5, repeated=0)
    assert birthday_estimate(np.zeros(50, int)).estimate == pytest.approx(1, abs=0.1)
    few = birthday_estimate(np.concatenate([[0, 0, 1, 1], np.arange(2, 62)]))
    assert few.estimate is None and few.high is None and few.low == 2  # any large n is as likely


def test_twins_agree_in_nine_of_ten_tokens_that_count():
    one = torch.arange(20)
    near, far = one.clone(), one.clone()
    near[:2] = 99
    far[:3] = 99
    x = torch.stack([one, near, far, one + 100])
    label = groups_of_twins(x)
    # far is a twin of near (one token differs), and so belongs to the group.
    assert label[0] == label[1] == label[2] != label[3]
    assert len(set(groups_of_twins(x[[0, 2, 3]]))) == 3
    scored = torch.ones(4, 20, dtype=torch.bool)
    scored[:, 3:] = False  # of three tokens that count, one or three differ
    assert len(set(groups_of_twins(x[[0, 2, 3]], scored[:3]))) == 3
    none = torch.zeros(3, 20, dtype=torch.bool)  # where no token counts, nobody is a twin
    assert len(set(groups_of_twins(x[[0, 2, 3]], none))) == 3
    scored = ~scored
    assert len(set(groups_of_twins(x[[0, 2, 3]], scored[:3]))) == 2
