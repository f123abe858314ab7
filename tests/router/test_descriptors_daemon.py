"""Descriptors of a daemon: nobody takes those that others need, however few there are."""

from __future__ import annotations

import resource
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from servers.daemon import Daemon, free_port, post
from servers.hook import answering

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
runpy.run_module("router", run_name="__main__", alter_sys=True)
"""


@contextmanager
def limited(folder: Path, departments: str, soft: int, hard: int, push: str = "") -> Iterator[Daemon]:
    """Run a daemon that is started with these limits."""
    daemon = Daemon(folder, departments, push=push)
    daemon.start(("-c", LIMITED.format(soft=soft, hard=hard)))
    try:
        yield daemon
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.kill()


@contextmanager
def idle_clients(port: int, count: int) -> Generator[Sequence[socket.socket]]:
    with ExitStack() as held:
        yield [held.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(count)]


def count(daemon: Daemon) -> int:
    """How many descriptors it has."""
    assert daemon.process
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def log(daemon: Daemon) -> str:
    return (daemon.folder / "router.log").read_text()


async def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    """In the fronts, too."""
    departments = '  a: {accounts: ["*"]}'
    with limited(tmp_path, departments, 256, 600, push="workers: 1") as daemon:
        with anyio.fail_after(20):  # 0 is nobody's: it has not been started yet
            while not (front := daemon.status()["sources"]["push"]["workers"][0]["pid"]):
                await anyio.sleep(0.05)
        assert daemon.process
        limits = [resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in (daemon.process.pid, front)]
    assert limits == [(600, 600)] * 2


async def test_idle_connections_take_no_descriptor_that_sinks_or_admin_need(tmp_path: Path) -> None:
    """As many as there are descriptors; the listener says how many it has room for."""
    port, got = free_port(), list[bytes]()
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      file: {{to: {{type: file, path: "{{out}}/{{rcpt}}.jsonl"}}}}
      hook: {{to: {{type: webhook, url: "http://127.0.0.1:{port}/"}}}}
"""
    answered: dict[int, int] = {}

    async def take(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response(status=204)

    with limited(tmp_path, departments, 256, 256) as daemon:
        with idle_clients(daemon.push, 20):  # a client that was there before the others
            async with answering(take, port=port):
                await post(daemon.url, range(20), answered, connections=1)
                with idle_clients(daemon.push, 255):
                    await anyio.to_thread.run_sync(daemon.wait_settled)
                    assert daemon.status()["ready"]
                    assert daemon.verify()["ok"]
                await post(daemon.url, range(20, 40), answered, connections=1)
                await anyio.to_thread.run_sync(daemon.wait_settled)
        assert "room for fewer connections than max_connections" in log(daemon)
        assert len(list(daemon.out.glob("*.jsonl"))) == len(got) == 40


async def test_many_files_of_many_subscriptions_are_all_written_with_few_descriptors(tmp_path: Path) -> None:
    """21 subscriptions of 64 paths each."""
    subscriptions = [f'      s{n}: {{to: {{type: file, path: "{{out}}/{n}-{{rcpt}}.jsonl"}}}}' for n in range(21)]
    departments = "\n".join(["  a:", "    accounts: ['*']", "    subscriptions:", *subscriptions])
    answered: dict[int, int] = {}
    with limited(tmp_path, departments, 200, 200) as daemon:
        for _ in range(2):
            await post(daemon.url, range(64), answered)
            await anyio.to_thread.run_sync(daemon.wait_settled)
        assert len(list(daemon.out.glob("*.jsonl"))) == 21 * 64


async def test_hundreds_of_idle_sinks_hold_no_descriptor_each(tmp_path: Path) -> None:
    one = """
      f{n}: {{to: {{type: file, path: "{{out}}/{n}.jsonl"}}}}
      w{n}: {{to: {{type: webhook, url: "http://127.0.0.1:1/"}}, match: {{region: none}}}}
      q{n}: {{to: {{type: mns_queue, endpoint: "http://127.0.0.1:1", queue: q, access_key_id: i,
              access_key_secret: s}}, match: {{region: none}}}}"""
    departments = '\n  a:\n    accounts: ["*"]\n    subscriptions:' + "".join(one.format(n=n) for n in range(100))
    answered: dict[int, int] = {}
    with limited(tmp_path, departments + "\n", 4096, 4096) as daemon:
        before = count(daemon)
        await post(daemon.url, [1], answered)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        with anyio.fail_after(60):
            while count(daemon) > before + 3:
                await anyio.sleep(0.2)
        assert before < 60
