"""P2. A dead, slow or misconfigured destination delays no other subscription and no source."""

from __future__ import annotations

import json
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


async def test_a_subscription_whose_pending_events_are_bounded_fills_the_journal_for_nobody(tmp_path: Path) -> None:
    """Its oldest become dead letters that are counted and listed; nobody else notices, and intake goes on."""
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook:
        to: {{type: webhook, url: "http://127.0.0.1:{free_port()}/"}}
        delivery: {{pending: {{max_bytes: 150KiB}}}}
      file: {{to: {{type: file, path: "{{out}}/all.jsonl"}}}}
"""
    answered: dict[int, int] = {}
    with running(tmp_path, departments, top="journal: {quota: 30MiB, retention: 0s}") as daemon:
        for start in range(0, 3000, 1000):
            await post(daemon.url, range(start, start + 1000), answered)
            await anyio.sleep(1.5)
        await anyio.to_thread.run_sync(daemon.wait_settled, "a/file")
        status = (await anyio.to_thread.run_sync(daemon.status))["subscriptions"]["a/hook"]
        listed = await anyio.to_thread.run_sync(daemon.cli, "dead", "list", str(daemon.config), "a/hook", "--json")
        balance, _ = (await anyio.to_thread.run_sync(daemon.verify))["subscriptions"]
        size = (daemon.folder / "state" / "journal.db").stat().st_size
        lines = daemon.lines("all.jsonl")
    assert set(answered.values()) == {204}
    assert sorted(int(line["env_id"]) for line in lines) == list(range(3000))
    assert status["dead"] > 2000
    assert status["dead"] + status["pending"] == 3000
    assert balance["problem"] == ""
    assert size < 30 * 2**20
    letters = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {letter["kind"] for letter in letters} == {"expired"}
