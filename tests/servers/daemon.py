"""The daemon as a process, for tests that kill it; and clients that post to it as the service does."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import anyio

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Which of the processes this is that run tests side by side."""
_ports = itertools.cycle(range(14_000 + WORKER % 8 * 2000, 16_000 + WORKER % 8 * 2000))


def free_port() -> int:
    """Return a port that is free, and that no other process of the tests returns; clients are given higher ones."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a cycle does not end")


def text(
    number: int, *, account: str = "news@shop.example.com", status: int = 0, err_msg: str = "250 Send Mail OK"
) -> bytes:
    """Return a result in the legacy text; its env_id is the number."""
    return (
        f"env_id={number}&msg_id=m{number}&account={account}&from={account}&rcpt=r{number}@example.net"
        f"&recv_time=2026-03-01 09:00:00&end_time=2026-03-01 09:00:01&status={status}&event=deliver&region=cn-hangzhou"
        f"&err_code=250&err_msg={err_msg}"
    ).encode()


class Daemon:
    """`router run` on a folder of its own; `departments` is YAML, {out} in it is the folder of its output.

    `push` are further options of its push source, as in `workers: 2`.
    """

    def __init__(self, folder: Path, departments: str, *, top: str = "", push: str = "") -> None:
        self.folder = folder
        self.out = folder / "out"
        self.push, self.admin = free_port(), free_port()
        self.config = folder / "router.yaml"
        self.config.write_text(
            f"state: {folder / 'state'}\nadmin: {{listen: 127.0.0.1:{self.admin}}}\n{top}\n"
            f"sources:\n  push: {{type: mns_push, listen: 127.0.0.1:{self.push}, path: /n, verify: false,"
            f" {push}}}\n"
            f"departments:\n{departments.replace('{out}', str(self.out))}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.push}/n"

    def start(self, command: Sequence[str] = ("-m", "router"), *, accept_loss: bool = False) -> None:
        options = ["--accept-loss"] if accept_loss else []
        with (self.folder / "router.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, "run", str(self.config), *options], stdout=log, stderr=log, env=os.environ
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError((self.folder / "router.log").read_text())
            try:
                for port in (self.push, self.admin):
                    socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the router does not listen")

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def status(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/status", timeout=10) as answer:
            return json.load(answer)

    def verify(self) -> Any:
        return json.loads(self.cli("verify", str(self.config), "--json").stdout)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "router", *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    def wait_settled(self, *names: str, seconds: float = 30) -> None:
        """Wait until nothing is pending for the subscriptions (all, if none is named)."""
        deadline = time.monotonic() + seconds
        while True:
            subscriptions = self.status()["subscriptions"]
            pending = {n: s["pending"] for n, s in subscriptions.items() if not names or n in names}
            if not any(pending.values()):
                return
            assert time.monotonic() < deadline, f"still pending: {pending}"
            time.sleep(0.05)

    def lines(self, pattern: str) -> list[dict[str, str]]:
        return [json.loads(line) for path in sorted(self.out.glob(pattern)) for line in path.read_bytes().splitlines()]


@contextmanager
def running(folder: Path, departments: str, *, top: str = "", push: str = "") -> Iterator[Daemon]:
    daemon = Daemon(folder, departments, top=top, push=push)
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.process and daemon.process.poll() is None:
            daemon.kill()


async def post(
    url: str, numbers: Iterable[int], answered: dict[int, int], *, connections: int = 16, status: int = 0
) -> None:
    """Post results one by one over several connections; note each answer by the result's number; end when refused."""
    todo = iter(list(numbers))

    async def client(session: aiohttp.ClientSession) -> None:
        for number in todo:
            try:
                async with session.post(url, data=text(number, status=status)) as response:
                    answered[number] = response.status
            except (aiohttp.ClientError, OSError):
                return

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session, anyio.create_task_group() as tasks:
        for _ in range(connections):
            tasks.start_soon(client, session)
