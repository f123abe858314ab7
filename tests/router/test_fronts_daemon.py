"""The daemon with front processes: signals, kills, reloads, limits; what one process does, several do."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import aiohttp
import anyio
import pytest
import trustme
from anyio import to_thread
from servers.daemon import Daemon, post, running, text
from servers.fronts import persist, runs, wait, wait_more, wait_ready, workers

from router.config import BadConfig
from router.config.loading import loads
from router_plugins.mns.push import MnsPush
from router_plugins.mns.queue import MnsQueue

pytestmark = pytest.mark.anyio

ONE_FILE = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""

PING = '''
from collections.abc import Callable, Sequence
from typing import ClassVar

import anyio

from router import Count, Emit, Message, Secret, Source


class Ping(Source, frozen=True, kw_only=True):
    """Hands in what it is told to, once."""

    parallel: ClassVar[bool] = PARALLEL

    body: str
    secret: Secret

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        ready()
        if self.secret == "swordfish-of-the-front":
            await emit([Message(self.body.encode(), 1.0)])
        await anyio.sleep_forever()
'''


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_is_clean_with_fronts_also_where_all_processes_get_the_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As a supervisor's SIGTERM to all processes, and a terminal's SIGINT: exit 0, each answered result there once."""
    answered: dict[int, int] = {}
    with running(tmp_path, ONE_FILE, push="workers: 2") as daemon:
        pids = await to_thread.run_sync(wait_ready, daemon)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post, daemon.url, range(100_000), answered)
            await anyio.sleep(0.5)
            assert daemon.process
            for pid in (daemon.process.pid, *pids):
                os.kill(pid, number)
            assert await to_thread.run_sync(daemon.process.wait, 30) == 0
        assert not any(map(runs, pids))
        assert daemon.verify()["ok"]
        await to_thread.run_sync(daemon.start)
        await to_thread.run_sync(daemon.wait_settled)
        arrived = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
    stored = {number for number, status in answered.items() if status == 204}
    assert len(stored) > 50
    assert not stored - set(arrived)
    assert len(arrived) == len(set(arrived))
    assert "Traceback" not in (tmp_path / "router.log").read_text()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_reload_exchanges_fronts_without_refusing_a_connection(tmp_path: Path, *, tls: bool) -> None:
    """More fronts, another limit, fewer, none, some: whoever connects gets 204, and what did not change stays."""
    trust, more, secure = ssl.create_default_context(), "", ""
    if tls:
        trust, setting = own_certificate(tmp_path)
        more, secure = f", {setting}", "s"
    with running(tmp_path, ONE_FILE, push=f"workers: 2{more}") as daemon:
        url = daemon.url.replace("http:", f"http{secure}:")
        first = await to_thread.run_sync(wait_ready, daemon)
        stop = anyio.Event()
        lost: list[Exception] = []
        answered: list[int] = []

        async def knock() -> None:
            """Connect anew for each result."""
            number = 0
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, ssl=trust)) as session:
                while not stop.is_set():
                    number += 1
                    try:
                        async with session.post(url, data=text(number)) as response:
                            answered.append(response.status)
                    except aiohttp.ClientError as error:
                        lost.append(error)

        def reload(old: str, new: str) -> list[int]:
            daemon.config.write_text(daemon.config.read_text().replace(old, new))
            url = f"http://127.0.0.1:{daemon.admin}/reload"
            order = urllib.request.Request(url, data=b"{}", headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(order, timeout=30) as answer:
                assert answer.status == 200
            return wait_ready(daemon)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(knock)
            second = await to_thread.run_sync(reload, "workers: 2", "workers: 3, max_connections: 300")
            third = await to_thread.run_sync(reload, "workers: 3", "workers: 1")
            fourth = await to_thread.run_sync(reload, "grace: 20s", "grace: 21s")
            await to_thread.run_sync(wait_more, answered, len(answered) + 20)
            none = await to_thread.run_sync(reload, "workers: 1", "workers: 0")
            await to_thread.run_sync(wait_more, answered, len(answered) + 20)
            await to_thread.run_sync(reload, "max_connections: 300", "max_connections: 200")
            await to_thread.run_sync(wait_more, answered, len(answered) + 20)
            some = await to_thread.run_sync(reload, "workers: 0", "workers: 2")
            await to_thread.run_sync(wait_more, answered, len(answered) + 20)
            stop.set()
    assert (len(first), len(second), len(third), len(none), len(some)) == (2, 3, 1, 0, 2)
    assert not set(first) & set(second)
    assert third == fourth
    assert lost == []
    assert set(answered) == {204}


def own_certificate(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Return what a client trusts, and the setting of a server with a new certificate."""
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    certificate = authority.issue_cert("127.0.0.1")
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    return trust, f"tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}"


HASTY = ("-c", "from router.fronts import pulse; pulse.SILENCE = 3; from router.cli import main; main()")


async def test_a_front_that_is_stopped_without_dying_is_replaced_and_nothing_answered_is_lost(tmp_path: Path) -> None:
    """By SIGSTOP, as a process hangs; what waits to be accepted by it is answered by its successor."""
    stored: set[int] = set()
    scopes = [anyio.CancelScope() for _ in range(4)]
    daemon = Daemon(tmp_path, ONE_FILE, push="workers: 2")
    daemon.start(HASTY)
    try:
        first, other = await to_thread.run_sync(wait_ready, daemon)
        async with anyio.create_task_group() as tasks:
            numbers = iter(range(1_000_000))
            for scope in scopes:
                tasks.start_soon(persist, daemon.url, numbers, stored, scope)
            await to_thread.run_sync(wait_more, stored, 20)
            os.kill(first, signal.SIGSTOP)
            await to_thread.run_sync(wait, lambda: workers(daemon)[0]["pid"] not in {0, first}, "it is not replaced")
            assert not runs(first)
            assert (await to_thread.run_sync(wait_ready, daemon))[1] == other
            await to_thread.run_sync(wait_more, stored, len(stored) + 20)
            for scope in scopes:
                scope.cancel()
        assert daemon.status()["sources"]["push"]["counts"]["front_died"] == 1
        await to_thread.run_sync(daemon.wait_settled)
        assert daemon.stop() == 0
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.kill()
    assert stored <= {int(line["env_id"]) for line in daemon.lines("all.jsonl")}
    assert "it hangs: it said nothing for 3 s" in (tmp_path / "router.log").read_text()


async def test_what_the_journal_cannot_take_is_told_to_the_clients_of_fronts(tmp_path: Path) -> None:
    with running(tmp_path, ONE_FILE, push="workers: 1", top="journal: {quota: 1}") as daemon:
        await to_thread.run_sync(wait_ready, daemon)
        async with aiohttp.ClientSession() as session, session.post(daemon.url, data=text(1)) as response:
            assert response.status == 503
            assert "quota" in await response.text()
            assert int(response.headers["Retry-After"]) == 5
        wait(lambda: daemon.status()["sources"]["push"]["counts"].get("unavailable") == 1, "it is not counted")


async def test_fronts_speak_tls_and_say_in_the_log_which_they_are(tmp_path: Path) -> None:
    trust, tls = own_certificate(tmp_path)
    with running(tmp_path, ONE_FILE, push=f"workers: 2, {tls}") as daemon:
        await to_thread.run_sync(wait_ready, daemon)
        async with aiohttp.ClientSession() as session:
            url = daemon.url.replace("http:", "https:")
            async with session.post(url, data=text(1), ssl=trust) as response:
                assert response.status == 204
        assert daemon.stop() == 0
    lines = (tmp_path / "router.log").read_text().splitlines()
    fronts = {
        found[1] for line in lines if "listening for pushes" in line and (found := re.search(r'"front":(\d)', line))
    }
    assert fronts == {"1", "2"}


def test_a_port_that_is_taken_ends_the_start_with_one_line(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, ONE_FILE, push="workers: 2")
    with socket.create_server(("127.0.0.1", daemon.push)):
        command = [sys.executable, "-m", "router", "run", str(daemon.config)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last == f"router: sources.push: cannot listen at 127.0.0.1:{daemon.push}: Address already in use"


def drop_in(folder: Path, *, parallel: bool) -> str:
    """Write the source `ping` and return a config with two processes of it."""
    (folder / "drops").mkdir()
    (folder / "drops" / "ping.py").write_text(PING.replace("PARALLEL", str(parallel)))
    source = f"{{type: ping, workers: 2, secret: swordfish-of-the-front, body: '{text(7).decode()}'}}"
    return (
        f"plugins: [{folder / 'drops'}]\nstate: {folder / 'state'}\nadmin: {{listen: 127.0.0.1:PORT}}\n"
        f"sources:\n  push: {source}\ndepartments:\n{ONE_FILE.replace('{out}', str(folder / 'out'))}\n"
    )


def test_workers_of_a_source_that_runs_in_one_process_only_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"sources.push.workers: a source of this type runs in one process only"):
        loads(drop_in(tmp_path, parallel=False).replace("PORT", "1"), "router.yaml", tmp_path, {})


def test_a_drop_in_runs_in_fronts_and_its_secrets_are_nowhere_to_be_seen(tmp_path: Path) -> None:
    """Not in the arguments, not in the environment; and what two fronts hand in alike is dropped as a duplicate."""
    daemon = Daemon(tmp_path, ONE_FILE)
    daemon.config.write_text(drop_in(tmp_path, parallel=True).replace("PORT", str(daemon.admin)))
    with (tmp_path / "router.log").open("ab") as log:
        command = [sys.executable, "-m", "router", "run", str(daemon.config)]
        process = daemon.process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait(lambda: _answers(daemon.admin), "the daemon does not start")
        pids = wait_ready(daemon)
        wait(lambda: daemon.status()["journal"]["duplicates"] == 1, "they do not hand in")
        daemon.wait_settled()
        for pid in pids:
            for file in ("cmdline", "environ"):
                assert b"swordfish" not in Path(f"/proc/{pid}/{file}").read_bytes()
        assert [line["env_id"] for line in daemon.lines("all.jsonl")] == ["7"]
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_limits_are_shared_out_among_fronts() -> None:
    push = MnsPush(listen="127.0.0.1:1", max_connections=1000, max_unanswered=10, workers=3)
    assert [getattr(push.divided(3), name) for name in ("max_connections", "max_unanswered")] == [334, 4]
    queue = MnsQueue(endpoint="http://127.0.0.1:1", queue="q", access_key_id="a", pollers=5)
    assert (queue.divided(2).pollers, queue.divided(8).pollers) == (3, 1)
