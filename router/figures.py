"""The figures: what the daemon says of itself, put together from what runs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import anyio
import structlog

from router.admin.status import FrontStatus, SourceStatus, Status, SubscriptionStatus
from router.delivery import Delivery
from router.intake import Intake
from router.journal import LEVELS, Partition, holding
from router.outlet import dropped_lines
from router.running import Subscriber, Supplier

log = structlog.get_logger("service")


class Figures:
    """Remembers when the oldest pending events were stored, which takes a look into the journal."""

    def __init__(self, partition: Partition, intake: Intake) -> None:
        self._partition = partition
        self._intake = intake
        self._stored: dict[str, float] = {}
        self._alarmed: set[str] = set()
        self._level = 0

    async def note_oldest(self, subscribers: Mapping[str, Subscriber]) -> None:
        """Look up when the oldest pending event of each subscription was stored."""
        marks = {name: one.delivery.progress.position for name, one in subscribers.items()}
        waiting = [name for name, mark in marks.items() if mark < self._partition.head]
        stored = await self._partition.stored_at([marks[name] for name in waiting]) if waiting else ()
        self._stored = {name: at for name, at in zip(waiting, stored, strict=True) if at is not None}

    def sound_alarms(self, subscribers: Mapping[str, Subscriber]) -> None:
        """Say in the log, once, when the journal fills up or an event waits for too long, and when no longer."""
        self._sound_level()
        for name, one in subscribers.items():
            age = self._age(one.delivery)
            late = age > one.planned.subscription.delivery.alarm_after
            if late == (name in self._alarmed):
                continue
            self._alarmed ^= {name}
            valve, progress = one.delivery.valve, one.delivery.progress
            known = {"state": progress.state, "breaker": valve.breaker.state, "last_error": one.delivery.last_error}
            if late:
                log.error("alarm: an event waits for too long", subscription=name, seconds=round(age), **known)
            else:
                log.warning("alarm over", subscription=name)
        self._alarmed &= subscribers.keys()

    def _sound_level(self) -> None:
        journal = self._partition.statistics()
        before, self._level = self._level, journal.level
        if self._level > before:
            said = {"percent": self._level, "held": journal.held, "quota": journal.quota}
            by = holding(self._partition.holders())
            (log.error if self._level == LEVELS[-1] else log.warning)("the journal fills up", **said, by=by)
        elif before and not self._level:
            log.warning("the journal has room again", held=journal.held, quota=journal.quota)

    def status(self, suppliers: Mapping[str, Supplier], subscribers: Mapping[str, Subscriber]) -> Status:
        """Return a snapshot of everything that an operator asks for first."""
        journal = self._partition.statistics()
        trouble = journal.full or journal.failing
        return Status(
            ready=bool(suppliers) and all(one.ready for one in suppliers.values()) and not trouble,
            journal=journal,
            undecodable=self._intake.undecodable.total(),
            log_dropped=dropped_lines(),
            sources={
                name: SourceStatus(
                    ready=supplier.ready,
                    received=self._intake.received[name],
                    counts=dict(supplier.counts),
                    last_error=error.text if (error := supplier.error) else "",
                    last_error_at=error.at if error else 0.0,
                    undecodable=self._intake.undecodable[name],
                    workers=tuple(
                        FrontStatus(one.pid, one.ready, one.deaths)
                        for one in (supplier.crew.members if supplier.crew else ())
                    ),
                )
                for name, supplier in suppliers.items()
            },
            subscriptions={name: self._of_subscription(one) for name, one in subscribers.items()},
        )

    def _of_subscription(self, subscriber: Subscriber) -> SubscriptionStatus:
        delivery, valve = subscriber.delivery, subscriber.delivery.valve
        progress = delivery.progress
        end = progress.end(self._partition.head)
        return SubscriptionStatus(
            journalled=end - progress.since + progress.carried,
            delivered=progress.delivered,
            filtered=progress.filtered,
            parked=progress.parked,
            dead=progress.dead,
            pending=progress.pending(end),
            draining=subscriber.draining,
            alarm=delivery.name in self._alarmed or delivery.state == "held",
            in_flight=valve.in_flight,
            attempts=valve.attempts,
            failures=valve.failures.total(),
            failures_by=dict(valve.failures),
            state=delivery.state,
            breaker=valve.breaker.state,
            concurrency=valve.concurrency.limit,
            live=subscriber.feed.live,
            last_error=delivery.last_error,
            last_error_at=delivery.tally.last_error_at,
            next_due=delivery.tally.next_due,
            breaker_seconds=valve.breaker.wait(anyio.current_time()) or 0.0,
            matched=delivery.matched,
            oldest_pending_seconds=self._age(delivery),
            call_seconds=valve.latency.snapshot(),
            replaying=sum(one.left for one in delivery.replaying.all if one.state == "running"),
        )

    def _age(self, delivery: Delivery) -> float:
        """Return the seconds since the event at the subscription's mark was stored, as last looked up."""
        pending = delivery.progress.position < self._partition.head
        return max(time.time() - self._stored.get(delivery.name, math.inf), 0.0) if pending else 0.0
