"""Scan: those that lag share what was read and decoded, and each gets exactly what it wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import anyio
import pytest
import trio.testing

from router.event import Event, json_lines
from router.journal import FIRST, Segment
from router.journal.conformance import event
from router.routed import Chunk
from router.scan import PATIENCE, READ, SHELF_EVENTS, Scan
from router.spare import AtOnce

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


READING = 0.01


class Rows(Sequence[Event]):
    """Events that are decoded as they are looked at, which is counted."""

    def __init__(self, numbers: range, decoded: list[int]) -> None:
        self._numbers = numbers
        self._decoded = decoded

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        some = self._numbers[index]
        if isinstance(some, int):
            self._decoded.append(some)
            return event(str(some).encode())
        self._decoded += some
        return [event(str(number).encode()) for number in some]


class Log:
    """A journal of so many events, whose raw is their position."""

    def __init__(self, count: int) -> None:
        self.end = FIRST + count
        self.reads = 0
        self.decoded: list[int] = []

    async def read(self, position: int, limit: int) -> Segment:
        self.reads += 1
        await anyio.sleep(READING)
        return Segment(position, Rows(range(position, min(position + limit, self.end)), self.decoded))


class Lagging:
    """A subscription that lags, and what it got."""

    def __init__(self, index: int, position: int = FIRST) -> None:
        self.index = index
        self.position = position
        self.live = False
        self.got: list[int] = []

    def note(self, taken: Chunk) -> None:
        assert [int(bytes(e.raw)) for e in taken.events] == taken.positions
        assert taken.end > self.position
        self.got += taken.positions
        self.position = taken.end

    async def catch_up(self, scan: Scan, end: int, limit: int = READ, pace: float = 0.0) -> None:
        while self.position < end:
            self.note(await scan.take(self, limit))
            await anyio.sleep(pace)


def wanted(e: Event) -> tuple[int, ...]:
    """Route n wants what n + 1 divides."""
    number = int(bytes(e.raw))
    return tuple(n for n in range(20) if number % (n + 1) == 0)


async def test_twenty_that_lag_together_cost_one_reading_and_one_decoding() -> None:
    log = Log(10_000)
    scan = Scan(log.read, wanted, AtOnce())
    lagging = [Lagging(index) for index in range(20)]
    async with anyio.create_task_group() as tasks:
        for one in lagging:
            tasks.start_soon(one.catch_up, scan, log.end)
    assert sorted(log.decoded) == list(range(FIRST, log.end))
    assert log.reads == -(-10_000 // READ)
    for one in lagging:
        assert one.got == [n for n in range(FIRST, log.end) if n % (one.index + 1) == 0]


async def test_those_that_lag_by_different_amounts_meet_and_share_from_then_on() -> None:
    log = Log(10_000)
    scan = Scan(log.read, wanted, AtOnce())
    first, second = Lagging(0), Lagging(0, FIRST + READ // 2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.catch_up, scan, log.end)
        tasks.start_soon(second.catch_up, scan, log.end)
    assert first.got == list(range(FIRST, log.end))
    assert second.got == list(range(FIRST + READ // 2, log.end))
    assert len(log.decoded) <= 10_000 + READ


async def test_each_goes_at_its_own_pace_and_a_slow_one_holds_up_nobody() -> None:
    log = Log(5_000)
    scan = Scan(log.read, wanted, AtOnce())
    slow, quick = Lagging(0), Lagging(0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.catch_up, scan, log.end, 1, 3600.0)
        await quick.catch_up(scan, log.end)
        assert anyio.current_time() < 3600
        tasks.cancel_scope.cancel()
    assert quick.got == list(range(FIRST, log.end))
    assert slow.got == [FIRST]


async def test_no_more_is_taken_than_asked_for_and_nothing_between_is_missed() -> None:
    log = Log(READ)
    scan = Scan(log.read, wanted, AtOnce())
    place = Lagging(2)
    taken = await scan.take(place, 2)
    assert (taken.end, taken.positions) == (9, [3, 6]), "what nobody wants before the next one is passed over, too"
    place.position = taken.end
    assert (await scan.take(place, 1)).positions == [9]


async def test_what_is_kept_for_those_behind_is_bounded() -> None:
    log = Log(SHELF_EVENTS * 3)
    scan = Scan(log.read, wanted, AtOnce())
    await Lagging(0).catch_up(scan, log.end)
    assert sum(stretch.end - stretch.first for stretch in scan._shelf) <= SHELF_EVENTS


async def test_other_routes_apply_to_what_is_being_read_and_to_what_was_read_before() -> None:
    log = Log(2 * READ)
    scan = Scan(log.read, lambda _: (0,), AtOnce())
    place = Lagging(0)
    assert len((await scan.take(place, READ)).events) == READ
    scan.replace(lambda _: ())
    assert (await scan.take(place, READ)).events == [], "what lies on the shelf is routed anew"
    place.position = FIRST + READ
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place.catch_up, scan, log.end)
        await trio.testing.wait_all_tasks_blocked()
        scan.replace(lambda _: (0,))
    assert place.got == list(range(FIRST + READ, log.end)), "and so is what is being read"


async def test_one_that_is_stopped_while_it_waits_holds_up_nobody() -> None:
    log = Log(READ)
    scan = Scan(log.read, wanted, AtOnce())
    first, second = Lagging(0), Lagging(0)
    with anyio.move_on_after(0.005):
        await first.catch_up(scan, log.end)
    await second.catch_up(scan, log.end)
    assert (first.got, second.got) == ([], list(range(FIRST, log.end)))


async def test_one_that_wants_little_does_not_run_ahead_of_those_who_deliver_so_nothing_is_read_twice() -> None:
    log = Log(40 * READ)
    scan = Scan(log.read, lambda _: (0,), AtOnce())
    delivering, idle = Lagging(0), Lagging(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delivering.catch_up, scan, log.end, READ, 0.05)
        tasks.start_soon(idle.catch_up, scan, log.end)
    assert log.decoded == list(range(FIRST, log.end))
    assert len(scan._shelf) <= 2, "what both are past is not kept"


async def test_a_slow_one_is_waited_for_only_until_it_is_out_of_reach() -> None:
    log = Log(200 * READ)
    scan = Scan(log.read, wanted, AtOnce())
    slow, quick = Lagging(0), Lagging(0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.catch_up, scan, log.end, 1, PATIENCE / 3)
        await quick.catch_up(scan, log.end)
        tasks.cancel_scope.cancel()
    assert anyio.current_time() - log.reads * READING < SHELF_EVENTS // READ * PATIENCE
    assert len(slow.got) > 1


async def test_those_who_want_the_same_get_the_same_list_so_that_its_lines_are_joined_once() -> None:
    log = Log(2 * READ)
    scan = Scan(log.read, lambda e: (0, 1, 2) if int(bytes(e.raw)) % 2 else (0, 1), AtOnce())
    one, other, third = [await scan.take(Lagging(index), READ) for index in range(3)]
    assert one.events is other.events
    assert json_lines(one.events) is json_lines(other.events)
    assert json_lines(third.events) == b"".join(e.json() + b"\n" for e in third.events)


async def test_while_nobody_waits_a_place_takes_several_stretches_at_once_and_loses_nothing_between_them() -> None:
    log = Log(10 * READ)
    scan = Scan(log.read, wanted, AtOnce())
    taken = await scan.take(Lagging(1), 4 * READ)
    assert taken.end == FIRST + 4 * READ
    assert taken.positions == list(range(2, FIRST + 4 * READ, 2))
    assert [int(bytes(e.raw)) for e in taken.events] == taken.positions
    assert json_lines(taken.events) == b"".join(e.json() + b"\n" for e in taken.events)


async def test_json_is_made_while_reading_once_it_was_asked_for_and_only_of_what_somebody_wants() -> None:
    log = Log(3 * READ)
    seen: list[Event] = []

    def odd(e: Event) -> tuple[int, ...]:
        seen.append(e)
        return (0,) if int(bytes(e.raw)) % 2 else ()

    scan = Scan(log.read, odd, AtOnce())
    place = Lagging(0)
    place.note(first := await scan.take(place, READ))
    assert not any(e.encoded for e in seen)
    json_lines(first.events)
    seen.clear()
    place.note(second := await scan.take(place, READ))
    assert [e for e in seen if e.encoded] == second.events
    scan.replace(odd)
    await scan.take(place, READ)
    assert not any(e.encoded for e in seen[READ:]), "what the routes before wanted it for says nothing of these"
