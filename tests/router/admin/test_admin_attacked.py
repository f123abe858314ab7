"""The admin API attacked: whatever comes to its port, the engine goes on, and the next question is answered."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web
from servers.daemon import Daemon, post, running
from servers.hook import answering

from router.admin.status import WITHHELD

pytestmark = pytest.mark.anyio

DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      file: {to: {type: file, path: "{out}/all.jsonl"}}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path, DEPARTMENTS) as started:
        yield started


async def assert_unharmed(daemon: Daemon) -> None:
    answered: dict[int, int] = {}
    await post(daemon.url, range(20), answered)
    assert set(answered.values()) == {204}
    await anyio.to_thread.run_sync(daemon.wait_settled)
    assert daemon.status()["subscriptions"]["a/file"]["delivered"] == 20


async def test_orders_that_are_none_are_refused(daemon: Daemon) -> None:
    base = f"http://127.0.0.1:{daemon.admin}"
    form = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=form) as session:
        for body in (b"{", b"[]", b'{"plan": 1}', b'{"no such": true}', b"\xff\xfe", b"[" * 100_000, b'{"drain": "x"}'):
            async with session.post(f"{base}/reload", data=body) as answer:
                assert answer.status == 400, body[:20]
        async with session.post(f"{base}/reload", data=io.BytesIO(b" " * 2**22)) as answer:
            assert answer.status == 413
        for path in (
            "/dead/a/file?after=-1",
            "/dead/a/file?limit=x",
            "/dead/a/none",
            "/explain?key=",
            "/../etc/passwd",
        ):
            async with session.get(base + path) as answer:
                assert 400 <= answer.status < 500, path
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"):
            async with session.post(f"{base}/pause/a/file", data=b"{}", headers={"Host": host}) as answer:
                assert answer.status in {400, 403}, host
    await assert_unharmed(daemon)


async def test_hundreds_of_silent_and_half_done_requests_hold_nothing_up(daemon: Daemon) -> None:
    order = b"POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n{"
    pieces = (b"", b"GET /sta", order, b"\x16\x03\x01" * 99)
    with ExitStack() as held:
        for number in range(300):
            client = held.enter_context(socket.create_connection(("127.0.0.1", daemon.admin), 5))
            client.sendall(pieces[number % len(pieces)])
        await assert_unharmed(daemon)
    assert await anyio.to_thread.run_sync(daemon.stop) == 0


async def test_a_client_that_does_not_read_its_answers_holds_nothing_up(daemon: Daemon) -> None:
    questions = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100_000
    with socket.create_connection(("127.0.0.1", daemon.admin), 5) as client:
        client.settimeout(1)
        with pytest.raises(TimeoutError):  # it is not read from for ever, either
            client.sendall(questions)
        await assert_unharmed(daemon)


async def test_what_a_stranger_may_read_says_nothing_of_mails(daemon: Daemon) -> None:
    await assert_unharmed(daemon)
    async with aiohttp.ClientSession() as session:
        for path in ("/health", "/ready", "/status", "/metrics"):
            async with session.get(
                f"http://127.0.0.1:{daemon.admin}{path}", headers={"Host": "evil.example"}
            ) as answer:
                assert "example.net" not in json.dumps(await answer.text())


ANSWER = "no such customer: someone@example.net"
TOKEN = {"Authorization": "Bearer 0123456789abcdef"}


async def refuse(_: web.Request) -> web.Response:
    return web.Response(status=503, text=ANSWER)


@pytest.mark.parametrize("token", [False, True])
async def test_what_a_destination_answered_is_told_to_the_operator_alone(tmp_path: Path, *, token: bool) -> None:
    """With the token where there is one; without one on a loopback address, to who names it so."""
    async with answering(refuse) as url:
        to = f"{{to: {{type: webhook, url: '{url}'}}}}"
        departments = f'  a: {{accounts: ["*"], subscriptions: {{hook: {to}}}}}\n'
        with guarded(tmp_path, departments, token=token) as daemon:
            await post(daemon.url, range(1), {})
            base = f"http://127.0.0.1:{daemon.admin}"
            operator, stranger = (TOKEN, {}) if token else ({}, {"Host": "evil.example"})
            async with aiohttp.ClientSession(base) as session:
                with anyio.fail_after(20):
                    while ANSWER not in json.dumps(await asked(session, "/status", operator)):
                        await anyio.sleep(0.05)
                hidden = await asked(session, "/status", stranger)
                assert hidden["subscriptions"]["a/hook"]["last_error"] == WITHHELD
                assert hidden["subscriptions"]["a/hook"]["last_error_at"]
                for headers in (stranger, {**stranger, "Authorization": "Bearer 0123456789abcdeg"}):
                    for path in ("/status", "/status?x=1", "/metrics", "/health", "/ready"):
                        async with session.get(path, headers=headers) as answer:
                            said = await answer.text() + str(answer.headers)
                            assert "customer" not in said
                            assert "@" not in said.replace("@type", "")
                    async with session.get("/dead/a/hook", headers=headers) as answer:
                        assert answer.status in {401, 403}


@contextmanager
def guarded(folder: Path, departments: str, *, token: bool) -> Generator[Daemon]:
    daemon = Daemon(folder, departments)
    if token:
        config = daemon.config.read_text()
        daemon.config.write_text(config.replace(f"{daemon.admin}}}", f"{daemon.admin}, token: 0123456789abcdef}}", 1))
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.kill()


async def asked(session: aiohttp.ClientSession, path: str, headers: dict[str, str]) -> Any:
    async with session.get(path, headers=headers) as answer:
        return await answer.json()
