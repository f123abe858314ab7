"""Delivery: one subscription from its feed to its sink; the last station of an event's way.

A feeder takes chunks and cuts them into batches; as many workers as may be in flight deliver them. A batch
that fails is tried again until it works or is refused, only with what failed, and holds up nobody but its own
subscription. Progress is committed whenever the low-water mark moves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio
import msgspec
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from router.dispatch import Chunk
from router.errors import Partial, Reject, Retry
from router.event import Event
from router.journal import DeadLetter, Progress
from router.plugin import Deliver, Sink, Step
from router.steps import apply
from router.window import Slot, Window

log = structlog.get_logger("delivery")


class Policy(msgspec.Struct, frozen=True):
    """How a subscription delivers: calls in flight, events in a call, and the bounds of the back-off in seconds."""

    in_flight: int
    batch: int
    retry_min: float
    retry_max: float


class Work(msgspec.Struct, frozen=True):
    """A batch under way: its slot in the window, and the events with their positions."""

    slot: Slot
    positions: Sequence[int]
    events: Sequence[Event]

    def only(self, indices: Sequence[int]) -> Work:
        """Leave only some of the events."""
        return Work(self.slot, [self.positions[i] for i in indices], [self.events[i] for i in indices])


class Outcome(msgspec.Struct, frozen=True):
    """What one try left of a batch: indices to try again, with the wait that was asked for, and those refused."""

    again: Sequence[int] = ()
    refused: Sequence[tuple[int, Reject]] = ()
    after: float | None = None
    reason: str = ""
    singly: bool = False
    """Whether the whole batch was refused, so that each event must be tried alone to find the culprit."""


def judge(error: Exception | None, size: int) -> Outcome:
    """Say what a try's error means for a batch of `size` events."""
    match error:
        case None:
            return Outcome()
        case Partial():
            again = {i: e for i, e in error.errors.items() if isinstance(e, Retry)}
            waits = [e.after for e in again.values() if e.after is not None]
            return Outcome(
                sorted(again),
                sorted((i, e) for i, e in error.errors.items() if isinstance(e, Reject)),
                max(waits, default=None),
                next((e.reason for e in again.values()), ""),
            )
        case Reject() if size > 1:
            return Outcome(range(size), reason=error.reason, singly=True)
        case Reject():
            return Outcome(refused=[(0, error)])
        case Retry():
            return Outcome(range(size), after=error.after, reason=error.reason)
        case _:
            return Outcome(range(size), reason=f"{type(error).__name__}: {error}")


def pause(policy: Policy, attempt: int, after: float | None) -> float:
    """Return the seconds before try `attempt` + 1: exponential with full jitter, at least what was asked for."""
    ceiling = min(policy.retry_max, policy.retry_min * 2 ** min(attempt - 1, 32))
    return max(random.uniform(0, ceiling), after or 0.0)  # noqa: S311 - jitter, no secret


def _letter(position: int, event: Event, error: Reject, *, attempts: int, first_try: float) -> DeadLetter:
    return DeadLetter(
        position=position,
        event=event,
        reason=error.reason,
        status=error.status,
        attempts=attempts,
        first_try=first_try,
        last_try=time.time(),
    )


class Delivery:
    """One subscription. `take(limit)` gives its next chunk, `commit(progress, letters)` keeps its progress.

    `rewind(position)` makes `take` start over from there.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        steps: Sequence[Step],
        policy: Policy,
        progress: Progress,
        take: Callable[[int], Coroutine[Any, Any, Chunk]],
        commit: Callable[[Progress, Sequence[DeadLetter]], None],
        rewind: Callable[[int], None],
    ) -> None:
        self.name = name
        self.policy = policy
        self.window = Window(progress)
        self.attempts = 0
        self.failures = 0
        self.in_flight = 0
        self.last_error = ""
        self._sink = sink
        self._steps = steps
        self._take = take
        self._commit = commit
        self._rewind = rewind
        self._feeding = anyio.CancelScope()
        self._stopping = anyio.Event()

    async def run(self) -> None:
        """Deliver until `stop()`; a sink that cannot be opened is tried again."""
        attempt = 0
        while not self._stopping.is_set():
            attempt += 1
            error = await self._attempt(self._serve())
            if error is None:
                return
            self.last_error = f"{type(error).__name__}: {error}"
            log.warning("sink does not open", subscription=self.name, error=self.last_error)
            self.window = Window(self.window.progress)
            self._rewind(self.window.progress.position)
            await self._wait(pause(self.policy, attempt, None))

    def stop(self) -> None:
        """Take nothing more; `run` returns when what is in flight is settled, without further tries."""
        self._stopping.set()
        self._feeding.cancel()

    def skip(self, head: int) -> None:
        """Note that nothing up to `head` is wanted; only while nothing is out or waiting."""
        self.window.skip(head)
        self._advance()

    async def _serve(self) -> None:
        async with self._sink.open() as deliver:
            send, receive = anyio.create_memory_object_stream[Work](0)
            async with receive, anyio.create_task_group() as workers:
                for _ in range(self.policy.in_flight):
                    workers.start_soon(self._work, deliver, receive)
                async with send:
                    await self._feed(send)

    async def _feed(self, send: MemoryObjectSendStream[Work]) -> None:
        with anyio.CancelScope() as self._feeding:
            while not self._stopping.is_set():
                chunk = await self._take(self.policy.batch)
                slot = self.window.take(chunk.end, len(chunk.events))
                work = self._prepare(Work(slot, chunk.positions, chunk.events))
                for start in range(0, len(work.events), self.policy.batch):
                    await send.send(work.only(range(start, min(start + self.policy.batch, len(work.events)))))

    def _prepare(self, work: Work) -> Work:
        """Apply the steps; what they leave out counts as filtered, what they fail on becomes a dead letter."""
        if self._steps:
            kept: list[tuple[int, Event]] = []
            letters: list[DeadLetter] = []
            for position, event in zip(work.positions, work.events, strict=True):
                result = apply(self._steps, event)
                if isinstance(result, Reject):
                    letters.append(_letter(position, event, result, attempts=0, first_try=time.time()))
                elif result is not None:
                    kept.append((position, result))
            self._bury(letters)
            filtered = len(work.events) - len(kept) - len(letters)
            self.window.settle(work.slot, filtered=filtered, letters=letters)
            work = Work(work.slot, [p for p, _ in kept], [e for _, e in kept])
        self._advance()
        return work

    async def _work(self, deliver: Deliver, receive: MemoryObjectReceiveStream[Work]) -> None:
        async for work in receive:
            self.in_flight += len(work.events)
            try:
                await self._settle(deliver, work)
            finally:
                self.in_flight -= len(work.events)

    async def _settle(self, deliver: Deliver, work: Work) -> None:
        """Try until nothing is left of the work, or until stopped: then it stays unsettled."""
        attempt = 0
        first_try = time.time()
        while work.events:
            attempt += 1
            self.attempts += 1
            outcome = judge(await self._attempt(deliver(work.events)), len(work.events))
            self._note(work, outcome, attempt, first_try)
            if outcome.singly:
                for i in range(len(work.events)):
                    await self._settle(deliver, work.only([i]))
                return
            work = work.only(outcome.again)
            if not work.events or await self._wait(pause(self.policy, attempt, outcome.after)):
                return

    def _note(self, work: Work, outcome: Outcome, attempt: int, first_try: float) -> None:
        """Settle in the window what the try delivered or had refused."""
        if outcome.again:
            self.failures += 1
            self.last_error = outcome.reason
            log.warning(
                "delivery failed",
                subscription=self.name,
                attempt=attempt,
                events=len(outcome.again),
                reason=outcome.reason,
            )
        letters = [
            _letter(work.positions[i], work.events[i], error, attempts=attempt, first_try=first_try)
            for i, error in outcome.refused
        ]
        self._bury(letters)
        delivered = len(work.events) - len(outcome.again) - len(letters)
        self.window.settle(work.slot, delivered=delivered, letters=letters)
        self._advance()

    def _bury(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self.last_error = letter.reason
            log.warning("dead letter", subscription=self.name, event_id=letter.event.id, reason=letter.reason)

    def _advance(self) -> None:
        letters = self.window.advance()
        if letters is not None:
            self._commit(self.window.progress, letters)

    async def _attempt(self, call: Coroutine[Any, Any, None]) -> Exception | None:
        """Await a plugin's coroutine and return its error."""
        try:
            await call
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; cancellation passes
            return error
        return None

    async def _wait(self, seconds: float) -> bool:
        """Wait; return whether it was cut short by `stop()`."""
        with anyio.move_on_after(seconds):
            await self._stopping.wait()
        return self._stopping.is_set()
