"""States to store: what the sources refuse. Their laws are tested where they are stored."""

import pytest

from helpers.memories import seeded
from uddm_lib.theory.patterns import feature_examples, random_patterns, spin_glass


@pytest.mark.parametrize(
    "draw, words",
    [
        (lambda x: random_patterns(0, 5), "count=0 is not a positive integer"),
        (lambda x: random_patterns(5, 0), "size=0 is not a positive integer"),
        (lambda x: spin_glass(0), "size=0 is not a positive integer"),
        (lambda x: feature_examples(3, x, active=2), "active=2 is not allowed; it must be odd"),
        (lambda x: feature_examples(3, x, active=5), "from 1 to the 4 features"),
    ],
)
def test_bad_arguments_are_named(draw, words):
    with pytest.raises(ValueError, match=words):
        draw(random_patterns(4, 6, seeded()))
