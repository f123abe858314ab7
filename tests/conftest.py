"""All tests together run side by side, a process for each core; those that somebody chooses run one after the other."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing where others work, too
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask pytest-xdist for it, before it looks, unless the command line says something of it.

    Its processes come here, too, with the same arguments: they must not ask again.
    """
    worker = "PYTEST_XDIST_WORKER" in os.environ
    everything = config.args == config.getini("testpaths")
    if everything and not worker and config.getoption("numprocesses", 0) is None and not config.option.usepdb:
        config.option.numprocesses = "auto"
        config.option.dist = "worksteal"
