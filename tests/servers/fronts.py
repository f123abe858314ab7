"""What tests of daemons with front processes need: who runs, and a client that persists when its front is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anyio

from servers.daemon import Daemon, text


def workers(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.status()["sources"]["push"]["workers"]
    return found


def wait(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def wait_ready(daemon: Daemon) -> list[int]:
    """Wait until all fronts are ready; return their pids."""
    wait(lambda: all(one["ready"] for one in workers(daemon)), "fronts are not ready")
    return [one["pid"] for one in workers(daemon)]


def wait_more(stored: Collection[int], count: int) -> None:
    wait(lambda: len(stored) > count, "nothing more is stored")


def wait_gone(pids: list[int]) -> None:
    wait(lambda: not any(map(runs, pids)), "a front outlives the daemon", 2)


def runs(pid: int) -> bool:
    """Say whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def persist(url: str, numbers: Iterator[int], stored: set[int], scope: anyio.CancelScope) -> None:
    """Post results one after the other for as long as it takes, over a new connection when one is lost."""
    with scope:
        async with aiohttp.ClientSession() as session:
            for number in numbers:
                try:
                    async with session.post(url, data=text(number)) as response:
                        if response.status == 204:
                            stored.add(number)
                except (aiohttp.ClientError, OSError):
                    await anyio.sleep(0.01)
