"""`/ready` is 204 only while messages can arrive; a reload that cannot have what it needs changes nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import web
from servers.daemon import Daemon, free_port, post, running
from servers.hook import answering
from servers.mns_queue_service import error, queue_service

pytestmark = pytest.mark.anyio

ALL = '  a:\n    accounts: ["*"]\n    subscriptions:\n      all: {to: {type: file, path: "{out}/all.jsonl"}}\n'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ready_now(daemon: Daemon) -> int:
    try:
        return int(urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin}/ready", timeout=10).status)
    except urllib.error.HTTPError as refused:
        return refused.code


async def ready(daemon: Daemon) -> int:
    return await anyio.to_thread.run_sync(ready_now, daemon)


async def until_ready(daemon: Daemon, wanted: int) -> None:
    with anyio.fail_after(30):
        while await ready(daemon) != wanted:
            await anyio.sleep(0.02)


async def reloaded(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    return await anyio.to_thread.run_sync(lambda: daemon.cli("reload", str(daemon.config)))


async def test_it_is_not_ready_while_it_stops(tmp_path: Path) -> None:
    begun, go = anyio.Event(), anyio.Event()

    async def take(_: web.Request) -> web.Response:
        begun.set()
        await go.wait()
        return web.Response(status=204)

    async with answering(take) as url:
        slow = f'      slow: {{to: {{type: webhook, url: "{url}"}}}}\n'
        with running(tmp_path, ALL + slow) as daemon:
            assert daemon.process
            await until_ready(daemon, 204)
            await post(daemon.url, [1], {})
            await begun.wait()
            daemon.process.send_signal(signal.SIGTERM)
            await until_ready(daemon, 503)
            assert daemon.status()["stopping"]
            go.set()
            assert await anyio.to_thread.run_sync(daemon.process.wait, 30) == 0


@pytest.mark.parametrize("workers", [0, 2])
async def test_a_queue_that_does_not_exist_is_not_ready_and_says_why_until_it_does(
    tmp_path: Path, workers: int
) -> None:
    async with queue_service() as service:
        service.faults = [lambda _: error(404, "QueueNotExist")] * 1000
        queue = (
            f"  queue: {{type: mns_queue, endpoint: '{service.endpoint}', queue: q, access_key_id: testAccessKeyId,"
            f" access_key_secret: testAccessKeySecret, slow_retry: 200ms, workers: {workers}}}\n"
        )
        daemon = Daemon(tmp_path, ALL)
        text = daemon.config.read_text()
        daemon.config.write_text(text.replace("departments:", f"{queue}departments:"))
        await anyio.to_thread.run_sync(daemon.start)
        try:
            await until_ready(daemon, 503)
            with anyio.fail_after(30):
                while (source := (await status(daemon))["sources"]["queue"])["ready"] or not source["last_error"]:
                    await anyio.sleep(0.02)  # one front is refused before the other
            assert "QueueNotExist" in source["last_error"]
            service.faults = []
            await until_ready(daemon, 204)
            with anyio.fail_after(30):
                while (await status(daemon))["sources"]["queue"]["last_error"]:
                    await anyio.sleep(0.02)  # the other one has yet to find out
        finally:
            daemon.kill()


async def status(daemon: Daemon) -> Any:
    return await anyio.to_thread.run_sync(daemon.status)


@pytest.mark.parametrize("push", ["", "workers: 2"])
async def test_a_reload_to_a_port_that_is_taken_fails_and_the_old_one_serves(tmp_path: Path, push: str) -> None:
    with running(tmp_path, ALL, push=push) as daemon, socket.create_server(("127.0.0.1", 0)) as taken:
        good = daemon.config.read_text()
        port = taken.getsockname()[1]
        more = '      new: {to: {type: file, path: "new.jsonl"}}\n'
        daemon.config.write_text(good.replace(f"127.0.0.1:{daemon.push}", f"127.0.0.1:{port}") + more)
        done = await reloaded(daemon)
        assert done.returncode == 1
        assert f"cannot listen at 127.0.0.1:{port}" in done.stderr
        answered: dict[int, int] = {}
        await post(daemon.url, range(5), answered)
        assert set(answered.values()) == {204}
        assert await ready(daemon) == 204
        now = await status(daemon)
        assert (list(now["subscriptions"]), now["orphans"]) == (["a/all"], {})
        other = free_port()
        daemon.config.write_text(good.replace(f"127.0.0.1:{daemon.push}", f"127.0.0.1:{other}"))
        assert (await reloaded(daemon)).returncode == 0
        daemon.push = other
        await post(daemon.url, range(5, 10), answered)
        assert len(answered) == 10


async def test_a_source_may_take_another_name_or_more_addresses_at_its_port(tmp_path: Path) -> None:
    """The sockets that the daemon has itself are in nobody's way."""
    with running(tmp_path, ALL) as daemon:
        good = daemon.config.read_text()
        for changed in (
            good.replace("  push: {", "  other: {"),
            good.replace(f"127.0.0.1:{daemon.push}", f"0.0.0.0:{daemon.push}"),
            good,
        ):
            daemon.config.write_text(changed)
            done = await reloaded(daemon)
            assert done.returncode == 0, done.stderr
            await until_ready(daemon, 204)
            answered: dict[int, int] = {}
            await post(daemon.url, [1], answered)
            assert answered == {1: 204}


async def test_files_of_tls_that_cannot_be_read_keep_a_reload_from_changing_anything(tmp_path: Path) -> None:
    with running(tmp_path, ALL) as daemon:
        good = daemon.config.read_text()
        tls = f"tls: {{certificate: {tmp_path}/none.pem, key: {tmp_path}/none.key}}"
        daemon.config.write_text(good.replace("verify: false,", f"verify: false, {tls},"))
        done = await reloaded(daemon)
        assert (done.returncode, "tls" in done.stderr) == (78, True)
        answered: dict[int, int] = {}
        await post(daemon.url, [1], answered)
        assert answered == {1: 204}
