"""The journal in memory: for tests, and for those who need no promise beyond this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import cast

from router.errors import Retry, RouterError
from router.event import Event
from router.journal import (
    FIRST,
    NOTHING,
    Change,
    DeadLetter,
    Follower,
    Held,
    Holder,
    Inspection,
    Journal,
    Parked,
    Partition,
    Progress,
    Restore,
    Segment,
    Statistics,
)
from router.journal.replay import Replay
from router.journal.seen import Seen


class MemoryJournal(Journal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep everything in memory, up to `limit` events that somebody still needs; all is gone at exit."""

    limit: int = 1_000_000
    duplicates: float = 86400.0

    @asynccontextmanager
    async def open(self, state: Path, restore: Restore) -> AsyncGenerator[Partition]:  # noqa: ARG002 - the contract's
        """Yield an empty partition."""
        yield _MemoryPartition(self.limit, Seen(self.duplicates))

    def inspect(self, state: Path, restore: Restore) -> AbstractContextManager[Inspection]:  # noqa: ARG002
        """Raise: only its own process can see it."""
        raise RouterError("a journal in memory cannot be read from another process; see `router status`")


class _MemoryPartition:
    def __init__(self, limit: int, seen: Seen) -> None:
        self._limit = limit
        self._seen = seen
        self._events: list[Event] = []
        self._tail = FIRST
        self._progress: dict[str, Progress] = {}
        self._parked: dict[str, dict[int, Parked]] = {}
        self._dead: dict[str, dict[int, DeadLetter]] = {}
        self._marks: dict[str, dict[str, int]] = {}
        self._replays: dict[str, dict[int, Replay]] = {}
        self._follower: Follower | None = None
        self._repeated: Counter[str] = Counter()
        self._stored: list[float] = []
        self._commits = 0

    @property
    def head(self) -> int:
        return self._tail + len(self._events)

    @property
    def tail(self) -> int:
        return self._tail

    def follow(self, follower: Follower) -> None:
        self._follower = follower

    async def append(self, events: Sequence[Event]) -> None:
        if len(self._events) + len(events) > self._limit:
            self._forget()
        if len(self._events) + len(events) > self._limit:
            raise Retry(f"the journal in memory is full ({self._limit} events that a subscription still needs)", 1.0)
        fresh: dict[bytes, Event] = {}
        for event in events:
            key = bytes.fromhex(event.id)
            if key in fresh or key in self._seen:
                self._repeated[event.source] += 1
            else:
                fresh[key] = event
        if not fresh:
            return
        segment = Segment(self.head, list(fresh.values()))
        now = time.time()
        self._seen.add(list(fresh), now)
        self._events.extend(segment.events)
        self._stored += [now] * len(segment.events)
        self._commits += 1
        if self._follower:
            self._follower(segment)

    def holders(self) -> Sequence[Holder]:
        held = [Holder(n, p, self._size(p)) for n, p in self._needed().items() if p < self.head]
        return sorted(held, key=lambda one: -one.bytes)

    def last(self, size: int) -> int:
        position = self.head
        while position > self._tail and (size := size - len(self._events[position - 1 - self._tail].raw)) >= 0:
            position -= 1
        return position

    def _size(self, position: int) -> int:
        return sum(len(event.raw) for event in self._events[max(position - self._tail, 0) :])

    async def read(self, position: int, limit: int) -> Segment:
        first = max(position, self._tail)
        start = first - self._tail
        return Segment(first, self._events[start : start + limit])

    def progress(self, name: str) -> Progress | None:
        return self._progress.get(name)

    @property
    def names(self) -> Sequence[str]:
        return list(self._progress)

    def _needed(self) -> Mapping[str, int]:
        return {name: one.position for name, one in self._progress.items() if not one.over}

    def activate(self, names: Iterable[str]) -> None:
        pass

    def commit(self, name: str, progress: Progress, change: Change = NOTHING) -> None:
        self._progress[name] = progress
        parked, dead = self._parked.setdefault(name, {}), self._dead.setdefault(name, {})
        for position in change.unparked:
            parked.pop(position, None)
        for position in change.undead:
            dead.pop(position, None)
        parked |= {one.position: one for one in change.parked}
        dead |= {one.position: one for one in change.dead}
        self._marks.setdefault(name, {}).update(change.marks)
        replays = self._replays.setdefault(name, {})
        replays |= {one.number: one for one in change.replays}
        for number in change.forgotten:
            replays.pop(number, None)

    def forget(self, name: str) -> None:
        for kept in (self._progress, self._parked, self._dead, self._marks, self._replays):
            kept.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        for kept in (self._progress, self._parked, self._dead, self._marks, self._replays):
            if old in kept:
                cast("dict[str, object]", kept)[new] = kept.pop(old)

    async def flush(self) -> None:
        pass

    async def parked(self, name: str, limit: int) -> Sequence[Parked]:
        return sorted(self._parked.get(name, {}).values(), key=lambda p: (p.due, p.position))[:limit]

    async def held(self, name: str, first: int, end: int) -> Held:
        parked, dead = self._parked.get(name, {}), self._dead.get(name, {})
        return Held(
            {p: one.event.id for p, one in parked.items() if first <= p < end},
            {p: one.event.id for p, one in dead.items() if first <= p < end},
        )

    def replays(self, name: str) -> Sequence[Replay]:
        return list(self._replays.get(name, {}).values())

    async def dead_letters(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        letters = self._dead.get(name, {})
        return [letters[position] for position in sorted(letters) if position > after][:limit]

    async def expired(self, name: str, keep: int) -> Sequence[DeadLetter]:
        letters = sorted(self._dead.get(name, {}).values(), key=lambda one: one.position)
        return [one for one in letters if one.kind == "expired"][: -keep or None]

    def marks(self, name: str) -> Mapping[str, int]:
        return dict(self._marks.get(name, {}))

    async def stored_at(self, positions: Sequence[int]) -> Sequence[float | None]:
        return [self._stored[max(p - self._tail, 0)] if p < self.head else None for p in positions]

    def statistics(self) -> Statistics:
        return Statistics(
            head=self.head,
            tail=self._tail,
            duplicates=self._repeated.total(),
            repeated=dict(self._repeated),
            commits=self._commits,
            bytes=0,
            quota=0,
            full=len(self._events) >= self._limit,
            dead={n: len(d) for n, d in self._dead.items() if d},
        )

    def _forget(self) -> None:
        """Drop what every subscription has settled."""
        needed = min(self._needed().values(), default=self.head)
        del self._events[: needed - self._tail], self._stored[: needed - self._tail]
        self._tail = max(self._tail, needed)
