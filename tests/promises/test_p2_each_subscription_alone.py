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


BLOCKER = """
import time
from anyio import to_thread
from router import Batch, Sink

class Blocker(Sink, frozen=True, kw_only=True):
    async def deliver(self, batch: Batch) -> None:
        await to_thread.run_sync(time.sleep, 600)
"""


async def test_sinks_that_block_a_thread_each_delay_nobody_else(tmp_path: Path) -> None:
    """Plugins of which more hang than a shared pool would have threads: a file goes on, and what asks the journal."""
    blocked = "".join(f"      s{number}: {{to: {{type: blocker}}}}\n" for number in range(45))
    departments = f"""
  bad:
    accounts: ["*"]
    subscriptions:
{blocked}  good:
    accounts: ["*"]
    subscriptions:
      file: {{to: {{type: file, path: "{{out}}/good.jsonl"}}}}
"""
    answered: dict[int, int] = {}
    with running(tmp_path, departments, top=f"plugins: [{drop_in(tmp_path, 'blocker', BLOCKER)}]") as daemon:
        await post(daemon.url, [0], answered)
        await post(daemon.url, range(1, 401), answered)
        await anyio.to_thread.run_sync(daemon.wait_settled, "good/file")
        assert {int(line["env_id"]) for line in daemon.lines("good.jsonl")} == set(range(401))
        assert daemon.verify()["ok"]


HANGING_FILES = """
import os, time
from router import Sink

real = os.open

def hang(path, *rest, **options):
    while "/hang" in str(path):
        time.sleep(600)
    return real(path, *rest, **options)

os.open = hang

class Hanging(Sink, frozen=True, kw_only=True):
    pass
"""


async def test_files_that_hang_delay_neither_others_nor_a_stop(tmp_path: Path) -> None:
    """As on a network disk that is away."""
    hanging = "".join(
        f'      s{number}: {{to: {{type: file, path: "{{out}}/hang{number}"}}}}\n' for number in range(45)
    )
    departments = f"""
  bad:
    accounts: ["*"]
    subscriptions:
      loads: {{to: {{type: hanging}}, match: {{region: none}}}}
{hanging}  good:
    accounts: ["*"]
    subscriptions:
      file: {{to: {{type: file, path: "{{out}}/good.jsonl"}}}}
"""
    answered: dict[int, int] = {}
    top = f"plugins: [{drop_in(tmp_path, 'hanging', HANGING_FILES)}]\ngrace: 1s"
    with running(tmp_path, departments, top=top) as daemon:
        await post(daemon.url, range(400), answered)
        await anyio.to_thread.run_sync(daemon.wait_settled, "good/file")
        assert {int(line["env_id"]) for line in daemon.lines("good.jsonl")} == set(range(400))
        assert await anyio.to_thread.run_sync(daemon.stop) == 0


DEAD_NAMES = """
import socket, time
from router import Sink

real = socket.getaddrinfo

def look_up(host, *rest, **options):
    while str(host).startswith("dead"):
        time.sleep(600)
    return real("127.0.0.1" if str(host).endswith(".example") else host, *rest, **options)

socket.getaddrinfo = look_up

class Names(Sink, frozen=True, kw_only=True):
    pass
"""


async def test_names_that_no_server_answers_for_delay_neither_others_nor_a_stop(tmp_path: Path) -> None:
    """Straight, through a proxy, of a queue and of a Kafka server."""
    port, got = free_port(), list[bytes]()
    departments = f"""
  bad:
    accounts: ["*"]
    subscriptions:
      loads: {{to: {{type: names}}, match: {{region: none}}}}
      a: {{to: {{type: webhook, url: "http://dead1.example/"}}}}
      b: {{to: {{type: webhook, url: "http://dead2.example/"}}}}
      c: {{to: {{type: webhook, url: "http://here.example/", proxy: "http://dead3.example:3128"}}}}
      d: {{to: {{type: mns_queue, endpoint: "http://dead4.example", queue: q, access_key_id: i, access_key_secret: s}}}}
      e: {{to: {{type: kafka, servers: ["dead5.example:9092"], topic: t}}}}
  good:
    accounts: ["*"]
    subscriptions:
      hook: {{to: {{type: webhook, url: "http://here.example:{port}/"}}}}
"""
    answered: dict[int, int] = {}

    async def take(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response(status=204, headers={"Connection": "close"})

    top = f"plugins: [{drop_in(tmp_path, 'names', DEAD_NAMES)}]\ngrace: 1s"
    with running(tmp_path, departments, top=top) as daemon:
        async with answering(take, port=port):
            await post(daemon.url, range(40), answered)
            await anyio.to_thread.run_sync(daemon.wait_settled, "good/hook")
            assert len(got) == 40
            assert await anyio.to_thread.run_sync(daemon.stop) == 0


def drop_in(folder: Path, name: str, program: str) -> Path:
    """Write a plugin that the daemon loads; return the folder that it is in."""
    drops = folder / "drops"
    drops.mkdir()
    (drops / f"{name}.py").write_text(program)
    return drops
