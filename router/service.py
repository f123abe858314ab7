"""The daemon: opens everything in the order in which it must not close.

The journal opens first and closes last, then the sinks, then the admin API, then the sources: so sources stop
first, what is in flight is delivered and committed within the grace, and the journal is flushed at the end.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import partial
from pathlib import Path

import anyio
import structlog
from msgspec.structs import asdict

from router.admin.server import admin
from router.admin.status import SourceStatus, Status, SubscriptionStatus
from router.breaker import BreakerPolicy
from router.config.model import Config, Department, Subscription
from router.delivery import Delivery
from router.dispatch import Dispatch, Feed
from router.errors import RouterError
from router.event import Event, Message
from router.intake import Intake, event_of
from router.journal import Partition, Progress
from router.match import Route, Routes
from router.plugin import Source
from router.retry import Policy
from router.verify import Balance, Count

IDLE = 1.0
"""Seconds between two notes of how far the subscriptions are that want nothing."""

log = structlog.get_logger("service")


def visible(departments: dict[str, Department], name: str) -> tuple[str, ...]:
    """Return the account patterns that a department may see: its own, and those of the ones that share with it."""
    own = departments[name].accounts
    granted = [a for d in departments.values() if name in d.shares_with for a in d.accounts]
    return tuple(dict.fromkeys([*own, *granted]))


def subscriptions(config: Config) -> list[tuple[str, Route, Subscription]]:
    """Return every subscription as (`department/name`, its route, itself), in the order of the config."""
    return [
        (f"{department}/{name}", Route(visible(config.departments, department), subscription.match), subscription)
        for department, owner in config.departments.items()
        for name, subscription in owner.subscriptions.items()
    ]


def pattern(route: Route, subscription: Subscription) -> str:
    """Digest what decides which events a subscription wants; a change of it starts a new count."""
    text = repr((route, subscription.steps))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class SourceState:
    """What the daemon knows of a source that it runs."""

    def __init__(self) -> None:
        self.ready = False
        self.counts: Counter[str] = Counter()
        self.last_error = ""


class _Books:
    """Feed and journal as one subscription sees them."""

    def __init__(self, name: str, index: int, dispatch: Dispatch, partition: Partition) -> None:
        self.take = partial(dispatch.next, index)
        self.rewind = partial(dispatch.rewind, index)
        self.commit = partial(partition.commit, name)
        self.parked = partial(partition.parked, name)
        self.marks = partial(partition.marks, name)


class Engine:
    """Everything between the sources and the sinks, wired from a config over an open journal."""

    def __init__(self, config: Config, partition: Partition) -> None:
        self.config = config
        self.partition = partition
        self.intake = Intake(config.decoder, partition.append)
        self.sources = {name: SourceState() for name in config.sources}
        described = subscriptions(config)
        starts = [self._start(name, pattern(route, sub)) for name, route, sub in described]
        self._routes = Routes([route for _, route, _ in described], config.decoder)
        feeds = [Feed(progress.position) for progress in starts]
        self.dispatch = Dispatch(self._routes.wanted, feeds, partition.head, partition.read)
        self.deliveries = [
            self._delivery(index, name, sub, progress)
            for index, ((name, _, sub), progress) in enumerate(zip(described, starts, strict=True))
        ]
        partition.activate([name for name, _, _ in described])
        partition.follow(self.dispatch)

    def _start(self, name: str, digest: str) -> Progress:
        """Return where a subscription goes on: where it was, or from now on if it is new."""
        old = self.partition.progress(name)
        if old is None:
            progress = Progress(position=self.partition.head, since=self.partition.head, pattern=digest)
        elif old.pattern != digest:
            carried = old.parked
            position = old.position
            progress = Progress(
                position=position, since=position, pattern=digest, parked=carried, carried=carried, state=old.state
            )
        else:
            return old
        self.partition.commit(name, progress)
        return progress

    def _delivery(self, index: int, name: str, subscription: Subscription, progress: Progress) -> Delivery:
        sink, wish = subscription.to, subscription.delivery
        in_order = wish.ordered or sink.keeps_positions
        policy = Policy(
            in_flight=1 if in_order and not wish.key else wish.in_flight or sink.in_flight,
            batch=wish.batch or sink.batch,
            rate=wish.rate,
            ordered=in_order,
            key=wish.key,
            tries=wish.tries,
            retry_min=wish.retry_min,
            retry_max=wish.retry_max,
            schedule=wish.schedule,
        )
        breaker = BreakerPolicy(**asdict(wish.breaker))
        books = _Books(name, index, self.dispatch, self.partition)
        return Delivery(name, sink, subscription.steps, policy, breaker, progress, books)

    def note_idle(self) -> None:
        """Move on those subscriptions that want nothing of what came in."""
        for index, delivery in enumerate(self.deliveries):
            if self.dispatch.settled(index) and delivery.settled:
                delivery.skip(self.dispatch.head)

    def stop(self) -> None:
        """Let every subscription finish what is in flight."""
        for delivery in self.deliveries:
            delivery.stop()

    def status(self) -> Status:
        """Return a snapshot of everything that an operator asks for first."""
        self.note_idle()
        journal = self.partition.statistics()
        return Status(
            ready=all(source.ready for source in self.sources.values()) and not journal.full,
            journal=journal,
            undecodable=self.intake.undecodable,
            sources={
                name: SourceStatus(
                    ready=source.ready,
                    received=self.intake.received[name],
                    counts=dict(source.counts),
                    last_error=source.last_error,
                )
                for name, source in self.sources.items()
            },
            subscriptions={
                delivery.name: self._subscription_status(index, delivery)
                for index, delivery in enumerate(self.deliveries)
            },
        )

    def _subscription_status(self, index: int, delivery: Delivery) -> SubscriptionStatus:
        progress = delivery.window.progress
        return SubscriptionStatus(
            journalled=self.partition.head - progress.since + progress.carried,
            delivered=progress.delivered,
            filtered=progress.filtered,
            parked=progress.parked,
            dead=progress.dead,
            pending=self.partition.head - progress.position,
            in_flight=delivery.in_flight,
            attempts=delivery.attempts,
            failures=delivery.failures,
            state=delivery.state,
            breaker=delivery.breaker.state,
            concurrency=delivery.concurrency.limit,
            live=self.dispatch.live(index),
            last_error=delivery.last_error,
        )


def verify(config: Config) -> list[Balance]:
    """Recompute the balance of every subscription of the config from its journal."""
    described = subscriptions(config)
    routes = Routes([route for _, route, _ in described], config.decoder)
    with config.journal.inspect(Path(config.state), partial(_restore, config)) as journal:
        counts = [
            Count(pattern(route, sub), sub.steps, journal.progress[name]) if name in journal.progress else None
            for name, route, sub in described
        ]
        for segment in journal.segments():
            for position, event in enumerate(segment.events, segment.first):
                for index in routes.wanted(event):
                    if counted := counts[index]:
                        counted.add(position, event)
        return [
            counted.balance(name, journal.head, journal.tail)
            for (name, _, _), counted in zip(described, counts, strict=True)
            if counted
        ]


def _restore(config: Config, message: Message, source: str, name: str) -> Event:
    return event_of(config.decoder, message, source, name)


async def serve(config: Config, stop: anyio.Event) -> None:
    """Run until `stop`; raises `RouterError` for what cannot be started."""
    async with config.journal.open(Path(config.state), partial(_restore, config)) as partition:
        engine = Engine(config, partition)
        async with anyio.create_task_group() as tasks:
            finished = anyio.Event()
            tasks.start_soon(_deliver, engine, finished)
            tasks.start_soon(_note_idle, engine)
            async with admin(config.admin.listen, engine.status), anyio.create_task_group() as sources:
                for name, source in config.sources.items():
                    sources.start_soon(_run_source, engine, name, source)
                await stop.wait()
                log.info("stopping")
                sources.cancel_scope.cancel()
            engine.stop()
            with anyio.move_on_after(config.grace):
                await finished.wait()
            engine.note_idle()
            tasks.cancel_scope.cancel()


async def _deliver(engine: Engine, finished: anyio.Event) -> None:
    async with anyio.create_task_group() as deliveries:
        for delivery in engine.deliveries:
            deliveries.start_soon(delivery.run, name=delivery.name)
    finished.set()


async def _note_idle(engine: Engine) -> None:
    while True:
        await anyio.sleep(IDLE)
        engine.note_idle()


async def _run_source(engine: Engine, name: str, source: Source) -> None:
    """Run one source; what fails before it is ready ends the daemon, what fails later is tried again."""
    state = engine.sources[name]

    def ready() -> None:
        state.ready = True

    def count(what: str) -> None:
        state.counts[what] += 1

    delay = 1.0
    while True:
        try:
            await source.run(partial(engine.intake.emit, name), ready, count)
        except Exception as error:
            if not state.ready:
                raise RouterError(f"sources.{name}: {error}") from error
            state.last_error = f"{type(error).__name__}: {error}"
            log.exception("source failed, starting it again", source=name)
        await anyio.sleep(delay)
        delay = min(delay * 2, 60.0)
