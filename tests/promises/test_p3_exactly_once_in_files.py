"""P3. Files get an event exactly once across a crash of the router."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from servers.daemon import post, running

pytestmark = pytest.mark.anyio

BY_DAY_AND_STATUS = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/{time:%Y-%m-%d}/{status}.jsonl"}}
"""
KILLS = 10
STATUSES = (0, 1, 2, 4)


async def test_each_answered_result_is_in_the_files_once_after_ten_kills_under_load(tmp_path: Path) -> None:
    """Kill -9 at random moments; no line is torn (each is parsed), none is missing or twice, and the books balance."""
    answered: dict[int, int] = {}
    with running(tmp_path, BY_DAY_AND_STATUS) as daemon:
        for kill in range(KILLS):
            async with anyio.create_task_group() as tasks:
                for status in STATUSES:
                    first = (kill * 10 + status) * 10_000
                    load = range(first, first + 10_000)
                    tasks.start_soon(lambda s, n: post(daemon.url, n, answered, connections=4, status=s), status, load)
                await anyio.sleep(random.uniform(0.05, 0.6))
                await anyio.to_thread.run_sync(daemon.kill)
            await anyio.to_thread.run_sync(daemon.start)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        assert daemon.verify()["ok"]
        written = Counter(line["id"] for line in daemon.lines("*/*.jsonl"))
        arrived = {int(line["env_id"]) for line in daemon.lines("*/*.jsonl")}
        files = list(daemon.out.glob("*/*.jsonl"))
    assert [id_ for id_, times in written.items() if times > 1] == []
    assert {number for number, status in answered.items() if status == 204} <= arrived
    assert len(files) == len(STATUSES)
    assert len(arrived) > 500, "the load was too small to show anything"


async def test_a_file_whose_length_is_no_longer_kept_has_each_result_once_after_a_kill(tmp_path: Path) -> None:
    """Kill -9 just after lines come again for a file that was left alone for so long that its length was deleted."""
    answered: dict[int, int] = {}
    with running(tmp_path, BY_DAY_AND_STATUS, top="journal: {type: sqlite, retention: 0s}") as daemon:
        for kill in range(3):
            first = kill * 10_000
            await post(daemon.url, range(first, first + 200), answered, status=0)
            await anyio.to_thread.run_sync(daemon.wait_settled)
            deadline, number = time.monotonic() + 60, first + 1000
            while kept(tmp_path) != ["1.jsonl"]:
                assert time.monotonic() < deadline, kept(tmp_path)
                await post(daemon.url, range(number, number + 5), answered, status=1)
                number += 5
                await anyio.sleep(0.1)
            async with anyio.create_task_group() as tasks:
                load = range(first + 5000, first + 9000)
                tasks.start_soon(lambda numbers: post(daemon.url, numbers, answered, connections=4, status=0), load)
                await anyio.sleep(random.uniform(0.02, 0.15))
                await anyio.to_thread.run_sync(daemon.kill)
            await anyio.to_thread.run_sync(daemon.start)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        written = Counter(line["id"] for line in daemon.lines("*/*.jsonl"))
        arrived = {int(line["env_id"]) for line in daemon.lines("*/*.jsonl")}
    assert [id_ for id_, times in written.items() if times > 1] == []
    assert {number for number, status in answered.items() if status == 204} <= arrived


async def test_files_that_are_moved_away_at_random_moments_have_each_result_once_after_kills(tmp_path: Path) -> None:
    """As logrotate does, with `create` or without: under load, while the router is killed, and while it is down.

    No id stands twice, neither in one file nor in two.
    """
    answered: dict[int, int] = {}
    rotations = 0

    async def rotate() -> None:
        nonlocal rotations
        while True:
            await anyio.sleep(random.uniform(0.01, 0.15))
            for path in daemon.out.glob("*/*.jsonl"):
                rotations += 1
                path.rename(path.with_name(f"{path.name}.{rotations}"))
                if rotations % 2:
                    path.touch()

    with running(tmp_path, BY_DAY_AND_STATUS) as daemon:
        async with anyio.create_task_group() as rotating:
            rotating.start_soon(rotate)
            for kill in range(5):
                async with anyio.create_task_group() as tasks:
                    for status in (0, 1):
                        first = (kill * 10 + status) * 10_000
                        load = range(first, first + 10_000)
                        tasks.start_soon(
                            lambda s, n: post(daemon.url, n, answered, connections=4, status=s), status, load
                        )
                    await anyio.sleep(random.uniform(0.05, 0.8))
                    await anyio.to_thread.run_sync(daemon.kill)
                await anyio.to_thread.run_sync(daemon.start)
            await anyio.to_thread.run_sync(daemon.wait_settled)
            rotating.cancel_scope.cancel()
        assert daemon.verify()["ok"]
        written = Counter(line["id"] for line in daemon.lines("*/*.jsonl*"))
        arrived = {int(line["env_id"]) for line in daemon.lines("*/*.jsonl*")}
    assert [id_ for id_, times in written.items() if times > 1] == []
    assert {number for number, status in answered.items() if status == 204} <= arrived
    assert rotations > 20
    assert len(arrived) > 500, "the load was too small to show anything"


def kept(folder: Path) -> list[str]:
    """Return the names of the files whose lengths the journal keeps."""
    with closing(sqlite3.connect(folder / "state" / "journal.db", timeout=10)) as sql:
        return [Path(key).name for (key,) in sql.execute("SELECT key FROM marks")]
