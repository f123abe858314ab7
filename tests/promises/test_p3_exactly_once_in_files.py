"""P3. Files get an event exactly once across a crash of the router."""

from __future__ import annotations

import random
from collections import Counter
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
