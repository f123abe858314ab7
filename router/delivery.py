"""Delivery: one subscription from its feed to its sink; the last station of an event's way.

A feeder takes chunks and puts them on the agenda in batches; workers take them off and deliver them, as many at once
as the valve allows. What fails is tried again without keeping a worker, then parked, then given up on, only what
failed; it holds up nobody but its own subscription. Progress is committed whenever the low-water mark moves.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import replace

from router.agenda import Agenda, Work
from router.breaker import Breaker, BreakerPolicy, Concurrency, Rate
from router.dispatch import Chunk
from router.errors import Reject
from router.event import Batch, Event
from router.journal import Change, DeadLetter, Parked, Progress, State
from router.latency import Latency
from router.plugin import Deliver, Sink, Step
from router.retry import Outcome, Policy, judge, pause
from router.settlement import faulty, put_off, reborn, refused
from router.steps import apply
from router.window import Window

WINDOW = 2
"""Batches for each call in flight that are taken from the feed before the first of them is settled."""
PARKED_AT_ONCE = 500
"""Parked events that are read back at a time."""

Kept: TypeAlias = tuple[int, Event, Event]
"""The position of an event, the form in which it goes out, and the one in which it was journalled."""

log = structlog.get_logger("delivery")


class Books(Protocol):
    """What a delivery needs of feed and journal, for its own subscription alone."""

    async def take(self, limit: int) -> Chunk:
        """Return the next chunk of about `limit` events, waiting until there is one."""
        ...

    def rewind(self, position: int) -> None:
        """Make `take` start over from a position."""
        ...

    def commit(self, progress: Progress, change: Change) -> None:
        """Keep the progress and the change."""
        ...

    async def parked(self, limit: int) -> Sequence[Parked]:
        """Return the parked events that are due first."""
        ...

    def marks(self) -> Mapping[str, int]:
        """Return the positions that the sink keeps of itself."""
        ...


class Delivery:
    """One subscription that delivers."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        steps: Sequence[Step],
        policy: Policy,
        breaker: BreakerPolicy,
        progress: Progress,
        books: Books,
    ) -> None:
        self.name = name
        self.policy = policy
        self.window = Window(progress)
        self.breaker = Breaker(breaker)
        self.concurrency = Concurrency(policy.in_flight)
        self.latency = Latency()
        self.matched = 0
        self.attempts = 0
        self.failures = 0
        self.in_flight = 0
        self.last_error = ""
        self._sink = sink
        self._steps = steps
        self._books = books
        self._agenda = Agenda()
        self._rate = Rate(policy.rate)
        self._calls = 0
        self._marks: dict[str, int] = {}
        self._reviving: set[int] = set()
        self._due = 0.0
        self._changed = anyio.Event()
        self._stopping = anyio.Event()
        self._feeding = anyio.CancelScope()

    @property
    def state(self) -> State:
        """Whether it delivers, or why not."""
        return self.window.progress.state

    @property
    def settled(self) -> bool:
        """Whether nothing is out."""
        return self.window.idle

    async def run(self) -> None:
        """Deliver until `stop()`; a sink that cannot be opened is tried again."""
        tries = 0
        while not self._stopping.is_set():
            tries += 1
            error = await self._attempt(self._serve())
            if error is None:
                return
            self.last_error = f"{type(error).__name__}: {error}"
            log.warning("sink does not open", subscription=self.name, error=self.last_error)
            self.window = Window(self.window.progress)
            self._agenda = Agenda()
            self._reviving.clear()
            self._calls = self.in_flight = 0
            self._books.rewind(self.window.progress.position)
            with anyio.move_on_after(pause(self.policy, tries, None)):
                await self._stopping.wait()

    def stop(self) -> None:
        """Take nothing more; `run` returns when the calls in flight have ended."""
        self._stopping.set()
        self._feeding.cancel()
        self._change()

    def skip(self, head: int) -> None:
        """Note that nothing up to `head` is wanted; only while nothing is out or waiting."""
        self.window.skip(head)
        self._advance()

    def turn(self, state: State) -> None:
        """Deliver, or stop delivering, by hand or because the destination is gone; it outlives a restart."""
        self.window.progress = replace(self.window.progress, state=state)
        self._commit(Change())
        self._change()

    def replay(self, letters: Sequence[DeadLetter], per_second: float, wait: float = 0.0) -> None:
        """Give dead letters another life: parked, due one after the other at this rate after `wait` seconds."""
        progress = self.window.progress
        before = sum(letter.position < progress.since for letter in letters)
        self.window.progress = replace(
            progress,
            dead=progress.dead - (len(letters) - before),
            carried=progress.carried + before,
            parked=progress.parked + len(letters),
        )
        now = time.time()
        parked = [reborn(letter, now + wait + index / per_second) for index, letter in enumerate(letters)]
        self._commit(Change(parked=parked, undead=[letter.position for letter in letters]))
        self._change()

    async def _serve(self) -> None:
        async with self._opened() as deliver, anyio.create_task_group() as tasks:
            tasks.start_soon(self._drive, deliver, tasks)
            tasks.start_soon(self._feed)
            tasks.start_soon(self._revive)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Deliver]:
        """Open the sink, at its own positions if it keeps any."""
        resumed = self._sink.resume(self._books.marks())
        if resumed is None:
            async with self._sink.open() as deliver:
                yield deliver
            return
        self._marks = {}
        async with resumed as place:

            async def deliver_and_mark(batch: Batch) -> None:
                self._marks.update(await place(batch))

            yield deliver_and_mark

    async def _feed(self) -> None:
        """Put what the feed gives on the agenda, no more than the window has room for.

        While there is a batch for every call, what comes is left in the feed, where it grows into larger ones.
        """
        limit = max(self.policy.batch, WINDOW * self.policy.in_flight * self.policy.batch)
        with anyio.CancelScope() as self._feeding:
            while not self._stopping.is_set():
                if self._agenda.open >= limit or self._agenda.ready >= self.policy.in_flight:
                    await self._wait_changed()
                    continue
                chunk = await self._books.take(self.policy.batch)
                for work in self._prepared(chunk):
                    self._agenda.add(work)
                self._advance()
                self._change()

    def _prepared(self, chunk: Chunk) -> Iterator[Work]:
        """Apply the steps and cut into batches; what steps leave out is filtered, what they fail on is dead."""
        slot = self.window.take(chunk.end, len(chunk.events))
        self.matched += len(chunk.events)
        now = time.time()
        kept: list[Kept] = []
        dead: list[DeadLetter] = []
        for position, event in zip(chunk.positions, chunk.events, strict=True):
            result = apply(self._steps, event)
            if isinstance(result, Reject):
                dead.append(faulty(position, event, result, now))
            elif result is not None:
                kept.append((position, result, event))
        self._mourn(dead)
        self.window.settle(slot, filtered=len(chunk.events) - len(kept) - len(dead), dead=dead)
        for lane, many in self._lanes(kept).items():
            for start in range(0, len(many), self.policy.batch):
                some = many[start : start + self.policy.batch]
                originals = [original for _, _, original in some] if self._steps else ()
                yield Work(slot, [p for p, _, _ in some], [e for _, e, _ in some], now, lane=lane, originals=originals)

    def _lanes(self, kept: list[Kept]) -> dict[str | None, list[Kept]]:
        if not self.policy.ordered:
            return {None: kept}
        lanes: dict[str | None, list[Kept]] = {}
        for one in kept:
            value = one[1].get(self.policy.key) if self.policy.key else ""
            lanes.setdefault(str(value), []).append(one)
        return lanes

    async def _revive(self) -> None:
        """Put parked events that are due on the agenda, and wait until they are settled before reading more."""
        while not self._stopping.is_set():
            wait: float | None = None
            if self.window.progress.parked and not self._reviving:
                wait = self._due - time.time()
                if wait <= 0:
                    await self._read_parked()
                    continue
            await self._wait_changed(wait)

    async def _read_parked(self) -> None:
        """Put those that are due on the agenda; note when the next one is."""
        self._due = math.inf
        parked = await self._books.parked(PARKED_AT_ONCE)
        now = time.time()
        due = [one for one in parked if one.due <= now]
        self._due = min([self._due, *(one.due for one in parked[len(due) : len(due) + 1])]) if not due else 0.0
        kept = self._revivable(due, now)
        for start in range(0, len(kept), self.policy.batch):
            some = kept[start : start + self.policy.batch]
            positions, troubles = [one.position for one, _ in some], [one for one, _ in some]
            originals = [one.event for one in troubles] if self._steps else ()
            self._reviving.update(positions)
            self._agenda.add(
                Work(None, positions, [event for _, event in some], now, troubles=troubles, originals=originals)
            )
        self._change()

    def _revivable(self, due: Sequence[Parked], now: float) -> list[tuple[Parked, Event]]:
        """Apply the steps to what was parked; settle those that they leave out or fail on."""
        kept: list[tuple[Parked, Event]] = []
        filtered: list[int] = []
        dead: list[DeadLetter] = []
        for one in due:
            result = apply(self._steps, one.event)
            if isinstance(result, Reject):
                dead.append(faulty(one.position, one.event, result, now, one))
            elif result is None:
                filtered.append(one.position)
            else:
                kept.append((one, result))
        if filtered or dead:
            self._mourn(dead)
            self._commit(self.window.revive(dead=dead, filtered=filtered))
        return kept

    async def _drive(self, deliver: Deliver, tasks: TaskGroup) -> None:
        """Start a call for each batch that may be tried, as many at once as the valve allows."""
        while not self._stopping.is_set():
            work = self._admit(anyio.current_time())
            if isinstance(work, Work):
                self._calls += 1
                tasks.start_soon(self._call, deliver, work)
            else:
                await self._wait_changed(work)

    def _admit(self, now: float) -> Work | float | None:
        """Return a batch that may be tried now, or else the seconds to wait; None to wait for a change."""
        if self.state != "active" or self._calls >= self.concurrency.limit:
            return None
        wait = self._agenda.wait(now)
        if wait != 0.0:
            return wait
        closed = self.breaker.enter(now)
        if closed != 0.0:
            return closed
        work = self._agenda.take(now)
        if work is not None and self.breaker.state == "half-open" and len(work.events) > 1:
            self._agenda.defer(work.lane, [work.only(range(1, len(work.events)), work.tries)])
            work = work.only([0], work.tries)
        return work

    async def _call(self, deliver: Deliver, work: Work) -> None:
        """Try a batch once, and note what became of it."""
        slow = self._rate.wait(len(work.events), anyio.current_time())
        if slow:
            with anyio.move_on_after(slow):
                await self._stopping.wait()
        if not self._stopping.is_set():
            self.attempts += 1
            self.in_flight += len(work.events)
            started = anyio.current_time()
            outcome = judge(await self._attempt(deliver(work.events)), len(work.events))
            self.in_flight -= len(work.events)
            now = anyio.current_time()
            self.latency.observe(now - started)
            self._note(work, outcome, now - started, now)
            self._settle(work, outcome, now)
        self._calls -= 1
        self._change()

    def _note(self, work: Work, outcome: Outcome, seconds: float, now: float) -> None:
        """Tell breaker and concurrency how the call went."""
        failed = outcome.again and not outcome.singly
        if failed and (outcome.whole or len(outcome.again) == len(work.events)):
            self.breaker.failed(work.positions[0], now, after=outcome.after)
            self.concurrency.failed(seconds, now)
        else:
            self.breaker.succeeded()
            self.concurrency.succeeded(seconds, now)
        if failed:
            self.failures += 1
            self.last_error = outcome.reason
            log.warning(
                "delivery failed",
                subscription=self.name,
                events=len(outcome.again),
                reason=outcome.reason,
                breaker=self.breaker.state,
            )
        if outcome.gone and self.state == "active":
            log.error("the destination is gone, the subscription waits until it is resumed", subscription=self.name)
            self.turn("gone")

    def _settle(self, work: Work, outcome: Outcome, now: float) -> None:
        """Put what is left of a batch back on the agenda, or park it, or give it up; the rest is delivered."""
        if outcome.singly:
            self._agenda.defer(work.lane, [work.only([i], work.tries) for i in range(len(work.events))])
            self._agenda.leave(work)
            return
        again = work.only(outcome.again, work.tries + 1)
        dead = [refused(work, i, error, time.time()) for i, error in outcome.refused]
        parked: list[Parked] = []
        if self._quick(again, outcome, whole=len(again.events) == len(work.events)):
            if again.events:
                self._agenda.again(again, now + pause(self.policy, again.tries, outcome.after))
        else:
            late = [put_off(self.policy, again, i, outcome, time.time()) for i in range(len(again.events))]
            parked = [one for one in late if isinstance(one, Parked)]
            dead += [one for one in late if isinstance(one, DeadLetter)]
            again = again.only((), 0)
        self._book(work, [*again.positions, *(one.position for one in (*parked, *dead))], parked, dead)
        if not again.events:
            self._agenda.leave(work)

    def _quick(self, again: Work, outcome: Outcome, *, whole: bool) -> bool:
        """Say whether what failed is tried again soon, rather than parked.

        In order, it always waits. While the breaker is not closed tries are not used up, and a whole batch that
        failed as one says that the destination is down: parking thousands would help nobody.
        """
        if self.policy.ordered or self.state != "active" or self.breaker.state != "closed":
            return True
        return again.tries < self.policy.tries or (outcome.whole and whole and len(again.events) > 1)

    def _book(self, work: Work, left: Sequence[int], parked: Sequence[Parked], dead: Sequence[DeadLetter]) -> None:
        """Enter in the window what the try settled: all but `left` is delivered."""
        self._mourn(dead)
        others = set(left)
        delivered = [position for position in work.positions if position not in others]
        done = len(delivered) + len(parked) + len(dead)
        self._agenda.settle(done)
        if work.slot is not None:
            self.window.settle(work.slot, delivered=len(delivered), parked=parked, dead=dead)
            self._advance()
        elif done:
            self._reviving.difference_update(delivered, (one.position for one in (*parked, *dead)))
            self._commit(self.window.revive(delivered, parked, dead))

    def _advance(self) -> None:
        change = self.window.advance()
        if change is not None:
            self._commit(change)

    def _commit(self, change: Change) -> None:
        """Keep progress, change and the sink's positions; look at what is parked when the first of it is due."""
        if self._marks:
            change, self._marks = replace(change, marks=self._marks), {}
        self._due = min([self._due, *(one.due for one in change.parked)])
        self._books.commit(self.window.progress, change)

    def _mourn(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self.last_error = letter.reason
            log.warning(
                "dead letter", subscription=self.name, event_id=letter.event.id, kind=letter.kind, reason=letter.reason
            )

    def _change(self) -> None:
        """Wake whoever waits for a change; the one who sets it replaces it, so that nobody misses it."""
        self._changed.set()
        self._changed = anyio.Event()

    async def _wait_changed(self, seconds: float | None = None) -> None:
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    async def _attempt(self, call: Coroutine[Any, Any, None]) -> Exception | None:
        """Await a plugin's coroutine and return its error."""
        try:
            await call
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; cancellation passes
            return error
        return None
