"""P4. For each subscription, at any time: journalled = delivered + filtered + parked + dead + pending."""

from __future__ import annotations

import itertools
import json
import re
import resource
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from servers.daemon import free_port, post, running, text
from servers.hook import answering, hook

pytestmark = pytest.mark.anyio

DEPARTMENTS = """
  a:
    accounts: ["*@shop.example.com"]
    subscriptions:
      failed: {match: {type: Deliver:SendFailed}, to: {type: file, path: "{out}/failed.jsonl"}}
      all: {to: {type: file, path: "{out}/all.jsonl"}}
      dead: {to: {type: webhook, url: "http://127.0.0.1:DEAD/"}}
  b:
    accounts: ["*@other.example"]
    subscriptions:
      all: {to: {type: file, path: "{out}/b.jsonl"}}
"""


def adds_up(balance: dict[str, Any]) -> bool:
    parts = ("delivered", "filtered", "parked", "dead", "pending")
    return bool(balance["journalled"] == sum(balance[p] for p in parts))


async def test_the_balance_holds_while_running_and_after(tmp_path: Path) -> None:
    answered: dict[int, int] = {}
    with running(tmp_path, DEPARTMENTS.replace("DEAD", str(free_port()))) as daemon:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post, daemon.url, range(2000), answered)
            for _ in range(3):
                report = await anyio.to_thread.run_sync(daemon.verify)
                assert report["ok"], report
                assert all(adds_up(b) for b in report["subscriptions"])
        await post(daemon.url, range(5000, 5200), answered, status=4)
        await anyio.to_thread.run_sync(daemon.wait_settled, "a/failed", "a/all", "b/all")
        await anyio.to_thread.run_sync(daemon.stop)
        report = daemon.verify()
    rows = {b["name"]: b for b in report["subscriptions"]}
    assert report["ok"]
    assert all(adds_up(b) for b in rows.values())
    assert (rows["a/failed"]["delivered"], rows["a/failed"]["filtered"]) == (200, 2000)
    assert (rows["a/all"]["delivered"], rows["a/all"]["filtered"]) == (2200, 0)
    assert (rows["b/all"]["delivered"], rows["b/all"]["filtered"]) == (0, 2200)
    assert (rows["a/dead"]["delivered"], rows["a/dead"]["pending"]) == (0, 2200)


@pytest.mark.parametrize("cheat", ["delivered = delivered - 1, filtered = filtered + 1", "delivered = delivered + 1"])
async def test_verify_finds_cooked_books(tmp_path: Path, cheat: str) -> None:
    """Whether the sum still fits or not: the journal's own events say what should have been delivered."""
    answered: dict[int, int] = {}
    with running(tmp_path, DEPARTMENTS.replace("DEAD", str(free_port()))) as daemon:
        await post(daemon.url, range(50), answered)
        await anyio.to_thread.run_sync(daemon.wait_settled, "a/all")
        await anyio.to_thread.run_sync(daemon.stop)
        assert daemon.cli("verify", str(daemon.config)).returncode == 0
        with sqlite3.connect(tmp_path / "state" / "journal.db") as sql:
            sql.execute(f"UPDATE progress SET {cheat} WHERE name = 'a/all'")
        sql.close()
        assert daemon.cli("verify", str(daemon.config)).returncode == 1
        report = daemon.verify()
    assert [b["name"] for b in report["subscriptions"] if b["problem"]] == ["a/all"]


@pytest.mark.parametrize(
    ("cheat", "problem", "offenders"),
    [
        ("UPDATE dead SET position = 1000 WHERE position = 3", "1 parked events or dead letters", ["at 1000 is dead"]),
        ("UPDATE dead SET id = zeroblob(16) WHERE position = 3", "1 parked events or dead", ["not an event there"]),
        ("UPDATE progress SET dead = dead - 1, delivered = delivered + 1", "50 dead letters are kept, but", []),
        ("UPDATE progress SET parked = 1, dead = dead - 1", "0 events are parked, but it counts 1", []),
    ],
)
async def test_verify_names_what_is_kept_and_should_not_be(
    tmp_path: Path, cheat: str, problem: str, offenders: list[str]
) -> None:
    """A parked event or a dead letter is one that the subscription wants, below its mark, and counted."""
    departments = """
  a:
    accounts: ["*"]
    subscriptions:
      refused: {to: {type: webhook, url: "URL", statuses: {reject: [400]}}, delivery: {retry_min: 10ms}}
"""

    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, departments.replace("URL", destination.url)) as daemon:
            await post(daemon.url, range(50), {})
            await anyio.to_thread.run_sync(daemon.wait_settled)
            assert (await anyio.to_thread.run_sync(daemon.verify))["ok"]
            await anyio.to_thread.run_sync(daemon.stop)
    assert daemon.verify()["subscriptions"][0]["dead"] == 50
    with sqlite3.connect(tmp_path / "state" / "journal.db") as sql:
        sql.execute(cheat)
    sql.close()
    (balance,) = daemon.verify()["subscriptions"]
    assert problem in balance["problem"]
    assert len(balance["offenders"]) == len(offenders)
    assert all(part in line for part, line in zip(offenders, balance["offenders"], strict=True))


async def test_what_cannot_be_decoded_is_answered_kept_and_shown(tmp_path: Path) -> None:
    bodies = [b"", b"junk", b'{"specversion":"1.0"', b"<a", b"\xff\xfe"]
    with running(tmp_path, DEPARTMENTS.replace("DEAD", str(free_port())).replace("*@other.example", "*")) as daemon:
        async with aiohttp.ClientSession() as session:
            for body in [*bodies, text(1)]:
                async with session.post(daemon.url, data=body) as response:
                    assert response.status == 204
        await anyio.to_thread.run_sync(daemon.wait_settled, "b/all")
        status = daemon.status()
        lines = daemon.lines("b.jsonl")
    assert status["undecodable"] == len(bodies)
    assert [line["type"] for line in lines].count("Undecodable") == len(bodies)
    assert all(line["reason"] for line in lines if line["type"] == "Undecodable")


async def test_what_was_parked_and_is_left_out_by_steps_that_came_later_is_counted_as_filtered(tmp_path: Path) -> None:
    """A change of the steps starts a new count, into which what is parked is carried; `verify` finds no fault."""
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook:
        to: {{type: webhook, url: "http://127.0.0.1:{free_port()}/"}}
        delivery: {{tries: 1, retry_min: 1ms, schedule: [5s, 1h], breaker: {{failures: 1000, window: 1000}}}}
"""
    with running(tmp_path, departments) as daemon:
        async with aiohttp.ClientSession() as session, session.post(daemon.url, data=b"junk") as response:
            assert response.status == 204
        await anyio.to_thread.run_sync(daemon.wait_settled)
        assert daemon.status()["subscriptions"]["a/hook"]["parked"] == 1
        step = "        steps: [{type: mask, fields: [rcpt], key: 0123456789abcdef}]\n        to:"
        daemon.config.write_text(daemon.config.read_text().replace("        to:", step))
        assert daemon.cli("reload", str(daemon.config)).stdout == "changed: a/hook; 1 unchanged\n"
        with anyio.fail_after(20):
            while (status := daemon.status()["subscriptions"]["a/hook"])["parked"]:
                await anyio.sleep(0.05)
        report = daemon.verify()
    assert (status["journalled"], status["filtered"], status["dead"]) == (1, 1, 0)
    assert report["ok"], report


async def test_a_full_journal_refuses_with_503_and_intake_resumes_by_itself(tmp_path: Path) -> None:
    """The quota is reached because one destination is dead; when its events are settled, intake goes on."""
    port = free_port()
    answered: dict[int, int] = {}
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook: {{to: {{type: webhook, url: "http://127.0.0.1:{port}/"}}, delivery: {{retry_min: 10ms, retry_max: 100ms}}}}
"""
    got: set[str] = set()

    async def take(request: web.Request) -> web.Response:
        got.add((await request.json())["env_id"])
        return web.Response(status=204)

    with running(tmp_path, departments, top="journal: {type: sqlite, quota: 300KiB}") as daemon:
        await post(daemon.url, range(3000), answered)
        assert set(answered.values()) == {204, 503}
        assert not daemon.status()["ready"]
        async with answering(take, port=port):
            await anyio.to_thread.run_sync(daemon.wait_settled)
            with anyio.fail_after(20):
                while not (now := daemon.status())["ready"] or now["journal"]["bytes"] > 0.9 * now["journal"]["quota"]:
                    await anyio.sleep(0.1)  # as soon as there is room at all it is ready, and might be full again
            again: dict[int, int] = {}
            await post(daemon.url, range(10_000, 10_050), again)
            await anyio.to_thread.run_sync(daemon.wait_settled)
    assert set(again.values()) == {204}
    assert got == {str(n) for n, s in {**answered, **again}.items() if s == 204}


async def test_a_journal_that_fills_up_warns_in_time_and_a_refusal_says_whose_events_hold_the_space(
    tmp_path: Path,
) -> None:
    """At 70, 85 and 95 percent; what is settled and only kept does not count. Strangers are not told names."""
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      dead: {{to: {{type: webhook, url: "http://127.0.0.1:{free_port()}/"}}}}
      file: {{to: {{type: file, path: "{{out}}/all.jsonl"}}}}
"""

    def logged(event: str) -> list[dict[str, Any]]:
        lines = (tmp_path / "router.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == event]

    with running(tmp_path, departments, top="journal: {quota: 1MiB}") as daemon:
        numbers = itertools.count()

        async def fill(percent: int) -> None:
            while True:
                journal = (await anyio.to_thread.run_sync(daemon.status))["journal"]
                if 100 * journal["held"] >= percent * journal["quota"]:
                    return
                async with aiohttp.ClientSession() as session:
                    body = text(next(numbers), err_msg="x" * 20_000)
                    assert (await session.post(daemon.url, data=body)).status == 204

        for level in (70, 85, 95):
            await fill(level)
            with anyio.fail_after(10):
                while [line["percent"] for line in logged("the journal fills up")][-1:] != [level]:
                    await anyio.sleep(0.05)
        await fill(100)
        async with aiohttp.ClientSession() as session:
            async with session.post(daemon.url, data=text(9999)) as response:
                refused = (response.status, await response.text())
            async with session.get(f"http://127.0.0.1:{daemon.admin}/metrics") as response:
                metrics = await response.text()
        with anyio.fail_after(10):
            while not logged("push refused"):
                await anyio.sleep(0.05)
    warnings = logged("the journal fills up")
    assert [(line["percent"], line["level"]) for line in warnings] == [(70, "warning"), (85, "warning"), (95, "error")]
    assert all(line["by"].startswith("held by a/dead (") for line in warnings)
    assert "router_journal_held_percent 95.0" in metrics
    (said,) = logged("push refused")
    assert re.match(r"held by a/dead \((1.0|0.9) MiB since position 1\)", said["detail"])
    assert (refused[0], "a/dead" in refused[1]) == (503, False)


async def test_a_disk_that_cannot_be_written_refuses_with_503_and_intake_resumes_by_itself(tmp_path: Path) -> None:
    """A limit on the size of files, which the kernel holds, stands for the disk; what was answered 204 is all there."""
    answered: dict[int, int] = {}
    departments = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""
    with running(tmp_path, departments) as daemon:
        assert daemon.process
        await post(daemon.url, range(20), answered)
        unlimited = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
        wal = daemon.folder / "state" / "journal.db-wal"
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size + 20_000, unlimited[1]))
        await post(daemon.url, range(100, 1000), answered)
        async with aiohttp.ClientSession() as session:
            async with session.post(daemon.url, data=text(2000)) as response:
                refused = (response.status, int(response.headers["Retry-After"]))
            async with session.get(f"http://127.0.0.1:{daemon.admin}/ready") as response:
                ready = response.status
        status = await anyio.to_thread.run_sync(daemon.status)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)
        with anyio.fail_after(20):
            while not (await anyio.to_thread.run_sync(daemon.status))["ready"]:
                await anyio.sleep(0.1)
        await post(daemon.url, range(3000, 3010), answered)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        daemon.kill()
        daemon.start()
        await anyio.to_thread.run_sync(daemon.wait_settled)
        report = daemon.verify()
    assert (refused[0], ready) == (503, 503)
    assert refused[1] >= 1
    assert "I/O error" in status["journal"]["failing"]
    assert set(answered.values()) == {204, 503}
    assert {answered[n] for n in range(3000, 3010)} == {204}
    stored = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
    assert sorted(stored) == sorted(n for n, status in answered.items() if status == 204)
    assert report["ok"], report
