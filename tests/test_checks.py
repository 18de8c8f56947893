"""The checks that every part of the package shares."""

import numpy as np
import pytest
import torch

from uddm_lib import _checks


@pytest.mark.parametrize("value", [1, 7, np.int64(3), torch.tensor(2)])
def test_positive_integers_of_any_library_come_back_as_int(value):
    number = _checks.positive_integer("n", value)
    assert type(number) is int and number == int(value)


@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True, None, torch.tensor(1.0), [1]])
def test_what_is_no_positive_integer_is_named(value):
    with pytest.raises(ValueError, match="^n=.* is not a positive integer$"):
        _checks.positive_integer("n", value)


def test_integers_have_limits():
    assert _checks.integer("seed", np.int32(0), 0) == 0
    assert _checks.integer("n", 5, 1, 5) == 5
    with pytest.raises(ValueError, match="^seed=-1 is not an integer of at least 0$"):
        _checks.integer("seed", -1, 0)
    with pytest.raises(ValueError, match="^n=6 is not an integer from 1 to 5$"):
        _checks.integer("n", 6, 1, 5)
    for value in (1.5, "1", True):
        with pytest.raises(ValueError, match="^seed=.* is not an integer of at least 0$"):
            _checks.integer("seed", value, 0)


def test_tokens_outside_the_vocabulary_are_named():
    _checks.tokens("x", torch.tensor([[0, 6]]), 7)
    _checks.tokens("x", torch.empty(0, 5, dtype=torch.int64), 7)
    for x, limits in (([[0, 7]], "0 to 7"), ([[3, -1]], "-1 to 3")):
        with pytest.raises(
            ValueError, match=f"^x holds token ids from {limits}; allowed are 0 to 6$"
        ):
            _checks.tokens("x", torch.tensor(x), 7)


def test_a_vocabulary_may_be_larger_than_the_tokens_type_holds():
    _checks.tokens("x", torch.tensor([[0, 32_767]], dtype=torch.int16), 32_768)
    with pytest.raises(ValueError, match="-32768 to 0"):
        _checks.tokens("x", torch.tensor([[0, -32_768]], dtype=torch.int16), 32_768)
