"""What a subscription may have pending is bounded: its oldest events become dead letters, counted and listed (P4)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trio.testing
from fakes.delivery import Books, Scripted, chunk, delivery, ids, running
from msgspec.structs import replace

from router import expiry
from router.errors import Retry
from router.event import Event
from router.journal import Progress
from router.journal.conformance import event
from router.plugin import Deliver, Sink
from router.retry import Policy
from router.routed import Chunk

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock to set: what it has is added to trio's, which is the wall clock then."""
    offset = [1e9]
    monkeypatch.setattr(time, "time", lambda: offset[0] + anyio.current_time())
    return offset


def aged(first: int, names: str, received: float) -> Chunk:
    events = [replace(one, message=replace(one.message, received=received)) for one in events_of(names)]
    return Chunk(first + len(events), range(first, first + len(events)), events)


def events_of(names: str) -> list[Event]:
    return [event(name.encode()) for name in names]


def down(*_: object) -> Retry:
    return Retry("down")


async def test_what_waits_for_too_long_is_a_dead_letter_and_what_is_new_is_delivered_when_it_is_back(
    wall: list[float],
) -> None:
    sink = Scripted(calls=[], answer=down)
    books = Books(aged(1, "abcde", 1e9), aged(6, "fg", 1e9 + 90))
    policy = Policy(batch=1, in_flight=2, pending_age=100.0)
    async with running(delivery(sink, books, policy)) as subject:
        await anyio.sleep(105)
        assert [(one.position, one.kind) for one in books.letters] == [(p, "expired") for p in range(1, 6)]
        assert "pending for more than 100 s; down" in {one.reason for one in books.letters}
        assert (books.progress.dead, books.progress.pending(8), subject.last_error) == (5, 2, "down")
        sink.calls.clear()
        back = replace(sink, answer=None)
        subject._sink = back
        await anyio.sleep(80)
    assert {one for batch in sink.batches for one in batch} <= set(ids("fg"))
    assert not {one.position for one in books.letters} - {1, 2, 3, 4, 5, 6, 7}


async def test_what_takes_more_of_the_journal_than_it_may_is_given_up_on_oldest_first(wall: list[float]) -> None:
    """Also what is still in the feed; by then that is not held in memory."""
    books = Books(*(aged(1 + 10 * i, "0123456789", 1e9) for i in range(30)))
    books.journal = dict.fromkeys(range(1, 301), event(b"x"))
    policy = Policy(batch=1, in_flight=4, pending_bytes=20)
    async with running(delivery(Scripted(calls=[], answer=down), books, policy)):
        await anyio.sleep(30)
    assert {one.position for one in books.letters} == set(range(1, 281))
    assert books.progress.pending(301) == 20


async def test_a_paused_subscription_and_one_whose_sink_does_not_open_are_bounded_too(wall: list[float]) -> None:
    class Shut(Sink, frozen=True, kw_only=True):
        @asynccontextmanager
        async def open(self) -> AsyncGenerator[Deliver]:
            raise OSError("shut")
            yield

    class Rewound(Books):
        def rewind(self, position: int) -> None:
            self.chunks = [aged(1, "abc", received)]

    for sink, paused in ((Shut(), False), (Scripted(calls=[]), True)):
        received = 1e9 + anyio.current_time()
        books = Rewound(aged(1, "abc", received))
        books.progress = Progress(position=1, since=1, pattern="p", state="paused" if paused else "active")
        async with running(delivery(sink, books, Policy(pending_age=50.0))):
            await anyio.sleep(200)
        assert [one.kind for one in books.letters] == ["expired"] * 3
        assert books.progress.pending(4) == 0


async def test_a_clock_that_jumps_forward_makes_nothing_expire(wall: list[float]) -> None:
    books = Books(aged(1, "abc", 1e9))
    async with running(delivery(Scripted(calls=[], answer=down), books, Policy(pending_age=1000.0))):
        await anyio.sleep(10)
        wall[0] += 86400
        await anyio.sleep(100)
        assert not books.letters
        await anyio.sleep(1000)
    assert len(books.letters) == 3


async def test_in_order_by_key_what_waits_behind_one_that_fails_goes_with_it(wall: list[float]) -> None:
    books = Books(aged(1, "aabb", 1e9), aged(5, "a", 1e9 + 500))
    bad = event(b"a").id
    sink = Scripted(calls=[], answer=lambda batch: Retry("no") if batch[0].id == bad else None)
    policy = Policy(batch=1, in_flight=4, ordered=True, key="text", pending_age=100.0)
    async with running(delivery(sink, books, policy)):
        await anyio.sleep(300)
        assert ([one.position for one in books.letters], books.progress.delivered) == ([1, 2], 2)
        assert books.progress.pending(6) == 1
    assert books.progress.covered == books.progress.counted


async def test_only_the_newest_of_these_letters_are_kept_and_all_are_counted(
    wall: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or they would fill the journal in their turn."""
    monkeypatch.setattr(expiry, "KEPT", 7)
    books = Books(*(chunk(1 + 10 * i, "0123456789") for i in range(5)))
    async with running(delivery(Scripted(calls=[], answer=down), books, Policy(batch=1, pending_age=50.0))):
        await anyio.sleep(100)
    assert [one.position for one in books.letters] == list(range(44, 51))
    assert (books.progress.dead, books.progress.pending(51)) == (50, 0)
