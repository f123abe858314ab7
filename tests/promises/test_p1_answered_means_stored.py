"""P1. A push is answered 204, and a pulled message deleted, only after its bytes are on disk."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from servers.daemon import post, running

pytestmark = pytest.mark.anyio

ONE_FILE = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


async def test_nothing_answered_is_lost_when_the_router_is_killed_again_and_again(tmp_path: Path) -> None:
    """Kill -9 in the middle of the load, five times; every result that got 204 is in the file at the end."""
    answered: dict[int, int] = {}
    with running(tmp_path, ONE_FILE) as daemon:
        for round_ in range(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(post, daemon.url, range(round_ * 100_000, round_ * 100_000 + 5000), answered)
                await anyio.sleep(0.15 + 0.2 * round_)
                await anyio.to_thread.run_sync(daemon.kill)
            await anyio.to_thread.run_sync(daemon.start)
        await post(daemon.url, range(900_000, 900_100), answered)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        assert daemon.verify()["ok"]
        arrived = {int(line["env_id"]) for line in daemon.lines("all.jsonl")}
    stored = {number for number, status in answered.items() if status == 204}
    assert len(stored) > 500, "the load was too small to show anything"
    assert not stored - arrived


async def test_each_answer_has_a_commit_of_its_own_before_it_when_they_come_one_by_one(tmp_path: Path) -> None:
    """Nothing is answered from memory; that a commit is synced is a test of the journal."""
    answered: dict[int, int] = {}
    with running(tmp_path, ONE_FILE) as daemon:
        before = daemon.status()["journal"]["commits"]
        for number in range(20):
            await post(daemon.url, [number], answered, connections=1)
        commits = daemon.status()["journal"]["commits"] - before
    assert set(answered.values()) == {204}
    assert commits >= 20, "one after another, each result needs a commit of its own before its answer"


async def test_a_stop_is_clean_and_costs_no_event_and_no_copy(tmp_path: Path) -> None:
    """SIGTERM in the middle of deliveries: exit 0, the books balance; after the restart each result is there once."""
    answered: dict[int, int] = {}
    with running(tmp_path, ONE_FILE) as daemon:
        await post(daemon.url, range(2000), answered)
        assert await anyio.to_thread.run_sync(daemon.stop) == 0
        assert daemon.verify()["ok"]
        await anyio.to_thread.run_sync(daemon.start)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        assert sorted(int(line["env_id"]) for line in daemon.lines("all.jsonl")) == list(range(2000))
