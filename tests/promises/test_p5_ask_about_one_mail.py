"""P5. You can ask what happened to one mail: its way through every subscription."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from servers.daemon import Daemon, post, running, text
from servers.hook import answering, hook

pytestmark = pytest.mark.anyio

DEPARTMENTS = """
  a:
    accounts: ["*@shop.example.com"]
    subscriptions:
      all: {{to: {{type: file, path: "{{out}}/all.jsonl"}}}}
      failed:
        match: {{type: Deliver:SendFailed, region: cn-beijing}}
        to: {{type: file, path: "{{out}}/failed.jsonl"}}
      refused: {{to: {{type: webhook, url: "{url}/refuse"}}}}
      later:
        to: {{type: webhook, url: "{url}/later"}}
        delivery: {{tries: 1, schedule: [1h], breaker: {{failures: 1000, window: 2000}}}}
      down: {{to: {{type: webhook, url: "{url}/down"}}}}
  b:
    accounts: ["*@other.example"]
    subscriptions:
      all: {{to: {{type: file, path: "{{out}}/b.jsonl"}}}}
"""


async def explained(daemon: Daemon, key: str) -> list[dict[str, Any]]:
    done = await anyio.to_thread.run_sync(daemon.cli, "explain", str(daemon.config), key, "--json")
    assert not done.stderr, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["found"]
    assert done.returncode == (0 if found else 1)
    return found


def fates(found: dict[str, Any]) -> dict[str, str]:
    return {way["subscription"]: way["fate"] for way in found["ways"]}


async def answer(request: web.Request) -> web.Response:
    if request.path == "/down":
        await anyio.sleep(60)
    return web.Response(status=400 if request.path == "/refuse" else 503)


async def test_each_subscription_says_where_a_mail_is_and_why(tmp_path: Path) -> None:
    """Asked by any key, of the daemon, and of the journal when it is down."""
    async with answering(answer, handler_cancellation=True, shutdown_timeout=0.1) as url:
        with running(tmp_path, DEPARTMENTS.format(url=url)) as daemon:
            await post(daemon.url, range(100, 103), {})
            with anyio.fail_after(20):
                while True:
                    now = (await anyio.to_thread.run_sync(daemon.status))["subscriptions"]
                    if (now["a/refused"]["dead"], now["a/later"]["parked"], now["a/all"]["delivered"]) == (3, 3, 3):
                        break
                    await anyio.sleep(0.05)
            (found,) = await explained(daemon, "r101@example.net")
            running_fates = fates(found)
            ways = {way["subscription"]: way for way in found["ways"]}
            same = [await explained(daemon, key) for key in ("101", "<m101>", found["event"]["id"])]
            missing = await explained(daemon, "nobody@example.net")
            await anyio.to_thread.run_sync(daemon.kill)
            (after,) = await explained(daemon, "r101@example.net")
    assert running_fates == {
        "a/all": "delivered", "a/failed": "filtered", "a/refused": "dead", "a/later": "parked", "a/down": "under way",
        "b/all": "invisible",
    }  # fmt: skip
    assert found["source"] == "push"
    assert found["event"]["rcpt"] == "r101@example.net"
    assert "`type` is `Deliver:SendSuccessfully`, not `Deliver:SendFailed`" in ways["a/failed"]["text"]
    assert "`region` is `cn-hangzhou`, not `cn-beijing`" in ways["a/failed"]["text"]
    assert "news@shop.example.com" in ways["b/all"]["text"]
    assert ways["a/refused"]["text"].startswith("refused after 1 tries")
    assert (ways["a/refused"]["status"], ways["a/refused"]["attempts"]) == (400, 1)
    assert ways["a/later"]["due"] > ways["a/later"]["last_try"]
    assert ways["a/down"]["ahead"] == found["position"] - 1
    assert [[one["position"] for one in found] for found in same] == [[found["position"]]] * 3
    assert missing == []
    assert fates(after) == {**running_fates, "a/down": "pending"}


async def test_it_is_told_when_a_mail_was_delivered_and_after_how_many_tries(tmp_path: Path) -> None:
    """Also after kill -9: within a second or so for the first try, exactly and with what was wrong for a later one."""
    calls: list[str] = []

    async def second_time(request: web.Request) -> web.Response:
        calls.append((await request.json())["env_id"])
        return web.Response(status=503 if calls.count(calls[-1]) == 1 else 200)

    departments = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {{to: {{type: file, path: "{{out}}/all.jsonl"}}}}
      flaky: {{to: {{type: webhook, url: "{url}/flaky"}}, delivery: {{batch: 1, retry_min: 10ms}}}}
"""
    started = time.time()
    async with answering(second_time) as url:
        with running(tmp_path, departments.format(url=url)) as daemon:
            await post(daemon.url, range(100, 103), {})
            await anyio.to_thread.run_sync(daemon.wait_settled)
            ended = time.time()
            (before,) = await explained(daemon, "r101@example.net")
            await anyio.to_thread.run_sync(daemon.kill)
            (after,) = await explained(daemon, "r101@example.net")
    file, flaky = before["ways"]
    assert started <= file["earliest"] <= ended
    assert file["earliest"] <= file["latest"] <= file["earliest"] + 5
    assert file["attempts"] == 1
    assert file["text"].startswith("delivered between ")
    assert file["text"].endswith(", at the first try")
    assert (flaky["attempts"], flaky["earliest"]) == (2, flaky["latest"])
    assert started <= flaky["latest"] <= ended
    assert "after 2 tries; before that: " in flaky["text"]
    assert "503" in flaky["text"]
    assert after["ways"] == before["ways"]


async def test_a_mail_is_found_inside_of_base64(tmp_path: Path) -> None:
    """As a queue may hold it; the event id finds it in every form."""
    departments = 'a: {accounts: ["*"], subscriptions: {all: {to: {type: file, path: "{out}/all.jsonl"}}}}'
    with running(tmp_path, f"  {departments}") as daemon:
        async with aiohttp.ClientSession() as session:
            for number in range(201, 204):
                async with session.post(daemon.url, data=b64encode(text(number))) as response:
                    assert response.status == 204
        await anyio.to_thread.run_sync(daemon.wait_settled)
        (found,) = await explained(daemon, "r202@example.net")
        assert (found["event"]["env_id"], fates(found)) == ("202", {"a/all": "delivered"})


async def test_nothing_found_says_what_was_searched(tmp_path: Path) -> None:
    departments = 'a: {accounts: ["*"], subscriptions: {all: {to: {type: file, path: "{out}/all.jsonl"}}}}'
    with running(tmp_path, f"  {departments}") as daemon:
        await post(daemon.url, range(5), {})
        done = daemon.cli("explain", str(daemon.config), "nobody@example.net")
        assert done.returncode == 1
        assert "positions 1 to 5" in done.stdout
        done = daemon.cli("explain", str(daemon.config), " ")
        assert done.returncode == 1
        assert "an empty key" in done.stderr


async def test_a_mail_is_found_by_the_id_that_a_masked_subscription_sees(tmp_path: Path) -> None:
    """The webhook and the file have one id of their own for it, again when it is replayed; the journal has another."""
    mask = "{type: mask, fields: [rcpt, env_id], key: 0123456789abcdef}"
    async with hook() as destination:
        departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook: {{steps: [{mask}], to: {{type: webhook, url: "{destination.url}"}}}}
      file: {{steps: [{mask}], to: {{type: file, path: "{{out}}/masked.jsonl"}}}}
      clear: {{to: {{type: file, path: "{{out}}/clear.jsonl"}}}}
"""
        with running(tmp_path, departments.replace("{out}", str(tmp_path))) as daemon:
            await post(daemon.url, range(3), {})
            await anyio.to_thread.run_sync(daemon.wait_settled)
            seen = destination.ids[0]
            (event,) = await explained(daemon, seen.upper())
            lines = [json.loads(line) for line in (tmp_path / "masked.jsonl").read_text().splitlines()]
            assert f"its id there is {seen}" in event["ways"][0]["text"]
            assert destination.ids == [event["id"] for event in destination.sent]
            assert sorted(destination.ids) == sorted(line["id"] for line in lines)
            assert event["event"]["id"] not in json.dumps([lines, destination.sent])
            assert event["event"]["id"] in (tmp_path / "clear.jsonl").read_text()
            replay = daemon.cli("replay", str(daemon.config), "a/hook", "--since", "1h")
            assert replay.returncode == 0, replay.stderr
            with anyio.fail_after(20):
                while len(destination.ids) < 6:
                    await anyio.sleep(0.02)
            assert sorted(destination.ids[3:]) == sorted(destination.ids[:3])
            assert not await explained(daemon, "0" * 32)
            assert daemon.verify()["ok"]
