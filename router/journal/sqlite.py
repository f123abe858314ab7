"""The default journal: an SQLite file, one writer task, group commit.

The writer takes all appends that wait, drops duplicates against what is committed and within the group,
writes one row, and only then answers every waiter, with the error too. It never waits for company: what
arrives while one commit is under way is the next group. Progress of subscriptions rides along with the next
commit, or goes alone after a moment.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

import anyio
import msgspec
import structlog
from anyio import to_thread

from router.errors import ConfigError, Retry, RouterError
from router.event import Event
from router.journal import (
    NOTHING,
    Change,
    DeadLetter,
    Follower,
    Inspection,
    Journal,
    Parked,
    Partition,
    Progress,
    Restore,
    Segment,
    Statistics,
)
from router.journal.database import Database, Sweep, Write, pack
from router.journal.inspection import SqliteInspection, events_of, trouble_of
from router.journal.report import CheckReport
from router.journal.seen import Seen
from router.journal.upkeep import Identify, Upkeep
from router.latency import Latency
from router.units import Duration, Size

GROUP = 4096
"""Events in one commit at most."""
LAZY = 0.2
"""Seconds that progress may wait for a commit to ride along with."""
SWEEP = 1.0
"""Seconds between two looks at what may be deleted."""
PRESSURE = 0.8
"""Above this share of the quota, settled events go before their retention is over."""

log = structlog.get_logger("journal")


class SqliteJournal(Journal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep the log in `journal.db` under the state folder.

    `quota` bounds its size: when it is full of events that somebody still needs, intake is refused until
    they are settled. `retention` is how long settled events are kept for replay and explanation, as far as
    the quota allows. `duplicates` is how long an id is remembered.
    """

    quota: Size = 20 * 2**30
    retention: Duration = 7 * 86400.0
    duplicates: Duration = 86400.0

    @asynccontextmanager
    async def open(self, state: Path, restore: Restore) -> AsyncGenerator[Partition]:
        """Open or create the file; raises `ConfigError` if another process has it or it cannot be read."""
        with _lock(state):
            database = Database(state / "journal.db")
            reader = Database(state / "journal.db", readonly=True)
            try:
                partition = _SqlitePartition(self, database, reader, restore)
                await partition.recall()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partition.write)
                    try:
                        yield partition
                    finally:
                        if not partition.ended:
                            with anyio.CancelScope(shield=True):
                                await partition.flush()
                        tasks.cancel_scope.cancel()
            finally:
                reader.close()
                database.close()

    @contextmanager
    def inspect(self, state: Path, restore: Restore) -> Generator[Inspection]:
        """Read the file; raises `RouterError` if there is none."""
        path = _existing(state)
        with closing(Database(path, readonly=True)) as database:
            try:
                yield SqliteInspection(database, restore)
            except sqlite3.Error as error:
                raise RouterError(f"{path}: {error} (see `router journal check`)") from error

    def examine(self, state: Path, identify: Identify) -> CheckReport:
        """Read every row; raises `RouterError` if there is no file, or SQLite cannot read it."""
        with closing(Upkeep(_existing(state), readonly=True)) as upkeep:
            return upkeep.check(identify)

    def repair(self, state: Path) -> int:
        """Set damaged rows aside in `journal.aside.jsonl`."""
        path = _existing(state)
        with _lock(state), _told(path), closing(Upkeep(path)) as upkeep:
            return upkeep.repair(state)

    def compact(self, state: Path, active: Iterable[str]) -> tuple[int, int]:
        """Sweep as the daemon would, all at once, and shrink the file; needs as much free space as is left in it."""
        path, now = _existing(state), time.time()
        with _lock(state), _told(path), closing(Upkeep(path)) as upkeep:
            before = path.stat().st_size
            progress = upkeep.progress()
            settled = min((progress[name].position for name in active if name in progress), default=0)
            upkeep.compact(settled, now - self.retention, now - self.duplicates)
            return before, path.stat().st_size


def _existing(state: Path) -> Path:
    path = state / "journal.db"
    if not path.exists():
        raise RouterError(f"no journal at {path} (has the router run on this state folder?)")
    return path


@contextmanager
def _told(path: Path) -> Generator[None]:
    """Say in one line what the disk or SQLite did not let us do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise RouterError(f"{path}: {error}") from error


@contextmanager
def _lock(state: Path) -> Generator[None]:
    """Hold the folder for this process."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise ConfigError(
            "state", f"cannot use {state}: {error.strerror}", "name a folder that can be written"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ConfigError(
            "state", f"another router is running on {state}", "stop it, or name another folder"
        ) from error
    try:
        yield
    finally:
        os.close(handle)


class _Waiting:
    """An append that waits for its commit."""

    __slots__ = ("done", "error", "events")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.done = anyio.Event()
        self.error: Retry | None = None


def _answer(group: Iterable[_Waiting], error: Retry | None) -> None:
    """Answer those that were not answered yet."""
    for waiting in group:
        if not waiting.done.is_set():
            waiting.error = error
            waiting.done.set()


class _Group(msgspec.Struct):
    """What one commit writes of the appends: the new events; and how many were not new, by source."""

    fresh: dict[bytes, Event]
    repeated: Counter[str]


class _SqlitePartition:
    def __init__(self, config: SqliteJournal, database: Database, reader: Database, restore: Restore) -> None:
        self._config = config
        self._database = database
        self._reader = reader
        self._restore = restore
        self._read_limiter = anyio.CapacityLimiter(1)
        self._seen = Seen(config.duplicates)
        self._waiting: deque[_Waiting] = deque()
        self._wake = anyio.Event()
        self._follower: Follower | None = None
        self._progress = database.progress()
        self._marks = database.marks()
        self._dirty: dict[str, Progress | None] = {}
        self._changes: list[tuple[str, Change]] = []
        self._dead_counts = database.dead_counts()
        self._active: frozenset[str] = frozenset()
        self._head = database.head()
        self._tail = database.tail()
        self._used = database.used()
        self._swept = 0.0
        self._noted = 0.0
        self._writing = False
        self.ended = False
        """Whether the writer has ended, so that nothing can be committed any more."""
        self._repeated: Counter[str] = Counter()
        self._latency = Latency()
        self._commits = 0

    async def recall(self) -> None:
        """Read the ids of the duplicate window back."""
        since = time.time() - self._config.duplicates
        for received, ids in await to_thread.run_sync(lambda: list(self._database.seen(since))):
            self._seen.add([ids[i : i + 16] for i in range(0, len(ids), 16)], received)

    @property
    def head(self) -> int:
        return self._head

    @property
    def tail(self) -> int:
        return self._tail

    @property
    def full(self) -> bool:
        return self._used >= self._config.quota

    @property
    def _owing(self) -> bool:
        """Whether there is something to write that nobody waits for."""
        return bool(self._dirty or self._changes) or self.full

    def follow(self, follower: Follower) -> None:
        self._follower = follower

    async def append(self, events: Sequence[Event]) -> None:
        if self.full:
            raise Retry(f"the journal is at its quota of {self._config.quota} bytes", 5.0)
        await self._written(events)

    async def flush(self) -> None:
        await self._written(())

    async def _written(self, events: Sequence[Event]) -> None:
        if self.ended:
            raise Retry("the journal's writer has ended")
        waiting = _Waiting(events)
        self._waiting.append(waiting)
        self._wake.set()
        await waiting.done.wait()
        if waiting.error:
            raise waiting.error

    async def read(self, position: int, limit: int) -> Segment:
        head = self._head  # a commit may be on disk already that the follower has not been told of
        if position >= head:
            return Segment(head, ())
        batches = await to_thread.run_sync(self._reader.read, position, limit, limiter=self._read_limiter)
        events = [event for batch in batches for event in events_of(batch, self._restore)]
        if not batches:
            return Segment(head, ())
        first = batches[0].first
        skip = max(0, position - first)
        return Segment(first + skip, events[skip : head - first])

    def progress(self, name: str) -> Progress | None:
        return self._progress.get(name)

    def activate(self, names: Iterable[str]) -> None:
        self._active = frozenset(names)

    def commit(self, name: str, progress: Progress, change: Change = NOTHING) -> None:
        if not self._owing:
            self._wake.set()
        self._progress[name] = self._dirty[name] = progress
        if change is not NOTHING:
            self._changes.append((name, change))
            self._marks.setdefault(name, {}).update(change.marks)
            self._dead_counts[name] = self._dead_counts.get(name, 0) + len(change.dead) - len(change.undead)

    def forget(self, name: str) -> None:
        if not self._owing:
            self._wake.set()
        self._dirty[name] = None
        self._progress.pop(name, None)
        self._marks.pop(name, None)
        self._dead_counts.pop(name, None)

    async def parked(self, name: str, limit: int) -> Sequence[Parked]:
        await self._wait_written()
        rows = await to_thread.run_sync(self._reader.parked, name, limit, limiter=self._read_limiter)
        return [Parked(due=row.rest[0], times=row.rest[1], **trouble_of(row, self._restore)) for row in rows]

    async def dead_letters(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        await self._wait_written()
        rows = await to_thread.run_sync(self._reader.dead, name, after, limit, limiter=self._read_limiter)
        return [DeadLetter(kind=row.rest[0], **trouble_of(row, self._restore)) for row in rows]

    async def _wait_written(self) -> None:
        """Wait until what was committed can be read, also what the writer has in hand."""
        if self._owing or self._writing:
            await self.flush()

    async def stored_at(self, positions: Sequence[int]) -> Sequence[float | None]:
        try:
            return await to_thread.run_sync(self._reader.stored_at, positions, limiter=self._read_limiter)
        except sqlite3.Error as error:
            raise Retry(f"the journal cannot be read: {error}") from error

    def marks(self, name: str) -> Mapping[str, int]:
        return dict(self._marks.get(name, {}))

    def statistics(self) -> Statistics:
        return Statistics(
            head=self._head,
            tail=self._tail,
            duplicates=self._repeated.total(),
            repeated=dict(self._repeated),
            commit_seconds=self._latency.snapshot(),
            commits=self._commits,
            bytes=self._used,
            quota=self._config.quota,
            full=self.full,
            dead={n: c for n, c in self._dead_counts.items() if c},
        )

    async def write(self) -> None:
        """Commit what waits, group by group, for ever; if it ends all the same, nobody waits for it in vain."""
        taken: list[_Waiting] = []
        try:
            while True:
                if not (self._waiting or self._owing):
                    await self._wake.wait()
                self._wake = anyio.Event()
                if not self._waiting:
                    with anyio.move_on_after(LAZY):
                        await self._wake.wait()
                taken = self._take()
                await self._write(taken)
        finally:
            self.ended = True
            _answer([*taken, *self._waiting], Retry("the journal's writer has ended"))

    async def _write(self, taken: Sequence[_Waiting]) -> None:
        """Commit a group and answer it, with the error too."""
        try:
            await self._commit(taken)
        except (sqlite3.Error, OSError) as problem:
            log.error("journal cannot write", error=str(problem))  # noqa: TRY400 - the callers are told
            error = Retry(f"the journal cannot write: {problem}", 1.0)
            error.__cause__ = problem
            _answer(taken, error)
            if not taken:
                await anyio.sleep(1)
        else:
            _answer(taken, None)

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        size = 0
        while self._waiting and size < GROUP:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].events)
        return taken

    async def _commit(self, taken: Sequence[_Waiting]) -> None:
        group = self._gather(taken)
        progress: dict[str, Progress | None] = {}
        changes: list[tuple[str, Change]] = []
        flushed = not all(waiting.events for waiting in taken)
        if flushed or not group.fresh or time.monotonic() - self._noted >= LAZY:
            progress, self._dirty = self._dirty, {}
            changes, self._changes = self._changes, []
            self._noted = time.monotonic()
        events = list(group.fresh.values())
        write = self._plan(group, events, progress, changes)
        started = time.monotonic()
        try:
            self._writing = True
            swept = await to_thread.run_sync(partial(self._store, write))
        except BaseException:
            self._dirty = progress | self._dirty
            self._changes = changes + self._changes
            raise
        finally:
            self._writing = False
        self._latency.observe(time.monotonic() - started)
        self._used, self._tail = swept or (self._used + len(write.body) + len(write.ids), self._tail)
        self._commits += 1
        self._repeated += group.repeated
        if events:
            segment = Segment(self._head, events)
            self._head = segment.end
            self._seen.add(list(group.fresh), write.received)
            if self._follower:
                self._follower(segment)

    def _gather(self, taken: Sequence[_Waiting]) -> _Group:
        fresh: dict[bytes, Event] = {}
        repeated: Counter[str] = Counter()
        seen = self._seen
        for waiting in taken:
            for event in waiting.events:
                key = bytes.fromhex(event.id)
                if key in fresh or key in seen:
                    repeated[event.source] += 1
                else:
                    fresh[key] = event
        return _Group(fresh, repeated)

    def _plan(
        self,
        group: _Group,
        events: Sequence[Event],
        progress: Mapping[str, Progress | None],
        changes: Sequence[tuple[str, Change]],
    ) -> Write:
        now = time.time()
        return Write(
            first=self._head,
            received=now,
            ids=b"".join(group.fresh),
            body=pack(events),
            count=len(events),
            progress=progress,
            changes=changes,
            sweep=self._sweep(now),
        )

    def _sweep(self, now: float) -> Sweep | None:
        """Say what may be deleted, once in a while; more often when space is short."""
        pressed = self._used > self._config.quota * PRESSURE
        if 0 <= now - self._swept < (LAZY if pressed else SWEEP):
            return None
        self._swept = now
        settled = min((p.position for n, p in self._progress.items() if n in self._active), default=0)
        keep_from = math.inf if pressed else now - self._config.retention
        return Sweep(settled, keep_from, now - self._config.duplicates)

    def _store(self, write: Write) -> tuple[int, int] | None:
        """Write; after a sweep, look how large the file is, and what is the oldest in it."""
        self._database.write(write)
        return (self._database.used(), self._database.tail()) if write.sweep else None
