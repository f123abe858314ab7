"""The clients run on both loops; the one without a proxy and the one with it give the same outcomes."""

from __future__ import annotations

import pytest
from servers.scripted_http import Serving


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=[False, True], ids=["straight", "proxied"])
def serving(request: pytest.FixtureRequest) -> Serving:
    return Serving(request.param)
