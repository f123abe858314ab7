"""What runs, each started and ended alone: a subscription with its feed, a source with what is known of it."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from functools import partial

import anyio
import msgspec
import structlog
from anyio import to_thread

from router.config.model import Subscription
from router.config.plan import Planned
from router.delivery import Delivery
from router.dispatch import Dispatch, Feed
from router.ending import CLOSING, wait_ended
from router.errors import RouterError, is_cancellation, told
from router.fronts.crew import GRACE, LINGER, Crew
from router.intake import Intake
from router.journal import Partition, Progress
from router.journal.replay import Replay
from router.last_error import LastError
from router.listeners import Listener, Listeners
from router.match import ALWAYS, Routes, parse
from router.plugin import Decoder, Emit, Ready, Source
from router.rerun import Past
from router.retry import Policy

SOURCE_CLOSING = 2 * CLOSING
"""Seconds that a source may take for what it has in hand."""
CREW_CLOSING = GRACE + 3 * LINGER + CLOSING
"""Seconds in which fronts have ended, or were killed."""

log = structlog.get_logger("service")


class Books:
    """Feed and journal as one subscription sees them."""

    def __init__(
        self, planned: Planned, feed: Feed, dispatch: Dispatch, partition: Partition, decoder: Decoder
    ) -> None:
        name = planned.name
        self.take = partial(dispatch.next, feed)
        self.rewind = partial(dispatch.rewind, feed)
        self.commit = partial(partition.commit, name)
        self.parked = partial(partition.parked, name)
        self.marks = partial(partition.marks, name)
        self.replays = partial(partition.replays, name)
        self.flush = partition.flush
        self.last = partition.last
        self.expired = partial(partition.expired, name)
        self._name = name
        self._partition = partition
        self._decoder = decoder
        self._wanted = Routes([planned.route], decoder).wanted

    def head(self) -> int:
        """Return the position that the next event of the journal will get."""
        return self._partition.head

    async def past(self, replay: Replay, position: int, limit: int) -> Past:
        """Return what a replay wants from a position on, of about `limit` events; raises `BadPattern`."""
        match = ALWAYS if replay.match is None else parse(replay.match, self._decoder)
        segment = await self._partition.read(position, limit)
        if not segment.events:
            return Past(replay.end, replay.end, (), ())
        first = min(max(segment.first, position), replay.end)
        end = max(first, min(segment.end, replay.end))
        held = await self._partition.held(self._name, first, end)
        wanted = [
            (place, event)
            for place, event in enumerate(segment.events, segment.first)
            if first <= place < end and self._wanted(event) and match.matches(event)
        ]
        out = [(place, event) for place, event in wanted if place not in held.parked]
        waiting = [place for place, _ in wanted if place in held.parked]
        return Past(first, end, [p for p, _ in out], [e for _, e in out], held.dead.keys(), waiting)


class Live(msgspec.Struct, frozen=True):
    """What a running daemon knows of a subscription: how far it is, below what all was taken, and its breaker."""

    progress: Progress
    taken: int
    breaker: str = "closed"
    last_error: str = ""


def policy_of(subscription: Subscription) -> Policy:
    """Say how a subscription delivers: as it wishes, as far as its sink can, or else as suits the sink."""
    sink, wish = subscription.to, subscription.delivery
    in_order = wish.ordered or sink.keeps_positions
    key = "" if sink.keeps_positions else wish.key  # its positions are those of one sequence
    return Policy(
        in_flight=1 if in_order and not key else wish.in_flight or sink.in_flight,
        batch=wish.batch or sink.batch,
        rate=wish.rate,
        ordered=in_order,
        single=sink.keeps_positions,
        key=key,
        tries=wish.tries,
        retry_min=wish.retry_min,
        retry_max=wish.retry_max,
        retry_after_max=wish.retry_after_max,
        schedule=wish.schedule,
        pending_age=wish.pending.max_age or math.inf,
        pending_bytes=wish.pending.max_bytes or 0,
    )


class Subscriber:
    """A subscription that runs."""

    def __init__(self, planned: Planned, feed: Feed, delivery: Delivery) -> None:
        self.planned = planned
        self.feed = feed
        self.delivery = delivery
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()

    @property
    def live(self) -> Live:
        """What it knows of itself now."""
        delivery = self.delivery
        return Live(delivery.progress, self.feed.position, delivery.valve.breaker.state, delivery.last_error)

    async def run(self) -> None:
        """Deliver until stopped or cancelled."""
        structlog.contextvars.bind_contextvars(subscription=self.planned.name)
        try:
            with self.scope:
                await self.delivery.run()
        finally:
            self.ended.set()

    @property
    def draining(self) -> bool:
        """Whether it goes as soon as it has delivered what was there when it was told to."""
        return self.feed.until != sys.maxsize

    def drain(self, head: int) -> None:
        """Take nothing from this position on; that outlives the process."""
        self.feed.until = head
        self.delivery.bound(head)

    def note_idle(self, head: int) -> None:
        """Note all that it has settled; move its mark on if it wants nothing of what came in."""
        if self.feed.settled and self.delivery.settled:
            self.delivery.skip(min(head, self.feed.until))
        else:
            self.delivery.tally.note()

    async def stop(self, grace: float) -> None:
        """End it; what is in flight has the grace to be settled. A sink that does not end then is left behind."""
        self.delivery.stop()
        with anyio.move_on_after(grace):
            await self.ended.wait()
        self.scope.cancel()
        sink = type(self.planned.subscription.to).__name__
        if not await wait_ended(self.ended, CLOSING, subscription=self.planned.name, plugin=sink):
            self.delivery.abandon()


class Supplier:
    """A source that runs, here or as a crew of fronts, and what is known of it; `listener` is where it listens."""

    def __init__(self, name: str, source: Source, crew: Crew | None, listener: Listener | Listeners | None) -> None:
        self.name = name
        self.source = source
        self.crew = crew
        self._listener = listener
        self._ready = self._started = False
        self.counts: Counter[str] = Counter()
        self._error: LastError | None = None
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()

    @property
    def ready(self) -> bool:
        """Whether messages can arrive."""
        return self._ready and (self.crew is None or any(one.ready for one in self.crew.members))

    @property
    def error(self) -> LastError | None:
        """What went wrong last, until it works again."""
        return (self.crew.error if self.crew else None) or self._error

    @property
    def last_error(self) -> str:
        """The same as text; empty while it works."""
        return self.error.text if self.error else ""

    async def run(self, intake: Intake, *, must_start: bool) -> None:
        """Take messages in until cancelled; what fails is tried again, unless it `must_start` and never did."""
        structlog.contextvars.bind_contextvars(source=self.name)
        delay = 1.0
        try:
            with self.scope:
                while True:
                    await self._try(intake, must_start=must_start)
                    self._ready = False
                    if self._listener:
                        self._listener.close()  # nobody accepts until it is started again
                    await anyio.sleep(delay)
                    delay = min(delay * 2, 60.0)
        finally:
            self.ended.set()

    async def _try(self, intake: Intake, *, must_start: bool) -> None:
        try:
            if self.crew:
                await self.crew.run(partial(intake.store, self.name), Ready(self._note), self.counts)
            else:
                await self._run_here(partial(intake.emit, self.name))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if is_cancellation(error):
                raise
            if must_start and not self._started:
                raise RouterError(f"sources.{self.name}: {told(error)}") from error
            self._ready = False
            self._error = LastError(told(error), time.time())
            log.exception("source failed, starting it again", source=self.name, error=self._error.text)

    async def _run_here(self, emit: Emit) -> None:
        """Run it in this process, on copies of the sockets, which so stay open when it is exchanged."""
        listening = await to_thread.run_sync(self._listener.sockets, 1, 1) if self._listener else []
        sockets = [one.dup() for one in listening]
        try:
            await self.source.run_on(sockets, emit, Ready(self._note), self._count)
        finally:
            for one in sockets:
                one.close()

    def _note(self, trouble: str) -> None:
        """Note that messages can arrive, or what keeps them from it."""
        self._started, self._ready = True, not trouble
        self._error = LastError(trouble, time.time()) if trouble else None

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    async def stop(self) -> None:
        """End it; what it has in hand is answered or left to come again. One that does not end is left behind."""
        self.scope.cancel()
        seconds = CREW_CLOSING if self.crew else SOURCE_CLOSING
        await wait_ended(self.ended, seconds, source=self.name, plugin=type(self.source).__name__)
