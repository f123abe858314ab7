"""SIGTERM: what is in flight is delivered and committed within the grace; a second one ends the daemon at once."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from servers.daemon import Daemon, free_port, post, running
from servers.hook import answering

pytestmark = pytest.mark.anyio

HELD_UP = 20.0
"""Seconds in which a daemon with a grace of a second has ended, on any machine; calls would last longer (30 s)."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Slow:
    """A webhook that takes a while for each result."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun = 0
        self.took: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        event = await request.json()
        self.begun += 1
        await anyio.sleep(self.seconds)
        self.took.append(event["env_id"])
        return web.Response(status=204)


@asynccontextmanager
async def slow(seconds: float) -> AsyncGenerator[Slow]:
    made = Slow(seconds)
    async with answering(made.take, shutdown_timeout=0.1) as made.url:
        yield made


def departments(**urls: str) -> str:
    hooks = "".join(f'      {name}: {{to: {{type: webhook, url: "{url}"}}}}\n' for name, url in urls.items())
    everything = '      file: {to: {type: file, path: "{out}/all.jsonl"}}\n'
    return f'  a:\n    accounts: ["*"]\n    subscriptions:\n{everything}{hooks}'


async def stopped(daemon: Daemon, *, times: int = 1) -> tuple[int, float]:
    """Send so many SIGTERM; return the exit code, and the seconds that it took."""
    process = daemon.process
    assert process
    began = time.monotonic()
    for _ in range(times):
        process.send_signal(signal.SIGTERM)
        await anyio.sleep(0.3)
    code = await anyio.to_thread.run_sync(lambda: process.wait(60))
    return code, time.monotonic() - began


async def test_what_is_in_flight_to_a_slow_destination_is_delivered_and_committed_and_comes_once(
    tmp_path: Path,
) -> None:
    async with slow(1.0) as destination:
        with running(tmp_path, departments(hook=destination.url), top="grace: 20s") as daemon:
            await post(daemon.url, range(20), {})
            with anyio.fail_after(20):
                while not destination.begun:
                    await anyio.sleep(0.02)
            code, _ = await stopped(daemon)
            assert code == 0
            assert destination.took, "the daemon waited for the answers"
            assert daemon.verify()["ok"]
            await anyio.to_thread.run_sync(daemon.start)
            await anyio.to_thread.run_sync(daemon.wait_settled)
    assert sorted(destination.took, key=int) == [str(n) for n in range(20)], "nothing is lost, and nothing comes twice"


async def test_destinations_that_never_answer_refuse_or_are_parked_hold_up_no_stop(tmp_path: Path) -> None:
    """Not longer than the grace, also under load; all that was answered is there at the next start."""
    answered: dict[int, int] = {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = {"silent": f"http://127.0.0.1:{silent.getsockname()[1]}/", "refused": f"http://127.0.0.1:{free_port()}/"}
        with running(tmp_path, departments(**dead), top="grace: 1s") as daemon:
            await post(daemon.url, range(100), answered)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(post, daemon.url, range(1000, 60_000), answered)
                await anyio.sleep(1)
                code, seconds = await stopped(daemon)
            assert (code, seconds < HELD_UP) == (0, True), seconds
            assert daemon.verify()["ok"]
            stored = {n for n, status in answered.items() if status == 204}
            assert 100 < len(stored) < 59_000, "it was stopped under load"
            await anyio.to_thread.run_sync(daemon.start)
            await anyio.to_thread.run_sync(daemon.wait_settled, "a/file")
            lines = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
    assert len(lines) == len(set(lines))
    assert stored <= set(lines)


async def test_a_second_sigterm_does_not_wait_for_the_grace_and_loses_nothing(tmp_path: Path) -> None:
    async with slow(600.0) as destination:
        with running(tmp_path, departments(hook=destination.url), top="grace: 10m") as daemon:
            await post(daemon.url, range(10), {})
            with anyio.fail_after(20):
                while not destination.begun:
                    await anyio.sleep(0.02)
            _, seconds = await stopped(daemon, times=2)
            assert seconds < HELD_UP
            assert daemon.verify()["ok"]
            destination.seconds = 0.0
            await anyio.to_thread.run_sync(daemon.start)
            await anyio.to_thread.run_sync(daemon.wait_settled)
    assert sorted(destination.took, key=int) == [str(n) for n in range(10)]
