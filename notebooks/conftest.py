"""Notebooks are compared with their stored outputs in the environment of the tests."""

import pytest

from uddm_lib import environment

environment.apply_to_tests()


def pytest_configure(config):
    config.option.nbval_current_env = True  # not a kernel that another Python calls python3
    config.option.nbval_kernel_startup_timeout = 600  # seconds, for slow disks


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    return environment.available_cores()
