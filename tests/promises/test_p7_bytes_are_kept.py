"""P7. The journal stores exactly what arrived."""

from __future__ import annotations

import json
import os
from pathlib import Path

import aiohttp
import anyio
import pytest
from servers.daemon import Daemon, post, running, text
from servers.hook import hook

from router.journal import Segment
from router.journal.conformance import restore
from router.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.anyio

ALL = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


async def test_every_byte_that_was_pushed_is_in_the_journal(tmp_path: Path) -> None:
    """Also what is no UTF-8, has NULs or newlines, or cannot be decoded at all."""
    bodies = [
        text(1),
        text(2, err_msg="550 \u4f60\u597d&status=0\r\n"),
        text(3) + b"\xff\x00\xfe",
        b"\x00" * 100,
        os.urandom(50_000),
    ]
    with running(tmp_path, ALL) as daemon:
        async with aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(daemon.url, data=body) as response:
                    assert response.status == 204
        await anyio.to_thread.run_sync(daemon.stop)
    with SqliteJournal().inspect(tmp_path / "state", restore) as journal:
        segments: list[Segment] = list(journal.segments())
        assert [bytes(e.raw) for s in segments for e in s.events] == bodies


MASKED = """
  a:
    accounts: ["*"]
    subscriptions:
      hook:
        steps: [{type: mask, fields: [rcpt], key: 0123456789abcdef}]
        to: {type: webhook, url: "URL"}
        delivery: {tries: 1, schedule: [100ms], retry_min: 10ms}
"""


async def told(daemon: Daemon, command: str, *more: str) -> str:
    arguments = (*command.split(), str(daemon.config), "a/hook", *more)
    done = await anyio.to_thread.run_sync(lambda: daemon.cli(*arguments))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def until(daemon: Daemon, **wanted: int) -> None:
    with anyio.fail_after(20):
        while True:
            status = (await anyio.to_thread.run_sync(daemon.status))["subscriptions"]["a/hook"]
            if all(status[key] == value for key, value in wanted.items()):
                return
            await anyio.sleep(0.02)


@pytest.mark.parametrize("status", [500, 400])
async def test_what_failed_keeps_its_bytes_and_its_steps_are_applied_anew_at_each_try(
    tmp_path: Path, status: int
) -> None:
    """Parked (500) or given up on and replayed (400): it goes out decoded, and as masked as at first."""
    async with hook() as destination:
        destination.status = status
        with running(tmp_path, MASKED.replace("URL", destination.url)) as daemon:
            await post(daemon.url, range(1), {})
            await until(daemon, pending=0)
            destination.status = 204
            if status == 400:
                (letter,) = (await told(daemon, "dead list", "--json")).splitlines()
                assert json.loads(letter)["event"]["rcpt"] == "r0@example.net"
                await told(daemon, "dead replay")
            await until(daemon, delivered=1, parked=0, dead=0)
            assert daemon.verify()["ok"]
    first, *others = destination.sent
    assert others
    assert (first["type"], len(first["rcpt"])) == ("Deliver:SendSuccessfully", 32)
    assert others == [first] * len(others)
