"""Run-time checks of shapes and types, the reference vectors, and the table of worst errors."""

import math

import jaxtyping
import pytest

from helpers import typecheck
from helpers.paths import GOLDEN

# Before anything imports uddm_lib: every call in the tests checks the shapes in its signature.
jaxtyping.install_import_hook("uddm_lib", f"{typecheck.__name__}.checked")

from uddm_lib import environment  # noqa: E402

environment.apply_to_tests()

_worst = {}


@pytest.fixture
def unchecked():
    """Switch the run-time checks off, as for a user, so that the package's own errors show."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def worst():
    """Check that an error is within its bound. The table at the end shows the largest ones."""

    def check(quantity, against, error, bound):
        error = float(error)
        _note(quantity, against, error, bound)
        assert error <= bound, f"{quantity} against {against}: {error:.2e} is more than {bound:g}"

    return check


def _note(quantity, against, error, bound):
    known, _ = _worst.get((quantity, against), (-math.inf, bound))
    _worst[quantity, against] = (max(error, known), bound)


@pytest.fixture(scope="session")
def golden():
    """Reference vectors of a published implementation: tensors by name."""
    from safetensors.torch import load_file

    return load_file(GOLDEN / "golden.safetensors")


def pytest_sessionfinish(session):
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # one of the processes of pytest-xdist
        output["worst"] = [[*key, *value] for key, value in _worst.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    return environment.available_cores()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for row in getattr(node, "workeroutput", {}).get("worst", []):
        _note(*row)


def pytest_terminal_summary(terminalreporter):
    if _worst:
        terminalreporter.section("worst errors")
        for (quantity, against), (error, bound) in sorted(_worst.items()):
            terminalreporter.write_line(f"{quantity} | {against} | {error:.1e} | allowed {bound:g}")
