"""The replay desk: what an operator asks to be delivered again, and how far that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from router.admin.controls import ReplayOrder, ReplayReport
from router.delivery import Delivery
from router.errors import RouterError
from router.journal import Partition
from router.journal.replay import Replay
from router.journal.seek import seek_waiting
from router.match import parse
from router.plugin import Decoder

MOST = 20
"""Replays of one subscription that are not over, at most."""


class ReplayDesk:
    """Replays of the running subscriptions. `delivery` raises `RouterError` where there is none of that name."""

    def __init__(
        self,
        partition: Partition,
        decoder: Decoder,
        delivery: Callable[[str], Delivery],
        names: Callable[[], Iterable[str]],
    ) -> None:
        self._partition = partition
        self._decoder = decoder
        self._delivery = delivery
        self._names = names

    def known(self, name: str = "") -> Sequence[ReplayReport]:
        """Return the replays of a subscription, or of all."""
        names = [name] if name else list(self._names())
        return [_report(self._delivery(each), one) for each in names for one in self._delivery(each).replaying.all]

    async def begin(self, name: str, order: ReplayOrder) -> ReplayReport:
        """Begin with what was stored within the order's time; returns when it outlives the process."""
        delivery = self._delivery(name)
        if order.per_second <= 0:
            raise RouterError(f"{order.per_second:g} a second would never end (say how many, such as 100)")
        if order.match is not None:
            parse(order.match, self._decoder)
        if sum(one.state == "running" for one in delivery.replaying.all) >= MOST:
            raise RouterError(f"{MOST} replays of {name} are not over yet (wait, or stop some)")
        first, end, note = await self._range(delivery, order)
        known = (one.number for each in self._partition.names for one in self._partition.replays(each))
        number = 1 + max(known, default=0)
        replay = Replay(
            number=number,
            first=first,
            end=end,
            position=first,
            per_second=order.per_second,
            match=order.match,
            begun=time.time(),
        )
        delivery.replaying.begin(replay)
        await self._partition.flush()
        return _report(delivery, replay, note)

    async def stop(self, name: str, number: int | None) -> Sequence[ReplayReport]:
        """Stop a replay, or all that are not over; what is with the destination still arrives."""
        delivery = self._delivery(name)
        numbers = [one.number for one in delivery.replaying.all if one.state == "running"]
        if number is None and not numbers:
            raise RouterError(f"no replay of {name} is running")
        for one in numbers if number is None else [number]:
            delivery.replaying.stop(one)
        await self._partition.flush()
        return self.known(name)

    async def resume(self, name: str, number: int | None, per_second: float | None) -> Sequence[ReplayReport]:
        """Go on with a replay that was stopped, or with the last one, perhaps at another rate."""
        delivery = self._delivery(name)
        if per_second is not None and per_second <= 0:
            raise RouterError(f"{per_second:g} a second would never end (say how many, such as 100)")
        stopped = [one.number for one in delivery.replaying.all if one.state == "stopped"]
        if number is None and not stopped:
            raise RouterError(f"no replay of {name} was stopped")
        delivery.replaying.resume(stopped[-1] if number is None else number, per_second)
        await self._partition.flush()
        return self.known(name)

    async def _range(self, delivery: Delivery, order: ReplayOrder) -> tuple[int, int, str]:
        """Return from where to where a replay goes, and what is to be said about that."""
        tail, past = self._partition.tail, delivery.progress.position
        stored_at = self._partition.stored_at
        since, until = order.times(self._decoder)
        if until is not None and until <= since:
            raise RouterError("nothing lies between: `until` is not after `since`")
        first = await seek_waiting(tail, past, since, stored_at)
        end = past if until is None else await seek_waiting(tail, past, until, stored_at)
        (oldest,) = await stored_at([tail]) if tail < self._partition.head else (None,)
        notes: list[str] = []
        if oldest is not None and oldest > since and tail > 1:
            notes.append(f"the journal keeps nothing from before {_moment(oldest)} (`retention`)")
        if first >= end:
            said = f"; {'; '.join(notes)}" if notes else ""
            raise RouterError(f"{delivery.name} is past nothing that was stored within that time{said}")
        if until is None and past < self._partition.head:
            notes.append(f"{self._partition.head - past} newer events are pending anyway")
        return first, end, "; ".join(notes)


def _report(delivery: Delivery, replay: Replay, note: str = "") -> ReplayReport:
    return ReplayReport(delivery.name, replay, _waits(delivery, replay), note or replay.note)


def _waits(delivery: Delivery, replay: Replay) -> str:
    """Say what a replay that is not over waits for, if for anything."""
    if replay.state != "running":
        return ""
    running = [one.number for one in delivery.replaying.all if one.state == "running"]
    if running and running[0] != replay.number:
        return f"behind replay {running[0]}"
    if delivery.state != "active":
        return f"the subscription is {delivery.state}"
    return "" if delivery.valve.breaker.state == "closed" else f"the breaker is {delivery.valve.breaker.state}"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"
