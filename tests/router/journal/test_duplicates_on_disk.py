"""The duplicate window in the SQLite journal: what was sealed is stored, recalled, and told from the journal's ids."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

import anyio
import pytest

from router.event import Event
from router.journal import FIRST, Partition
from router.journal.batches import Batches
from router.journal.conformance import event, restore, settled
from router.journal.duplicates import SIZE
from router.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.anyio

COUNT = 3 * SIZE
"""Events of which most are sealed."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def events(numbers: Iterable[int]) -> list[Event]:
    return [event(str(number).encode()) for number in numbers]


async def fill(partition: Partition) -> None:
    for start in range(0, COUNT, 1024):
        await partition.append(events(range(start, start + 1024)))


async def wait_stored(state: Path) -> None:
    """Wait until all but the newest ids are stored."""
    with anyio.fail_after(20):
        while query(state, 'SELECT coalesce(max("end"), 0) FROM prints') <= COUNT - SIZE:
            await anyio.sleep(0.02)


def query(state: Path, statement: str, *values: object) -> int:
    sql = sqlite3.connect(state / "journal.db")
    with sql:
        row = sql.execute(statement, values).fetchone()
    sql.close()
    return row[0] if row else 0


async def repeated(partition: Partition) -> int:
    """Append some old and some new ones again; return how many were dropped."""
    before = partition.statistics().duplicates
    await partition.append(events([*range(0, COUNT, 97), *range(COUNT - 10, COUNT)]))
    return partition.statistics().duplicates - before


AGAIN = len(range(0, COUNT, 97)) + 10


async def test_what_was_sealed_is_still_dropped(tmp_path: Path) -> None:
    """P3: and something new that comes with it is journalled."""
    async with SqliteJournal().open(tmp_path, restore) as partition:
        await fill(partition)
        await wait_stored(tmp_path)
        assert await repeated(partition) == AGAIN
        await partition.append(events([5, COUNT, 6]))
        assert partition.head == FIRST + COUNT + 1


async def test_a_start_reads_the_ids_of_what_was_not_sealed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After kill -9, too: the file as it lies there while the daemon runs."""
    state, found = tmp_path / "state", tmp_path / "found"
    read: list[int] = []
    between = Batches.ids_between

    def counted(batches: Batches, start: int, end: int | None, since: float) -> Iterable[tuple[int, float, bytes]]:
        for row in between(batches, start, end, since):
            read.append(len(row[2]) // 16)
            yield row

    monkeypatch.setattr(Batches, "ids_between", counted)
    async with SqliteJournal().open(state, restore) as partition:
        await fill(partition)
        await wait_stored(state)
        shutil.copytree(state, found)
    read.clear()
    async with SqliteJournal().open(found, restore) as partition:
        assert sum(read) <= SIZE + 1024
        assert await repeated(partition) == AGAIN


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM prints WHERE first = 1",
        "UPDATE prints SET words = zeroblob(length(words)) WHERE first = 1",
        "UPDATE prints SET crc = 0",
        "UPDATE prints SET first = first + 7 WHERE first > 1",
        "UPDATE secret SET bytes = zeroblob(16)",
        "UPDATE secret SET bytes = x''",
        "DELETE FROM secret",
    ],
)
async def test_damage_to_what_was_stored_forgets_nothing(tmp_path: Path, damage: str) -> None:
    """It is made anew from the ids, and stored again."""
    async with SqliteJournal().open(tmp_path, restore) as partition:
        await fill(partition)
        await wait_stored(tmp_path)
    query(tmp_path, damage)
    async with SqliteJournal().open(tmp_path, restore) as partition:
        assert await repeated(partition) == AGAIN
        assert partition.head == FIRST + COUNT


async def test_ids_outlive_their_events(tmp_path: Path) -> None:
    """P3: across a restart, too; when the window is over nothing of them is left."""
    async with SqliteJournal(retention=0.0).open(tmp_path, restore) as partition:
        await fill(partition)
        partition.commit("d/s", settled(partition.head))
        partition.activate(["d/s"])
        with anyio.fail_after(20):
            while partition.tail < FIRST + COUNT:
                await partition.flush()
                await anyio.sleep(0.05)
        assert await repeated(partition) == AGAIN
    async with SqliteJournal(retention=0.0).open(tmp_path, restore) as partition:
        assert await repeated(partition) == AGAIN
        assert partition.head == FIRST + COUNT


async def test_after_the_window_nothing_is_left_of_the_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteJournal(retention=0.0, duplicates=1000.0).open(tmp_path, restore) as partition:
        await fill(partition)
        await wait_stored(tmp_path)
        partition.commit("d/s", settled(partition.head))
        partition.activate(["d/s"])
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 1001)
        await partition.append(events([COUNT]))
        await partition.append(events([0, 1]))
        assert partition.head == FIRST + COUNT + 3
        monkeypatch.setattr(time, "time", lambda: now + 1003)
        await partition.append(events([COUNT + 1]))
    assert query(tmp_path, "SELECT count(*) FROM prints") == 0
    assert query(tmp_path, "SELECT coalesce(sum(length(ids)), 0) / 16 FROM seen") <= 4


async def test_a_start_looks_only_at_batches_inside_the_window(tmp_path: Path) -> None:
    """By bisection: a journal keeps a week, the window is a day."""
    async with SqliteJournal(duplicates=100.0).open(tmp_path, restore) as partition:
        for number in range(50):
            await partition.append(events([number]))
    now = time.time()
    query(tmp_path, "UPDATE batches SET received = ? - (50 - first) * 10", now)
    async with SqliteJournal(duplicates=100.0).open(tmp_path, restore) as partition:
        await partition.append(events(range(50)))
        assert 41 <= partition.head - FIRST - 50 + 1 <= 43
