"""The partition of the SQLite journal: what the engine sees of it; it reads, and leaves writing to the writer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from router.errors import Retry
from router.event import Event
from router.journal import (
    NOTHING,
    Change,
    DeadLetter,
    Follower,
    Held,
    Holder,
    Parked,
    Progress,
    Restore,
    Segment,
    Statistics,
    holding,
)
from router.journal.database import Database
from router.journal.inspection import trouble_of
from router.journal.ledger import Ledger
from router.journal.replay import Replay
from router.journal.stored import StoredEvents
from router.journal.writer import Writer

Answer = TypeVar("Answer")
Asked = TypeVarTuple("Asked")


class SqlitePartition:
    """The one partition of the journal; see `router.journal.Partition`."""

    def __init__(self, writer: Writer, ledger: Ledger, reader: Database, restore: Restore, lost: int) -> None:
        self._writer = writer
        self._ledger = ledger
        self._reader = reader
        self._restore = restore
        self._lost = lost
        self._read_limiter = anyio.CapacityLimiter(1)
        self._holding_now = ""
        self._holding_until = 0.0

    @property
    def head(self) -> int:
        """The position that the next event will get."""
        return self._writer.head

    @property
    def tail(self) -> int:
        """The oldest position still kept."""
        return self._writer.tail

    def follow(self, follower: Follower) -> None:
        """Tell the follower of everything appended from now on."""
        self._writer.follower = follower

    async def append(self, events: Sequence[Event]) -> None:
        """Make the events safe; raises `Retry` when they could not be."""
        if self._writer.full:
            raise Retry(
                f"the journal is at its quota of {self._writer.limits.quota} bytes", 5.0, detail=self._holding()
            )
        await self._writer.append(events)

    async def flush(self) -> None:
        """Make all progress durable; raises `Retry` when it could not be."""
        await self._writer.append(())

    def holders(self) -> Sequence[Holder]:
        """Return which subscriptions hold how much of the journal, most first."""
        sizes, head = self._writer.sizes, self.head
        held = [Holder(n, p, sizes.since(p)) for n, p in self._ledger.needed.items() if p < head]
        return sorted(held, key=lambda one: -one.bytes)

    def last(self, size: int) -> int:
        """Return the position from which on the events take no more than about so many bytes."""
        return self._writer.sizes.last(size)

    def _holding(self) -> str:
        """Say whose events hold the space; looked up once a second, however many are refused."""
        now = time.monotonic()
        if now >= self._holding_until:
            self._holding_until = now + 1.0
            self._holding_now = holding(self.holders())
        return self._holding_now

    async def read(self, position: int, limit: int) -> Segment:
        """Return about `limit` events from `position` on."""
        head = self.head  # a commit may be on disk already that the follower has not been told of
        if position >= head:
            return Segment(head, ())
        batches = await self._ask(self._reader.batches.read, position, limit)
        if not batches:
            return Segment(head, ())
        first = max(position, batches[0].first)
        end = min(head, batches[-1].first + batches[-1].count)
        return Segment(first, StoredEvents(batches, first - batches[0].first, end - first, self._restore))

    def progress(self, name: str) -> Progress | None:
        """Return what was committed last for the subscription."""
        return self._ledger.progress(name)

    @property
    def names(self) -> Sequence[str]:
        """All subscriptions that ever committed and were not forgotten."""
        return self._ledger.names

    def activate(self, names: Iterable[str]) -> None:
        """Say which subscriptions run."""
        self._ledger.activate(names)

    def commit(self, name: str, progress: Progress, change: Change = NOTHING) -> None:
        """Note the progress and the change, as one."""
        if not self._writer.owing:
            self._writer.wake()
        self._ledger.commit(name, progress, change, self._writer.tail)

    def forget(self, name: str) -> None:
        """Drop all that is kept of a subscription."""
        if not self._writer.owing:
            self._writer.wake()
        self._ledger.forget(name)

    def rename(self, old: str, new: str) -> None:
        """Move all that is kept of a subscription to another name."""
        if not self._writer.owing:
            self._writer.wake()
        self._ledger.rename(old, new)

    async def parked(self, name: str, limit: int) -> Sequence[Parked]:
        """Return the subscription's parked events that are due first."""
        await self._wait_written()
        rows = await self._ask(self._reader.records.parked, name, limit)
        return [Parked(due=row.rest[0], times=row.rest[1], **trouble_of(row, self._restore)) for row in rows]

    async def held(self, name: str, first: int, end: int) -> Held:
        """Return the ids of what the subscription has parked and dead from one position to before another."""
        progress = self._ledger.progress(name)
        if not (progress and progress.parked) and not self._ledger.dead.get(name):
            return Held({}, {})
        await self._wait_written()

        def read() -> Held:
            between = self._reader.records.held_between
            return Held(between("parked", name, first, end), between("dead", name, first, end))

        return await to_thread.run_sync(read, limiter=self._read_limiter)

    def replays(self, name: str) -> Sequence[Replay]:
        """Return the subscription's replays."""
        return self._ledger.replays(name)

    async def dead_letters(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return the subscription's dead letters at positions above `after`."""
        await self._wait_written()
        rows = await self._ask(self._reader.records.dead, name, after, limit)
        return [DeadLetter(kind=row.rest[0], **trouble_of(row, self._restore)) for row in rows]

    async def expired(self, name: str, keep: int) -> Sequence[DeadLetter]:
        """Return the oldest of the subscription's letters that expired, of those beyond the newest `keep`."""
        if self._ledger.dead.get(name, 0) <= keep:
            return ()
        await self._wait_written()
        rows = await self._ask(self._reader.records.expired, name, keep)
        return [DeadLetter(kind=row.rest[0], **trouble_of(row, self._restore)) for row in rows]

    async def _wait_written(self) -> None:
        """Wait until what was committed can be read, also what the writer has in hand."""
        if self._writer.owing or self._writer.busy:
            await self.flush()

    async def stored_at(self, positions: Sequence[int]) -> Sequence[float | None]:
        """Return when the events at these positions were stored."""
        return await self._ask(self._reader.batches.stored_at, positions)

    async def _ask(self, read: Callable[[*Asked], Answer], *what: *Asked) -> Answer:
        """Read in a thread, one at a time."""
        try:
            return await to_thread.run_sync(read, *what, limiter=self._read_limiter)
        except sqlite3.Error as error:
            raise Retry(f"the journal cannot be read: {error} (see `router journal check`)") from error

    def marks(self, name: str) -> Mapping[str, int]:
        """Return the positions that the subscription's sink keeps of itself."""
        return self._ledger.marks(name)

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        writer = self._writer
        return Statistics(
            head=writer.head,
            tail=writer.tail,
            duplicates=writer.repeated.total(),
            repeated=dict(writer.repeated),
            commit_seconds=writer.commit_seconds(),
            commits=writer.commits,
            bytes=writer.used,
            quota=writer.limits.quota,
            held=writer.held,
            full=writer.full,
            failing=writer.failing,
            failing_since=writer.failing_since,
            dead=self._ledger.dead,
            lost=self._lost,
        )
