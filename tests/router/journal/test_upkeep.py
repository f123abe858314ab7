"""Whatever happens to the rows of the journal's file, a repair makes it sound again and moves no position."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from router.event import Message
from router.journal import FIRST, Segment
from router.journal.conformance import event, restore
from router.journal.sqlite import SqliteJournal

BATCHES = ((1, 3), (4, 1), (5, 4), (9, 2))
"""First positions and counts."""

blobs = st.sampled_from(["x''", "x'00'", "x'90'", "zeroblob(16)", "zeroblob(48)", "zeroblob(64)"])
changes = st.one_of(
    st.tuples(st.sampled_from(["ids", "body"]), blobs),
    st.tuples(st.just("count"), st.integers(-1, 9).map(str)),
    st.tuples(st.just("crc"), st.integers(0, 9).map(str)),
    st.just(("", "")),
)
damages = st.lists(st.tuples(st.sampled_from([first for first, _ in BATCHES]), changes), max_size=4)


@settings(max_examples=60, deadline=None)
@given(damages)
def test_a_repair_makes_any_rows_sound(damage: list[tuple[int, tuple[str, str]]]) -> None:
    """And what was sound before it is as it was, where it was. That the first or the last rows went, no row tells."""
    harmed = {first for first, _ in damage}
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        anyio.run(_fill, state)
        _harm(state, damage)
        if SqliteJournal().examine(state, _identify).damage:
            SqliteJournal().repair(state)
        report = SqliteJournal().examine(state, _identify)
        segments = anyio.run(_read, state)
    assert not report.damage
    found = {p: e.id for segment in segments for p, e in enumerate(segment.events, segment.first)}
    assert list(found) == list(range(min(found, default=0), max(found, default=-1) + 1))
    for first, count in BATCHES:
        if first not in harmed:
            assert [found[p] for p in range(first, first + count)] == [
                event(str(p).encode()).id for p in range(first, first + count)
            ]


def _identify(message: Message, _: str) -> str:
    return event(bytes(message.body)).id


async def _fill(state: Path) -> None:
    async with SqliteJournal().open(state, restore) as partition:
        for first, count in BATCHES:
            await partition.append([event(str(p).encode()) for p in range(first, first + count)])


async def _read(state: Path) -> list[Segment]:
    async with SqliteJournal().open(state, restore) as partition:
        return [await partition.read(FIRST, 100)]


def _harm(state: Path, damage: list[tuple[int, tuple[str, str]]]) -> None:
    with sqlite3.connect(state / "journal.db") as sql:
        for first, (column, value) in damage:
            statement = f"UPDATE batches SET {column} = {value}" if column else "DELETE FROM batches"
            sql.execute(f"{statement} WHERE first = {first}")
    sql.close()
