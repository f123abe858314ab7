"""The judges of other languages: the official SDKs for Java, Go and Node carry out every operation that they have."""

from __future__ import annotations

import anyio
import pytest
from servers import other_sdks

from router_plugins.emulator import Emulator

pytestmark = [pytest.mark.anyio, pytest.mark.sdks, pytest.mark.timeout(other_sdks.FETCH + 120)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(("language", "operations"), [("java", 55), ("go", 40), ("node", 25)])
async def test_every_operation_of_another_sdk_is_carried_out(language: str, operations: int) -> None:
    if reason := other_sdks.missing(language):
        pytest.skip(reason)
    async with Emulator().serve() as service:
        command = await anyio.to_thread.run_sync(other_sdks.command, language, service.url)
        with anyio.fail_after(60):
            ended = await anyio.run_process(command, check=False)
    lines = ended.stdout.decode().splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == operations, ended.stderr.decode()
