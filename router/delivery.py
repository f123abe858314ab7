"""Delivery: one subscription from its feed to its sink; the last station of an event's way.

A feeder takes chunks and puts them on the agenda in batches, and revival what was parked before; workers take them off
and deliver them, as many at once as the valve allows. A worker goes on with the next batch for as long as one may be
tried: so a batch costs no task, and wakes nobody who has nothing to do. What fails is tried again without keeping a
worker, then parked, then given up on, only what failed; it holds up nobody but its own subscription. The tally keeps
what became of all.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from router.admission import Admission
from router.agenda import Agenda
from router.bell import Bell
from router.books import Books
from router.breaker import BreakerPolicy
from router.expiry import Expiry
from router.journal import DeadLetter, Progress, State
from router.opening import opened, trouble
from router.plugin import Deliver, Sink, Step
from router.preparation import cut, prepare
from router.reckoning import WAITING, Reckoning
from router.replaying import Replaying
from router.retry import Policy, pause
from router.revival import Revival
from router.routed import Chunk
from router.tally import Tally
from router.valve import Valve
from router.work import Work

WINDOW = 2
"""Batches for each call in flight that are taken from the feed before the first of them is settled."""
BEHIND = 10_000
"""Events that may wait behind one of their lane that failed, so that those of other lanes go on."""

log = structlog.get_logger("delivery")


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
        self.tally = Tally(name, progress, books)
        self.valve = Valve(policy, breaker)
        self.matched = 0
        self._sink = sink
        self._steps = steps
        self._books = books
        self._room = max(policy.batch, WINDOW * policy.in_flight * policy.batch)
        self._satisfied = False
        """Whether the feeder waits until there is room for more."""
        self._bell = Bell()
        self.replaying = Replaying(self.tally, self._bell, steps, policy, books)
        self._stopping = anyio.Event()
        self._abandoned = False
        self._begin()

    def _begin(self) -> None:
        """Begin with nothing under way."""
        self._agenda = Agenda()
        self._reckoning = Reckoning(self.name, self.policy, self.tally, self.valve, self._agenda, self._bell)
        self._admission = Admission(self.tally, self.valve, self._agenda, self._reckoning)
        self._expiry = Expiry(self.name, self.policy, self.tally, self._agenda, self._bell, self._books, self.discard)

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.tally.progress

    @property
    def state(self) -> State:
        """Whether it delivers, or why not."""
        return self.tally.progress.state

    @property
    def last_error(self) -> str:
        """What went wrong last."""
        return self.tally.last_error

    @property
    def waits(self) -> str:
        """What waits for its time, and until when, for people; empty for nothing."""
        parked, due = self.progress.parked, self.tally.next_due
        if not parked:
            return ""
        when = f", the next is due {datetime.fromtimestamp(due, UTC):%Y-%m-%d %H:%M:%S}Z" if due else ""
        return f"{parked} parked {'event waits' if parked == 1 else 'events wait'}{when}"

    @property
    def settled(self) -> bool:
        """Whether nothing is out."""
        return self.tally.idle

    async def run(self) -> None:
        """Deliver until `stop()`; a sink that cannot be opened is tried again. At the end it notes what is settled."""
        try:
            await self._run()
        finally:
            if not self._abandoned:
                self.tally.note()

    async def _run(self) -> None:
        tries = 0
        while not self._stopping.is_set():
            tries += 1
            error = await self._attempt(self._serve())
            if error is None:
                return
            said, wrong, unexpected = trouble(error)
            self.tally.wrong(wrong)
            log.warning(said, subscription=self.name, error=wrong, exc_info=unexpected)
            self.tally.reset()
            self.replaying.reset()
            self._begin()
            self.valve.reset()
            self._books.rewind(self.progress.position)
            with anyio.move_on_after(pause(self.policy, tries, None)):
                await self._rest()

    async def _rest(self) -> None:
        """Wait to be stopped; what may be pending no longer is given up on meanwhile, too."""
        async with anyio.create_task_group() as feeding:
            if self._expiry.bounded:
                feeding.start_soon(self._feed, name=self.name)
                feeding.start_soon(self._expiry.run, name=self.name)
            await self._stopping.wait()
            feeding.cancel_scope.cancel()

    def stop(self) -> None:
        """Take nothing more; `run` returns when the calls in flight have ended."""
        self._stopping.set()
        self._bell.ring()

    def abandon(self) -> None:
        """Note what is settled by now, and nothing more: it did not end, and what it goes on with is nobody's."""
        self.tally.note()
        self._abandoned = True

    def skip(self, head: int) -> None:
        """Note that nothing up to `head` is wanted; only while nothing is out or waiting."""
        self.tally.skip(head)

    def turn(self, state: State) -> None:
        """Deliver, or stop delivering, by hand; it outlives a restart.

        What waits is tried at once then, but for the parked.
        """
        if state == "active":
            self._reckoning.forget()
        self.tally.turn(state)
        self._bell.ring()

    def bound(self, until: int) -> None:
        """Note that nothing from this position on concerns it any more: it was taken out of the config."""
        self.tally.bound(until)

    def replay(self, letters: Sequence[DeadLetter], per_second: float, wait: float = 0.0) -> int:
        """Give dead letters another life: parked, due one after the other at this rate after `wait` seconds.

        Returns how many: those that a replay has under way already are left to it.
        """
        letters = [letter for letter in letters if not self.replaying.holds(letter.position)]
        self.tally.replay(letters, per_second, wait)
        self._bell.ring()
        return len(letters)

    def discard(self, letters: Sequence[DeadLetter]) -> int:
        """Forget dead letters; returns how many: those that a replay has under way are left to it."""
        letters = [letter for letter in letters if not self.replaying.holds(letter.position)]
        self.tally.discard(letters)
        return len(letters)

    async def _serve(self) -> None:
        """Open the sink and deliver; when it is stopped, what is under way ends before the sink is closed."""
        revival = Revival(self.tally, self._agenda, self._bell, self._steps, self.policy, self._books)
        async with (
            opened(self._sink, self._books, self.tally) as deliver,
            anyio.create_task_group() as calls,
            anyio.create_task_group() as feeding,
        ):
            self._reckoning.doubt.begin(anyio.current_time())
            feeding.start_soon(self._feed, name=self.name)
            feeding.start_soon(self._expiry.run, name=self.name)
            feeding.start_soon(revival.run, name=self.name)
            feeding.start_soon(self.replaying.run, self._agenda, name=self.name)
            await self._drive(deliver, calls)
            feeding.cancel_scope.cancel()

    async def _feed(self) -> None:
        """Put what the feed gives on the agenda, no more than the window has room for.

        While there is a batch for every call, what comes is left in the feed, where it grows into larger ones.
        """
        while True:
            before, self._satisfied = self._satisfied, not self._has_room
            if self._satisfied:
                await self._bell.wait()
                continue
            if before and self._agenda.spare:
                self._bell.ring()  # what is past may be tried while nothing new comes
            self._reckoning.starved = True
            chunk = await self._books.take(self._room if self.policy.in_flight > 1 else self.policy.batch)
            self._reckoning.starved = False
            self._prepare(chunk)
            self.tally.advance()
            self._bell.ring()

    @property
    def _has_room(self) -> bool:
        agenda = self._agenda
        behind = min(agenda.behind, BEHIND) if self.policy.key else 0
        taken = agenda.open - min(agenda.waiting, WAITING) - behind
        return taken < self._room and agenda.ready < self.policy.in_flight

    def _prepare(self, chunk: Chunk) -> None:
        """Put what the steps leave of a chunk on the agenda, in batches."""
        self.matched += len(chunk.events)
        for part in self.tally.unsettled(chunk):
            slot = self.tally.take(part)
            prepared = prepare(self._steps, Work(slot, part.positions, part.events, time.time()))
            self.tally.leave_out(slot, prepared.filtered, prepared.dead)
            for work in cut(self.policy, self._expiry.keep(prepared.work)):
                self._agenda.add(work)

    async def _drive(self, deliver: Deliver, tasks: TaskGroup) -> None:
        """Start a worker for each batch that may be tried, as many at once as the valve allows."""
        while not self._stopping.is_set():
            work = self._admission.next(anyio.current_time(), satisfied=self._satisfied)
            if isinstance(work, Work):
                slow = self.valve.take(len(work.events), anyio.current_time())
                tasks.start_soon(self._work, deliver, work, slow, name=self.name)
            else:
                await self._bell.wait(work)

    async def _work(self, deliver: Deliver, work: Work, slow: float) -> None:
        """Try a batch after so many seconds, and then whatever may be tried next."""
        now = anyio.current_time()
        while True:
            now = await self._call(deliver, work, now, slow)
            self.valve.leave()
            stopping = self._stopping.is_set()
            following = None if stopping else self._admission.next(now, satisfied=self._satisfied)
            if not isinstance(following, Work):
                break
            work, slow = following, self.valve.take(len(following.events), now)
            feeder, another = self._satisfied and self._has_room, self._agenda.ready and not self.valve.full
            if feeder or another:
                self._bell.ring()
        self._bell.ring()

    async def _call(self, deliver: Deliver, work: Work, started: float, slow: float) -> float:
        """Try a batch once, after so many seconds, and note what became of it; returns when it ended."""
        if slow:
            with anyio.move_on_after(slow):
                await self._stopping.wait()
            if self._stopping.is_set():
                return started
            started = anyio.current_time()
        self.valve.begin(len(work.events))
        error = await self._attempt(deliver(work.events))
        if self._abandoned:
            return started
        now = anyio.current_time()
        self._reckoning.end(work, error, started, now)
        return now

    async def _attempt(self, call: Coroutine[Any, Any, None]) -> Exception | None:
        """Await a plugin's coroutine and return its error."""
        try:
            await call
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; cancellation passes
            return error
        return None
