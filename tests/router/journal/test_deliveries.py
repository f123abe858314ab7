"""When events were delivered: however old the record is it is true, and it takes little space."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.journal import FIRST, Change, Ending, Progress, Span
from router.journal import deliveries as rows
from router.journal.conformance import event, restore, settled
from router.journal.deliveries import COARSE, FRESH, SCHEMA, Deliveries
from router.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.anyio

slots = st.lists(st.tuples(st.integers(1, 50), st.floats(0, 20), st.floats(0, 3)), min_size=1, max_size=150)
"""Events, seconds since the last chunk, and how long it took to deliver it."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


connections: list[sqlite3.Connection] = []
"""What a test opened."""


@pytest.fixture(autouse=True)
def closing() -> Generator[None]:
    yield
    while connections:
        connections.pop().close()


def opened() -> Deliveries:
    sql = sqlite3.connect(":memory:", isolation_level=None)
    connections.append(sql)
    sql.executescript(SCHEMA)
    return Deliveries(sql)


def count(deliveries: Deliveries, table: str = "spans") -> int:
    (found,) = deliveries._sql.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(found)


def ending(position: int) -> Ending:
    return Ending(position=position, at=5.0, tries=2, reason="busy")


@settings(max_examples=40, deadline=None)
@given(slots, st.randoms(use_true_random=False))
def test_joined_spans_still_hold_every_moment(chunks: list[tuple[int, float, float]], random: object) -> None:
    """Joined at any times and again and again, none is longer than a minute, unless it was when it was written."""
    deliveries, now, end, longest = opened(), 1000.0, FIRST, 0.0
    spans: list[Span] = []
    for events, pause, took in chunks:
        now += pause
        spans.append(Span(end, end + events, now, now + took))
        end += events
        longest = max(longest, took)
        deliveries.keep_spans([("a/x", spans[-1])])
        if random.random() < 0.2:  # type: ignore[attr-defined]
            deliveries.sweep("a/x", FIRST, now + FRESH + random.random() * 10)  # type: ignore[attr-defined]
    deliveries.sweep("a/x", FIRST, now + 2 * FRESH)
    for span in spans:
        for position in (span.first, span.end - 1):
            told = deliveries.delivered("a/x", position)
            assert isinstance(told, Span)
            assert told.begun <= span.begun
            assert told.ended >= span.ended
            assert told.ended - told.begun <= max(COARSE, longest)
    assert deliveries.delivered("a/x", end) is None


def test_a_busy_week_takes_a_row_a_second_for_an_hour_and_a_row_a_minute_before() -> None:
    deliveries, day = opened(), 86_400
    for second in range(0, day, 60):
        some = [("a/x", Span(FIRST + s, FIRST + s + 1, float(s), s + 0.9)) for s in range(second, second + 60)]
        deliveries.keep_spans(some)
        deliveries.sweep("a/x", FIRST, second + 60.0)
    assert count(deliveries) <= 3600 + 60 + 25 * 60
    assert count(deliveries) >= 3600 + 22 * 60


def test_what_was_delivered_again_is_told_by_the_later_record() -> None:
    deliveries = opened()
    deliveries.keep_spans(
        [("a/x", Span(1, 10, 1.0, 1.0)), ("a/x", Span(10, 20, 2.0, 2.0)), ("a/x", Span(20, 30, 3.0, 3.0))]
    )
    deliveries.keep_spans([("a/x", Span(5, 25, 9.0, 9.0))])
    told = [deliveries.delivered("a/x", p) for p in (4, 5, 12, 24, 25)]
    assert [one.begun if isinstance(one, Span) else None for one in told] == [1.0, 9.0, 9.0, 9.0, None]
    deliveries.keep_spans([("a/y", Span(1, 100, 1.0, 1.0)), ("a/y", Span(50, 60, 5.0, 5.0))])
    told = [deliveries.delivered("a/y", p) for p in (49, 50, 60)]
    assert [one.begun if isinstance(one, Span) else None for one in told] == [1.0, 5.0, 1.0]


def test_records_go_with_their_events() -> None:
    deliveries = opened()
    deliveries.keep_spans(("a/x", Span(p, p + 10, float(p), float(p))) for p in range(1, 101, 10))
    deliveries.keep_endings("a/x", [ending(p) for p in range(1, 101, 10)])
    deliveries.sweep("a/x", 55, 1000.0)
    assert [deliveries.delivered("a/x", p) is not None for p in (50, 55, 61)] == [False, True, True]
    assert (count(deliveries), count(deliveries, "endings")) == (5, 4)


def test_of_endings_the_newest_are_kept_and_it_is_told_from_where_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "KEPT", 50)
    deliveries = opened()
    deliveries.keep_endings("a/x", [ending(p) for p in range(1, 50)])
    deliveries.keep_endings("a/y", [ending(1)])
    deliveries.sweep("a/x", FIRST, 0.0)
    assert deliveries.complete("a/x") == 0
    deliveries.keep_endings("a/x", [ending(p) for p in range(50, 80)])
    deliveries.sweep("a/x", FIRST, 0.0)
    assert count(deliveries, "endings") == 51
    assert (deliveries.complete("a/x"), deliveries.complete("a/y")) == (30, 0)
    assert deliveries.delivered("a/x", 30) == ending(30)


async def test_commits_within_a_second_are_told_as_one_span(tmp_path: Path) -> None:
    """However often they are written: it is one row."""
    journal = SqliteJournal()
    async with journal.open(tmp_path, restore) as partition:
        await partition.append([event(str(n).encode()) for n in range(30)])
        for n in range(20):
            span = Span(FIRST + n, FIRST + n + 1, 1000.0 + n / 10, 1000.0 + n / 10)
            partition.commit("a/x", settled(FIRST + n + 1), Change(spans=[span]))
            await partition.flush()
    with journal.inspect(tmp_path, restore) as inspection:
        assert inspection.delivered("a/x", FIRST) == Span(FIRST, FIRST + 11, 1000.0, 1001.0)
        assert inspection.delivered("a/x", FIRST + 19) == Span(FIRST + 11, FIRST + 20, 1001.1, 1001.9)
        assert inspection.delivered("a/x", FIRST + 20) is None


async def test_a_subscription_that_comes_back_at_once_has_nothing_of_the_old_one(tmp_path: Path) -> None:
    """Though nothing was written between."""
    journal = SqliteJournal()
    change = Change(spans=[Span(FIRST, FIRST + 2, 1.0, 1.0)], endings=[ending(1)], marks={"f": 1})
    async with journal.open(tmp_path, restore) as partition:
        partition.commit("a/x", Progress(position=3, since=1, pattern="p", delivered=2), change)
        await partition.flush()
        partition.commit("a/x", Progress(position=4, since=1, pattern="p", delivered=3), change)
        partition.forget("a/x")
        partition.commit("a/x", Progress(position=9, since=9, pattern="p"))
    async with journal.open(tmp_path, restore) as partition:
        assert partition.progress("a/x") == Progress(position=9, since=9, pattern="p")
        assert not partition.marks("a/x")
    with journal.inspect(tmp_path, restore) as inspection:
        assert inspection.delivered("a/x", 1) is None
        assert inspection.delivered("a/x", 2) is None


async def test_spans_are_swept_while_the_journal_runs(tmp_path: Path) -> None:
    """Each subscription in its turn."""
    journal = SqliteJournal()
    now = time.time() - 2 * FRESH
    async with journal.open(tmp_path, restore) as partition:
        await partition.append([event(str(n).encode()) for n in range(20)])
        for name in ("a/x", "a/y"):
            spans = [Span(p, p + 1, now + p * 2, now + p * 2) for p in range(1, 21)]
            partition.commit(name, settled(FIRST + 20), Change(spans=spans))
        with anyio.fail_after(10):
            while not (joined(tmp_path, "a/x") and joined(tmp_path, "a/y")):
                await partition.flush()
                await anyio.sleep(0.1)


def joined(state: Path, name: str) -> bool:
    sql = sqlite3.connect(state / "journal.db")
    with sql:
        (found,) = sql.execute("SELECT count(*) FROM spans WHERE name = ?", (name,)).fetchone()
    sql.close()
    return bool(found == 1)
