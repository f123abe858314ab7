"""P2. A dead, slow or misconfigured destination delays no other subscription and no source."""

from __future__ import annotations

import socket
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from servers.daemon import free_port, post, running
from servers.hook import answering

pytestmark = pytest.mark.anyio

DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      healthy: {to: {type: file, path: "{out}/healthy.jsonl"}}
      refused: {to: {type: webhook, url: "http://127.0.0.1:REFUSED/"}}
      silent: {to: {type: webhook, url: "http://127.0.0.1:SILENT/"}}
      unwritable: {to: {type: file, path: "/proc/nobody/can/write.jsonl"}}
      broker: {to: {type: kafka, servers: ["127.0.0.1:REFUSED"], topic: t}}
"""


async def test_dead_silent_and_unwritable_destinations_delay_nobody_else(tmp_path: Path) -> None:
    """Intake answers all, and the healthy subscription gets all, while four others get nothing."""
    answered: dict[int, int] = {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        departments = DEPARTMENTS.replace("REFUSED", str(free_port())).replace("SILENT", str(silent.getsockname()[1]))
        with running(tmp_path, departments) as daemon:
            await post(daemon.url, range(3000), answered)
            await anyio.to_thread.run_sync(daemon.wait_settled, "a/healthy")
            status = daemon.status()["subscriptions"]
            assert daemon.verify()["ok"]
            assert {int(line["env_id"]) for line in daemon.lines("healthy.jsonl")} == set(range(3000))
    assert set(answered.values()) == {204}
    for name in ("a/refused", "a/silent", "a/unwritable", "a/broker"):
        assert (status[name]["pending"], status[name]["delivered"], status[name]["dead"]) == (3000, 0, 0)
        assert status[name]["in_flight"] <= 1000


async def test_what_waited_for_a_dead_destination_is_delivered_when_it_is_back(tmp_path: Path) -> None:
    answered: dict[int, int] = {}
    got: list[bytes] = []
    port = free_port()
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook: {{to: {{type: webhook, url: "http://127.0.0.1:{port}/"}}, delivery: {{retry_min: 10ms, retry_max: 100ms}}}}
"""

    async def take(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response(status=204)

    with running(tmp_path, departments) as daemon:
        await post(daemon.url, range(300), answered)
        async with answering(take, port=port):
            await anyio.to_thread.run_sync(daemon.wait_settled)
    assert len(got) == len(set(got)) == 300
