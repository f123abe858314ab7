"""What runs, each started and ended alone: a subscription with its feed, a source with what is known of it."""

from __future__ import annotations

from collections import Counter
from functools import partial

import anyio
import msgspec
import structlog

from router.config.plan import Planned
from router.delivery import Delivery
from router.dispatch import Dispatch, Feed
from router.errors import RouterError
from router.journal import Partition, Progress
from router.plugin import Emit, Source

log = structlog.get_logger("service")


class Books:
    """Feed and journal as one subscription sees them."""

    def __init__(self, name: str, feed: Feed, dispatch: Dispatch, partition: Partition) -> None:
        self.take = partial(dispatch.next, feed)
        self.rewind = partial(dispatch.rewind, feed)
        self.commit = partial(partition.commit, name)
        self.parked = partial(partition.parked, name)
        self.marks = partial(partition.marks, name)


class Live(msgspec.Struct, frozen=True):
    """What a running daemon knows of a subscription: how far it is, below what all was taken, and its breaker."""

    progress: Progress
    taken: int
    breaker: str = "closed"
    last_error: str = ""


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
        try:
            with self.scope:
                await self.delivery.run()
        finally:
            self.ended.set()

    async def stop(self, grace: float) -> None:
        """End it; what is in flight has the grace to be settled."""
        self.delivery.stop()
        with anyio.move_on_after(grace):
            await self.ended.wait()
        self.scope.cancel()
        await self.ended.wait()


class Supplier:
    """A source that runs, and what is known of it."""

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.ready = False
        self.counts: Counter[str] = Counter()
        self.last_error = ""
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()

    async def run(self, emit: Emit, *, must_start: bool) -> None:
        """Take messages in until cancelled; what fails is tried again, unless it `must_start` and never did."""
        delay = 1.0
        try:
            with self.scope:
                while True:
                    await self._try(emit, must_start=must_start)
                    await anyio.sleep(delay)
                    delay = min(delay * 2, 60.0)
        finally:
            self.ended.set()

    async def _try(self, emit: Emit, *, must_start: bool) -> None:
        try:
            await self.source.run(emit, self._note_ready, self._count)
        except Exception as error:
            if must_start and not self.ready:
                raise RouterError(f"sources.{self.name}: {error}") from error
            self.last_error = f"{type(error).__name__}: {error}"
            log.exception("source failed, starting it again", source=self.name)

    def _note_ready(self) -> None:
        self.ready = True

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    async def stop(self) -> None:
        """End it; what it has in hand is answered or left to come again."""
        self.scope.cancel()
        await self.ended.wait()
