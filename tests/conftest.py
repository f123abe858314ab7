"""All tests together run side by side, a process for each core; those that somebody chooses run one after the other."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Ask pytest-xdist for it, before it looks, unless the command line says something of it."""
    everything = config.args == config.getini("testpaths")
    if everything and config.getoption("numprocesses", 0) is None and not config.option.usepdb:
        config.option.numprocesses = "auto"
        config.option.dist = "worksteal"
