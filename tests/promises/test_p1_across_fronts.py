"""P1, where front processes answer: a push is answered 204 only after its bytes are on disk."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from servers.daemon import running
from servers.fronts import persist, wait_gone, wait_more, wait_ready, workers

pytestmark = pytest.mark.anyio

ONE_FILE = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


async def test_nothing_answered_is_lost_when_fronts_are_killed_again_and_again(tmp_path: Path) -> None:
    """Kill -9 of one front after the other under load; each is replaced, and all that got 204 is in the file, once."""
    stored: set[int] = set()
    with running(tmp_path, ONE_FILE, push="workers: 2") as daemon:
        before = await to_thread.run_sync(wait_ready, daemon)
        async with anyio.create_task_group() as tasks:
            scopes = [anyio.CancelScope() for _ in range(16)]
            numbers = iter(range(10**9))
            for scope in scopes:
                tasks.start_soon(persist, daemon.url, numbers, stored, scope)
            for round_ in range(3):
                await anyio.sleep(0.4)
                answered = len(stored)
                os.kill(workers(daemon)[round_ % 2]["pid"], signal.SIGKILL)
                await to_thread.run_sync(wait_more, stored, answered + 50)
                pids = await to_thread.run_sync(wait_ready, daemon)
            for scope in scopes:
                scope.cancel()
        after = daemon.status()["sources"]["push"]
        await to_thread.run_sync(daemon.wait_settled)
        assert daemon.verify()["ok"]
        arrived = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
    assert not stored - set(arrived)
    assert len(arrived) == len(set(arrived))
    assert len(stored) > 200, "the load was too small to show anything"
    assert not set(before) & set(pids)
    assert after["counts"]["front_died"] == 3
    assert sum(one["deaths"] for one in after["workers"]) == 3
    assert "killed by SIGKILL" in after["last_error"]


async def test_fronts_end_at_once_when_the_daemon_is_killed_and_it_can_start_again(tmp_path: Path) -> None:
    stored: set[int] = set()
    with running(tmp_path, ONE_FILE, push="workers: 2") as daemon:
        for _ in range(2):
            pids = await to_thread.run_sync(wait_ready, daemon)
            async with anyio.create_task_group() as tasks:
                scope = anyio.CancelScope()
                first = 10**6 * len(stored)
                tasks.start_soon(persist, daemon.url, iter(range(first, 10**9)), stored, scope)
                await anyio.sleep(0.5)
                assert stored
                await to_thread.run_sync(daemon.kill)
                await to_thread.run_sync(wait_gone, pids)
                scope.cancel()
            await to_thread.run_sync(daemon.start)
        await to_thread.run_sync(daemon.wait_settled)
        arrived = {int(line["env_id"]) for line in daemon.lines("all.jsonl")}
    assert not stored - arrived
