"""The writer of the SQLite journal: one task, group commit.

It takes all appends that wait, drops duplicates against what is committed and within the group, writes one row, and
only then answers every waiter, with the error too. It never waits for company: what arrives while one commit is under
way is the next group. Progress of subscriptions rides along with the next commit, or goes alone after a moment.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial

import anyio
import msgspec
import structlog
from anyio import to_thread

from router.bell import Bell
from router.errors import Retry
from router.event import Event
from router.journal import Follower, Segment
from router.journal.batches import pack
from router.journal.database import Database, Write
from router.journal.duplicates import ID, DuplicateWindow, keyed
from router.journal.housekeeping import HURRY, Housekeeping, Limits
from router.journal.keeper import LOOK, GoneError, Keeper
from router.journal.ledger import Ledger, Unwritten
from router.journal.sizes import Sizes
from router.journal.waiting import Waiting, answer
from router.latency import Latencies, Latency
from router.worker import Worker

GROUP = 4096
"""Events in one commit at most."""
LAZY = 0.2
"""Seconds that progress may wait for a commit to ride along with."""
AGAIN = 1.0
"""Seconds until the next try after a commit failed that nobody waited for."""
SEALED = 4
"""Sealed pieces of the duplicate window, of 128 KiB each, that are stored with one commit at most."""
PUT_BACK = "put them back as they were, and it goes on; or stop the router: what is not there is lost at its next start"
log = structlog.get_logger("journal")


class _Group(msgspec.Struct, frozen=True):
    """What one commit writes of the appends: the new events by id; and how many were not new, by source."""

    fresh: dict[bytes, Event]
    repeated: Counter[str]


class _Stored(msgspec.Struct, frozen=True):
    """What a commit did: after a sweep, the bytes in use and the tail; and what is wrong with the files since."""

    swept: tuple[int, int] | None
    gone: str


class Writer:
    """Writes what is appended, and what the ledger has not written yet."""

    def __init__(self, limits: Limits, database: Database, ledger: Ledger, worker: Worker, keeper: Keeper) -> None:
        self.limits = limits
        self.head = database.head()
        self.tail = database.tail()
        self.used = database.used()
        """Bytes that the journal takes."""
        self.sizes = Sizes(self.tail, self.head, self.used if self.head > self.tail else 0)
        self.busy = False
        """Whether a commit is under way."""
        self.failing = ""
        """Why nothing can be written, as the last commit said; empty if it could."""
        self.failing_since = 0.0
        self.ended = False
        """Whether the writer has ended, so that nothing can be committed any more."""
        self.commits = 0
        self.repeated: Counter[str] = Counter()
        """The duplicates, by source."""
        self.follower: Follower | None = None
        self._database = database
        self._ledger = ledger
        self._worker = worker
        self._keeper = keeper
        self._window = DuplicateWindow(limits.duplicates, keyed(database.prints.secret()))
        self._closed = anyio.Event()
        self._waiting: deque[Waiting] = deque()
        self._bell = Bell()
        self._housekeeping = Housekeeping(limits)
        self._noted = 0.0
        self._latency = Latency()

    async def recall(self) -> None:
        """Have the duplicate window back."""
        since = time.time() - self.limits.duplicates
        batches, prints = self._database.batches, self._database.prints
        rows = partial(batches.ids_between, since=since)
        await to_thread.run_sync(lambda: self._window.recall(prints.kept(since), rows))

    @property
    def full(self) -> bool:
        """Whether it takes nothing more."""
        return self.used >= self.limits.quota

    @property
    def owing(self) -> bool:
        """Whether there is something to write that nobody waits for; a try, if the last one failed."""
        return self._ledger.dirty or self.full or self._housekeeping.more or self._window.owing or bool(self.failing)

    @property
    def held(self) -> int:
        """Bytes that may not be deleted: events that somebody needs, and what is parked and dead."""
        sizes = self.sizes
        return self.used - max(sizes.up_to(self._ledger.settled) - sizes.up_to(self.tail), 0)

    def commit_seconds(self) -> Latencies:
        """Return how long the commits took."""
        return self._latency.snapshot()

    def wake(self) -> None:
        """Say that the ledger has something to write."""
        self._bell.ring()

    async def append(self, events: Sequence[Event]) -> None:
        """Return when the events are safe, and with them all that was in the ledger if there are none."""
        if self.ended:
            raise Retry("the journal's writer has ended")
        waiting = Waiting(events)
        self._waiting.append(waiting)
        self._bell.ring()
        await waiting.done.wait()
        if waiting.error:
            raise waiting.error

    async def run(self) -> None:
        """Commit what waits, group by group, for ever; if it ends all the same, nobody waits for it in vain."""
        taken: list[Waiting] = []
        try:
            while True:
                if not (self._waiting or self.owing):
                    await self._bell.wait()
                if not self._waiting:
                    await self._bell.wait(HURRY if self._housekeeping.more else LAZY)
                taken = self._take()
                await self._write(taken)
        finally:
            self.ended = True
            answer([*taken, *self._waiting], Retry("the journal's writer has ended"))

    async def seal(self) -> None:
        """Seal what the duplicate window has closed, for ever; in a thread, for it takes milliseconds."""
        while True:
            await self._closed.wait()
            self._closed = anyio.Event()
            while self._window.closed:
                self._window.keep(await to_thread.run_sync(self._window.seal))
            self._bell.ring()

    async def _write(self, taken: Sequence[Waiting]) -> None:
        """Commit a group and answer it, with the error too."""
        try:
            await self._commit(taken)
        except (sqlite3.Error, OSError) as problem:
            await self._fail(problem)
            error = Retry(f"the journal cannot write: {problem}", 1.0)
            error.__cause__ = problem
            answer(taken, error)
            if not (taken or self._waiting):
                await self._bell.wait(AGAIN)
        else:
            if self.failing:
                log.info("journal can write again", seconds=round(time.time() - self.failing_since, 1))
                self.failing_since = 0.0
            self.failing = ""
            answer(taken, None)

    async def _fail(self, problem: Exception) -> None:
        """Say it, once; from then on the journal is not ready."""
        before, self.failing = self.failing, str(problem)
        if not before:
            self.failing_since = time.time()
        if isinstance(problem, GoneError):
            if before != self.failing:
                log.error("the journal's files are gone: nothing is taken in", error=str(problem), hint=PUT_BACK)
                if not self._keeper.spoilt:
                    await self._worker.run(self._database.rescue)
        elif not before:
            log.error("journal cannot write", error=str(problem))

    async def watch(self) -> None:
        """See, for ever, whether the files are there when nothing is committed either."""
        while True:
            await anyio.sleep(LOOK)
            if gone := await self._worker.run(self._keeper.look):
                await self._fail(GoneError(gone))
                self._bell.ring()  # or nobody would see that they are back

    def _take(self) -> list[Waiting]:
        taken: list[Waiting] = []
        size = 0
        while self._waiting and size < GROUP:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].events)
        return taken

    async def _commit(self, taken: Sequence[Waiting]) -> None:
        group = await self._gather(taken)
        unwritten = Unwritten()
        flushed = not all(waiting.events for waiting in taken)
        if flushed or not group.fresh or time.monotonic() - self._noted >= LAZY:
            unwritten = self._ledger.take()
            self._noted = time.monotonic()
        write = self._plan(group, unwritten)
        started = time.monotonic()
        try:
            self.busy = True
            stored = await self._worker.run(partial(self._store, write))
        except BaseException:
            self._ledger.put_back(unwritten)
            raise
        finally:
            self.busy = False
        self._latency.observe(time.monotonic() - started)
        self.used, self.tail = stored.swept or (self.used + len(write.body) + len(write.ids), self.tail)
        if stored.swept:
            self.sizes.forget(self.tail)
        self._window.stored(write.sealed)
        self.commits += 1
        if group.repeated:
            self.repeated += group.repeated
        if group.fresh:
            segment = Segment(self.head, list(group.fresh.values()))
            self.head = segment.end
            self.sizes.add(self.head, len(write.body) + len(write.ids))
            self._remember(write.first, list(group.fresh), write.received)
            if self.follower:
                self.follower(segment)
        if stored.gone:  # it is written, but perhaps to where nobody finds it: nobody is told that it is safe
            raise GoneError(stored.gone)

    def _remember(self, first: int, keys: Sequence[bytes], now: float) -> None:
        self._window.add(first, keys, now)
        if self._window.closed:
            self._closed.set()

    async def _gather(self, taken: Sequence[Waiting]) -> _Group:
        """Tell new events from those that were journalled before; where there is doubt, the journal's ids say it."""
        events = [event for waiting in taken for event in waiting.events]
        keys = [bytes.fromhex(event.id) for event in events]
        found = self._window.find(keys)
        known = found.known
        if found.doubtful:
            held = await to_thread.run_sync(self._database.batches.ids_at, found.positions)
            known = found.duplicates(held)
        fresh: dict[bytes, Event] = dict(zip(keys, events, strict=True))
        repeated: Counter[str] = Counter()
        if len(fresh) == len(keys) and not known:
            return _Group(fresh, repeated)
        fresh.clear()
        for key, event in zip(keys, events, strict=True):
            if key in fresh or key in known:
                repeated[event.source] += 1
            else:
                fresh[key] = event
        return _Group(fresh, repeated)

    def _plan(self, group: _Group, unwritten: Unwritten) -> Write:
        now = time.time()
        sweep, tidied = self._housekeeping.plan(now, self.used, self._ledger)
        return Write(
            first=self.head,
            received=now,
            ids=b"".join(group.fresh),
            body=pack(list(group.fresh.values())),
            unwritten=unwritten,
            sealed=self._window.owed(SEALED),
            sweep=sweep,
            tidied=tidied,
            probe=bool(self.failing),
        )

    def _store(self, write: Write) -> _Stored:
        """Write; after a sweep, look how large the file is, and what is the oldest in it."""
        if gone := self._keeper.look() if self.failing else self._keeper.cut():
            raise GoneError(gone)
        self._housekeeping.more = self._database.write(write)
        swept = (self._database.used(), self._database.tail()) if write.sweep else None
        try:
            self._keeper.note(write.first + len(write.ids) // ID, write.received)
        except OSError as error:
            return _Stored(swept, str(error))
        return _Stored(swept, self._keeper.missing())
