"""What every journal must hold, as tests: subclass `JournalSuite`, say how to open one, and let pytest collect it.

class TestMine(JournalSuite):
def journal(self, *, small: bool = False) -> Journal: ...
"""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from router.errors import Retry
from router.journal import (
    FIRST,
    Change,
    DeadLetter,
    Ending,
    Endings,
    Journal,
    Parked,
    Partition,
    Segment,
    Span,
)
from router.journal.conformance_samples import (
    MARK,
    TROUBLE,
    Note,
    batch,
    check_troubles,
    event,
    restore,
    settled,
    trouble,
    until_appended,
)
from router.journal.conformance_space import SpaceSuite

__all__ = ["DurableJournalSuite", "JournalSuite", "Note", "batch", "event", "restore", "settled", "until_appended"]


class JournalSuite(SpaceSuite):
    """The contract of `router.journal`, clause by clause."""

    def journal(self, *, small: bool = False) -> Journal:
        """Return the journal to test; a `small` one is full after at most 2 MB of events."""
        raise NotImplementedError

    def opened(self, state: Path, *, small: bool = False) -> AbstractAsyncContextManager[Partition]:
        """Open it."""
        return self.journal(small=small).open(state, restore)

    async def test_what_was_appended_is_read_back_byte_for_byte(self, tmp_path: Path) -> None:
        """P7: body, id, source, attributes and time of receipt come back as they were."""
        bodies = [b"", b"a", bytes(range(256)), b"x" * 70_000]
        async with self.opened(tmp_path) as partition:
            await partition.append([event(b, topic="t") for b in bodies])
            segment = await partition.read(FIRST, 100)
        assert [bytes(e.raw) for e in segment.events] == bodies
        assert [e.id for e in segment.events] == [event(b).id for b in bodies]
        assert {(e.source, e.received, e.message.attributes["topic"]) for e in segment.events} == {("suite", 1.5, "t")}

    async def test_duplicates_are_dropped_within_a_batch_and_across_batches(self, tmp_path: Path) -> None:
        """P3: the same id is journalled once, and counted each further time."""
        async with self.opened(tmp_path) as partition:
            await partition.append([event(b"a"), event(b"b"), event(b"a")])
            await partition.append([event(b"b"), event(b"c")])
            await partition.append([event(b"c")])
            assert partition.head == FIRST + 3
            assert partition.statistics().duplicates == 3

    async def test_the_follower_sees_every_new_event_once_and_in_order(self, tmp_path: Path) -> None:
        """Also when many append at once."""
        seen: list[Segment] = []
        async with self.opened(tmp_path) as partition:
            partition.follow(seen.append)
            async with anyio.create_task_group() as tasks:
                for caller in range(20):
                    tasks.start_soon(partition.append, [event(f"{caller}.{i % 7}".encode()) for i in range(10)])
            read = await partition.read(FIRST, 1000)
        assert [s.first for s in seen] == [FIRST + sum(len(s.events) for s in seen[:i]) for i in range(len(seen))]
        assert [e.id for s in seen for e in s.events] == [e.id for e in read.events]
        assert len(read.events) == 20 * 7

    async def test_it_knows_when_what_is_there_was_stored(self, tmp_path: Path) -> None:
        """By the position of any event of a batch; there is none at the head."""
        started = time.time()
        async with self.opened(tmp_path) as partition:
            assert await partition.stored_at([FIRST]) == [None]
            await partition.append([event(b"a"), event(b"b")])
            await partition.append([event(b"c")])
            first, second, third, head = await partition.stored_at([FIRST, FIRST + 1, FIRST + 2, FIRST + 3])
        assert head is None
        assert first == second
        assert started - 1 <= (first or 0) <= (third or 0) <= time.time()

    async def test_two_readers_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        """Each reads all, at its own pace, while more is appended."""

        async def reader(step: int, found: list[str]) -> None:
            position = FIRST
            while position < FIRST + 300:
                segment = await partition.read(position, step)
                found += [e.id for e in segment.events]
                position = segment.end
                await anyio.lowlevel.checkpoint()

        found: tuple[list[str], list[str]] = ([], [])
        async with self.opened(tmp_path) as partition:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reader, 7, found[0])
                tasks.start_soon(reader, 64, found[1])
                for i in range(30):
                    await partition.append([event(f"{i}.{j}".encode()) for j in range(10)])
            expected = [e.id for e in (await partition.read(FIRST, 1000)).events]
        assert found[0] == found[1] == expected

    async def test_reading_starts_at_any_position_and_ends_at_the_head(self, tmp_path: Path) -> None:
        """Nothing is skipped and nothing told twice, wherever a batch begins."""
        async with self.opened(tmp_path) as partition:
            for i in range(4):
                await partition.append([event(f"{i}.{j}".encode()) for j in range(5)])
            every = (await partition.read(FIRST, 1000)).events
            for offset in range(20):
                segment = await partition.read(FIRST + offset, 1000)
                assert segment.first == FIRST + offset
                assert [e.id for e in segment.events] == [e.id for e in every[offset:]]
            assert not (await partition.read(partition.head, 10)).events

    async def test_progress_and_troubles_come_back(self, tmp_path: Path) -> None:
        """P4: as they were committed last."""
        async with self.opened(tmp_path) as partition:
            await partition.append([event(b"a"), event(b"b")])
            assert partition.progress("d/s") is None
            partition.commit("d/s", MARK, TROUBLE)
            await check_troubles(partition)
            partition.commit("d/s", MARK, Change(unparked=[2], undead=[1]))
            assert not await partition.parked("d/s", 10)
            assert not await partition.dead_letters("d/s", 0, 10)

    async def test_parked_events_come_in_the_order_in_which_they_are_due(self, tmp_path: Path) -> None:
        """And dead letters in the order of their positions, page by page."""
        parked = [Parked(due=due, times=0, **trouble(i, b"x")) for i, due in enumerate((30.0, 10.0, 20.0, 10.0), 1)]
        dead = [DeadLetter(kind="refused", **trouble(i, b"x")) for i in (5, 3, 9)]
        async with self.opened(tmp_path) as partition:
            partition.commit("d/s", MARK, Change(parked=parked, dead=dead))
            assert [p.position for p in await partition.parked("d/s", 3)] == [2, 4, 3]
            assert [d.position for d in await partition.dead_letters("d/s", 3, 1)] == [5]

    async def test_what_was_committed_is_read_back_at_once_while_others_write(self, tmp_path: Path) -> None:
        """Or an event that was delivered from the parked ones would be read, and delivered, again."""

        async def write() -> None:
            number = 0
            while True:
                number += 1
                await partition.append([event(b"x" * 50_000, name=f"{number}")])
                await anyio.sleep(0.0001)

        async with self.opened(tmp_path) as partition, anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for position in range(1, 200):
                parked = Parked(due=1.0, times=0, **trouble(position, b"x"))
                partition.commit("d/s", MARK, Change(parked=[parked]))
                await anyio.sleep(0.001 * (position % 3))
                assert [p.position for p in await partition.parked("d/s", 10)] == [position]
                partition.commit("d/s", MARK, Change(unparked=[position]))
                await anyio.sleep(0.001 * (position % 5))
                assert not await partition.parked("d/s", 10)
            tasks.cancel_scope.cancel()

    async def test_a_forgotten_subscription_leaves_nothing(self, tmp_path: Path) -> None:
        """Its name is as good as new."""
        async with self.opened(tmp_path) as partition:
            partition.commit("d/s", MARK, TROUBLE)
            await partition.flush()
            partition.forget("d/s")
            await partition.flush()
            assert partition.progress("d/s") is None
            assert not await partition.parked("d/s", 10)
            assert not await partition.dead_letters("d/s", 0, 10)
            assert not partition.marks("d/s")

    @pytest.mark.parametrize("runs", [["slow"], []])
    async def test_nothing_that_a_subscription_needs_is_deleted(self, tmp_path: Path, runs: list[str]) -> None:
        """P1: however full it is, and whether it runs or not; one that is over needs nothing more."""
        async with self.opened(tmp_path, small=True) as partition:
            partition.commit("slow", settled(FIRST + 5))
            partition.commit("over", replace(settled(FIRST), until=FIRST))
            partition.activate(runs)
            with pytest.raises(Retry):
                for i in range(1000):
                    await partition.append(batch(i))
            assert [(one.name, one.position) for one in partition.holders()] == [("slow", FIRST + 5)]
            segment = await partition.read(FIRST + 5, 1)
            assert segment.first == FIRST + 5
            assert segment.events[0].id == batch(0)[5].id

    async def test_what_is_parked_or_dead_outlives_its_event_in_the_journal(self, tmp_path: Path) -> None:
        """P1: it is a copy, for the journal itself need not keep what was settled."""
        async with self.opened(tmp_path, small=True) as partition:
            first = batch(0)
            await partition.append(first)
            of_first: dict[str, Any] = {**trouble(FIRST, b""), "event": first[0]}
            parked, dead = Parked(due=1.0, times=0, **of_first), DeadLetter(kind="refused", **of_first)
            partition.commit("d/s", settled(partition.head), Change(parked=[parked], dead=[dead]))
            partition.activate(["d/s"])
            number = 0
            with anyio.fail_after(20):
                while partition.tail == FIRST:
                    number += 1
                    await until_appended(partition, batch(number))
                    partition.commit("d/s", settled(partition.head))
            (kept,), (letter,) = await partition.parked("d/s", 10), await partition.dead_letters("d/s", 0, 10)
        assert bytes(kept.event.raw) == bytes(letter.event.raw) == first[0].raw

    async def test_a_caller_that_gives_up_takes_nobody_with_it(self, tmp_path: Path) -> None:
        """Cancelling one append leaves the others to be answered."""
        async with self.opened(tmp_path) as partition:
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope() as impatient:
                    impatient.cancel()
                    await partition.append([event(b"given up")])
                for i in range(10):
                    tasks.start_soon(partition.append, [event(str(i).encode())])
            found = {e.id for e in (await partition.read(FIRST, 100)).events}
        assert {event(str(i).encode()).id for i in range(10)} <= found


class DurableJournalSuite(JournalSuite):
    """What a journal that outlives its process holds beside."""

    async def test_duplicates_are_dropped_across_a_restart(self, tmp_path: Path) -> None:
        """P3: the window is as durable as the events."""
        async with self.opened(tmp_path) as partition:
            await partition.append([event(b"a")])
        async with self.opened(tmp_path) as partition:
            await partition.append([event(b"a"), event(b"b")])
            assert partition.head == FIRST + 2

    async def test_progress_and_troubles_come_back_after_a_restart(self, tmp_path: Path) -> None:
        """P4: without a flush, for closing is one."""
        async with self.opened(tmp_path) as partition:
            partition.commit("d/s", MARK, TROUBLE)
        async with self.opened(tmp_path) as partition:
            await check_troubles(partition)

    async def test_when_events_were_delivered_is_told_after_a_restart(self, tmp_path: Path) -> None:
        """P5: at the first try, within a second; else exactly. And nothing of a subscription that was forgotten."""
        span, ending = Span(FIRST, FIRST + 9, 5.0, 5.5), Ending(position=FIRST + 1, at=9.0, tries=3, reason="busy")
        journal = self.journal()
        async with journal.open(tmp_path, restore) as partition:
            await partition.append(batch(0))
            for name in ("d/s", "d/t"):
                partition.commit(name, settled(FIRST + 9), Change(spans=[span], endings=[ending]))
            await partition.flush()
            partition.forget("d/t")
        async with journal.open(tmp_path, restore):
            pass
        with journal.inspect(tmp_path, restore) as inspection:
            told = [inspection.delivered("d/s", FIRST + i) for i in (0, 1, 8, 9)]
            assert told == [span, ending, span, None]
            assert [inspection.delivered("d/t", FIRST + i) for i in (0, 1)] == [None, None]
            assert inspection.endings("d/s", FIRST) == Endings(0, 0)
