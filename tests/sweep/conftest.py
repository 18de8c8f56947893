import pytest

from helpers.fake_sweep import write_checkout


@pytest.fixture
def checkout(tmp_path):
    """A checkout with tiny notebooks and the profile ``tiny``."""
    return write_checkout(tmp_path)
