"""Reference vectors, and the table of worst errors that ends a test run."""

import math

import pytest
from compare import GOLDEN

_worst = {}


@pytest.fixture(scope="session")
def worst():
    """Assert that an error is within its bound, and keep the largest of each comparison for the table at the end."""

    def check(quantity, against, error, bound):
        error = float(error)
        known = _worst.get((quantity, against), (-math.inf, bound))
        _worst[quantity, against] = (max(error, known[0]), bound)
        assert error <= bound, f"{quantity} against {against}: {error:.2e} is more than {bound:g}"

    return check


@pytest.fixture(scope="session")
def golden():
    """Reference vectors of a published implementation: a dict of tensors."""
    from safetensors.torch import load_file

    path = GOLDEN / "golden.safetensors"
    if not path.is_file():
        pytest.skip("the reference vectors (golden.safetensors) are not on this machine")
    return load_file(path)


def pytest_terminal_summary(terminalreporter):
    if _worst:
        terminalreporter.section("worst errors")
        for (quantity, against), (error, bound) in sorted(_worst.items()):
            terminalreporter.write_line(f"{quantity} | {against} | {error:.1e} | allowed {bound:g}")
