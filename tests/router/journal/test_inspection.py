"""Searching a journal beside the daemon: events, and what subscriptions keep of those that the journal let go."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from router.journal import FIRST, Change, DeadLetter, Parked, Progress
from router.journal.conformance import event, restore
from router.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.anyio

PROGRESS = Progress(position=4, since=1, pattern="p", dead=2, parked=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def filled(state: Path) -> SqliteJournal:
    """Journal 30 events in three batches; 1 and 2 are dead, 3 is parked."""
    journal = SqliteJournal()
    async with journal.open(state, restore) as partition:
        for batch in range(3):
            await partition.append([event(f"to=user{batch * 10 + i}@x".encode()) for i in range(1, 11)])
        kept: dict[str, Any] = {"reason": "no", "status": 400, "attempts": 1, "first_try": 1.0, "last_try": 2.0}
        letters = [
            DeadLetter(kind="refused", position=p, event=event(f"to=user{p}@x".encode()), **kept) for p in (1, 2)
        ]
        parked = Parked(due=9.0, times=1, position=3, event=event(b"to=user3@x"), **kept)
        partition.commit("a/x", PROGRESS, Change(dead=letters, parked=[parked]))
    return journal


def calm() -> None:
    """Let the search go on."""


async def test_events_are_found_by_text_and_by_id_newest_first(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    with journal.inspect(tmp_path, restore) as inspection:
        assert [p for p, _ in inspection.find("user2", calm)] == [29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 2]
        ((position, found),) = inspection.find(event(b"to=user17@x").id, calm)
        assert (position, bytes(found.raw)) == (17, b"to=user17@x")
        assert list(inspection.find("user31", calm)) == []


async def test_a_search_ends_when_it_is_told_to(tmp_path: Path) -> None:
    journal = await filled(tmp_path)

    def stop() -> None:
        raise TimeoutError

    with journal.inspect(tmp_path, restore) as inspection, pytest.raises(TimeoutError):
        list(inspection.find("user", stop))


async def test_troubles_are_found_by_place_and_by_text_after_the_journal_let_go(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as sql:
        sql.execute("DELETE FROM batches WHERE first < 11")
    sql.close()
    with journal.inspect(tmp_path, restore) as inspection:
        assert inspection.tail == FIRST + 10
        assert [(t.position, type(t)) for t in inspection.troubles("user3@x", inspection.tail)] == [(3, Parked)]
        assert [t.position for t in inspection.troubles("user", inspection.tail)] == [1, 2, 3]
        assert not list(inspection.troubles("user", 1))
        assert isinstance(inspection.trouble("a/x", 2), DeadLetter)
        assert inspection.trouble("a/x", 4) is None
        assert inspection.trouble("a/y", 2) is None
        assert [inspection.dead_from("a/x", since) for since in (1, 2, 3)] == [2, 1, 0]


async def test_a_damaged_batch_does_not_end_a_search(tmp_path: Path) -> None:
    journal = await filled(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as sql:
        sql.execute("UPDATE batches SET crc = 0 WHERE first = 11")
    sql.close()
    with journal.inspect(tmp_path, restore) as inspection:
        assert [p for p, _ in inspection.find("user2", calm)] == [29, 28, 27, 26, 25, 24, 23, 22, 21, 2]
        assert [p for p, _ in inspection.find(event(b"to=user17@x").id, calm)] == [17]
