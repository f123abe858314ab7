"""Dispatch: everyone gets exactly what it wants, in order, whether it keeps up or lags."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest
import trio.testing

from router.dispatch import Dispatch, Feed
from router.event import Event
from router.journal import FIRST, Segment
from router.journal.conformance import event
from router.routed import Chunk

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


class Log:
    """A journal in a list that dispatch follows and reads; reading takes a moment."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.follower: Dispatch | None = None
        self.reads = 0

    def append(self, count: int) -> None:
        first = FIRST + len(self.events)
        events = [event(str(first + i).encode()) for i in range(count)]
        self.events += events
        if self.follower:
            self.follower(Segment(first, events))

    async def read(self, position: int, limit: int) -> Segment:
        self.reads += 1
        events = self.events[position - FIRST : position - FIRST + limit]
        await anyio.sleep(0.5)
        return Segment(position, events)


def wanted(e: Event) -> tuple[int, ...]:
    """Route 0 wants all, route 1 every third, route 2 none, route 3 every third but one."""
    number = int(bytes(e.raw))
    return (0, 1) if number % 3 == 0 else (0, 3) if number % 3 == 1 else (0,)


def feeds() -> list[Feed]:
    return [Feed(FIRST) for _ in range(4)]


async def collect(dispatch: Dispatch, index: int, got: list[Chunk], pace: float = 0.0) -> None:
    while True:
        got.append(await dispatch.next(dispatch._feeds[index], 100))
        await anyio.sleep(pace)


def numbers(chunks: list[Chunk]) -> list[int]:
    found = [int(bytes(e.raw)) for c in chunks for e in c.events]
    assert found == [p for c in chunks for p in c.positions]
    return found


@pytest.mark.parametrize("seed", range(5))
async def test_each_gets_what_it_wants_once_and_in_order_at_any_pace(seed: int) -> None:
    dice = random.Random(seed)
    log = Log()
    log.append(50)
    starts = [Feed(FIRST), Feed(FIRST + 50), Feed(FIRST), Feed(FIRST + 20)]
    dispatch = log.follower = Dispatch(wanted, starts, FIRST + 50, log.read, ring_events=40)
    got: list[list[Chunk]] = [[], [], [], []]
    async with anyio.create_task_group() as tasks:
        for index, pace in enumerate((dice.choice((0, 3, 20)), 0.0, 0.0, dice.choice((0, 5)))):
            tasks.start_soon(collect, dispatch, index, got[index], pace)
        for _ in range(60):
            log.append(dice.randint(1, 15))
            await anyio.sleep(dice.choice((0, 0, 1, 4)))
        await anyio.sleep(100_000)
        tasks.cancel_scope.cancel()
    head = FIRST + len(log.events)
    assert numbers(got[0]) == list(range(FIRST, head))
    assert numbers(got[1]) == [n for n in range(FIRST + 50, head) if n % 3 == 0]
    assert numbers(got[2]) == []
    assert numbers(got[3]) == [n for n in range(FIRST + 20, head) if n % 3 == 1]


async def test_one_that_keeps_up_never_reads_the_journal() -> None:
    log = Log()
    dispatch = log.follower = Dispatch(wanted, feeds(), FIRST, log.read, ring_events=40)
    got: list[Chunk] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect, dispatch, 0, got)
        for _ in range(50):
            log.append(10)
            await trio.testing.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert log.reads == 0
    assert len(numbers(got)) == 500


async def test_one_that_lags_is_not_kept_in_memory_and_rejoins() -> None:
    log = Log()
    dispatch = log.follower = Dispatch(wanted, feeds(), FIRST, log.read, ring_events=40)
    for _ in range(50):
        log.append(10)
    assert not dispatch._feeds[0].live
    got: list[Chunk] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect, dispatch, 0, got)
        await anyio.sleep(1000)
        assert dispatch._feeds[0].live
        tasks.cancel_scope.cancel()
    assert numbers(got) == list(range(FIRST, FIRST + 500))


async def test_chunks_that_wait_are_joined_up_to_the_limit() -> None:
    log = Log()
    dispatch = log.follower = Dispatch(wanted, feeds(), FIRST, log.read)
    for _ in range(10):
        log.append(10)
    assert len((await dispatch.next(dispatch._feeds[0], 35)).events) == 30
    assert len((await dispatch.next(dispatch._feeds[0], 1)).events) == 10


async def test_rewinding_starts_over_from_the_position() -> None:
    log = Log()
    dispatch = log.follower = Dispatch(wanted, feeds(), FIRST, log.read)
    log.append(30)
    await dispatch.next(dispatch._feeds[0], 100)
    dispatch.rewind(dispatch._feeds[0], FIRST + 10)
    again = [await dispatch.next(dispatch._feeds[0], 100)]
    assert numbers(again) == list(range(FIRST + 10, FIRST + 30))


async def test_other_routes_apply_from_the_next_event_on_and_what_waited_is_not_lost() -> None:
    """A reload: what was offered but not taken is routed anew from the journal, and nothing comes twice."""
    log = Log()
    first, second = Feed(FIRST), Feed(FIRST)
    dispatch = log.follower = Dispatch(lambda _: (0, 1), [first, second], FIRST, log.read)
    log.append(10)
    taken = [await dispatch.next(first, 100)]
    dispatch.replace(lambda e: (0, 1) if int(bytes(e.raw)) % 2 else (1,), [second, first])
    log.append(10)
    got: list[list[Chunk]] = [[], taken]
    async with anyio.create_task_group() as tasks:
        for index, feed in enumerate((second, first)):
            tasks.start_soon(drain, dispatch, feed, got[index])
        await anyio.sleep(1000)
        tasks.cancel_scope.cancel()
    assert numbers(got[0]) == [n for n in range(FIRST, FIRST + 20) if n % 2]
    assert numbers(got[1]) == list(range(FIRST, FIRST + 20))


async def drain(dispatch: Dispatch, feed: Feed, got: list[Chunk]) -> None:
    while True:
        got.append(await dispatch.next(feed, 100))


def paced() -> tuple[Log, Dispatch, Feed, list[tuple[float, int]]]:
    """Make a feed with a pace of a second, and a list for when how much was taken from it."""
    log, feed = Log(), Feed(FIRST, pace=1.0)
    dispatch = log.follower = Dispatch(wanted, [feed, *feeds()[1:]], FIRST, log.read)
    return log, dispatch, feed, []


async def take_for_ever(dispatch: Dispatch, feed: Feed, taken: list[tuple[float, int]]) -> None:
    start = anyio.current_time()
    while True:
        chunk = await dispatch.next(feed, 100)
        taken.append((round(anyio.current_time() - start, 3), len(chunk.events)))


async def test_what_comes_alone_waits_for_nothing_and_what_comes_after_it_for_company() -> None:
    """A pace makes few large batches of many small ones, without delaying the first."""
    log, dispatch, feed, taken = paced()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_for_ever, dispatch, feed, taken)
        for _ in range(4):
            await anyio.sleep(0.25)
            log.append(3)
        await anyio.sleep(5)
        log.append(1)
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    assert taken == [(0.25, 3), (1.25, 9), (6.0, 1)]


async def test_a_whole_batch_waits_for_nothing() -> None:
    log, dispatch, feed, taken = paced()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_for_ever, dispatch, feed, taken)
        await anyio.sleep(0.25)
        for _ in range(50):
            log.append(10)
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    assert taken == [(0.25, 100)] * 5


async def test_what_falls_behind_while_it_waits_for_company_reads_the_journal() -> None:
    log, dispatch, feed, taken = paced()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_for_ever, dispatch, feed, taken)
        log.append(3)
        await anyio.sleep(0.25)
        log.append(3)
        dispatch.rewind(feed, FIRST)
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()
    assert sum(count for _, count in taken) == 9
