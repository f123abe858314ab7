"""A queue of MNS as a state machine: no I/O, the clock is passed in (PROTOCOL 1.6, 1.7)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from heapq import heappop, heappush, nsmallest

import msgspec

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.groups import Groups
from router_plugins.emulator.handles import is_handle, new_handle
from router_plugins.emulator.ledger import Origin
from router_plugins.emulator.properties import NONE, Properties, body_md5
from router_plugins.emulator.queued import DEFAULT_PRIORITY, Clock, Counts, Lease, LostLease, QueueAttributes, Stored

Bury = Callable[["Queue", Stored, Origin | None], bool]
"""Takes a dead letter of a queue; says whether there was a place for it."""


class _Held(msgspec.Struct, eq=False):
    """A message and where it is in its life.

    `ticket` is that of its wait, 0 once it is deleted; `delayed` as long as it waits to be received for the first time.
    """

    message: Stored
    number: int
    origin: Origin | None
    visible: float
    ticket: int = 0
    handle: str = ""
    dequeues: int = 0
    first_dequeued: float = 0.0
    delayed: bool = False


class Queue:
    """One queue; `bury` takes the dead letters of its policy, `straggle` says how many places a message falls behind.

    A message is in exactly one place: the heap of those to receive, by priority and age, the heap of those that
    wait for a time, or behind another of its group. Each wait has a ticket; one that was changed or ended leaves a
    stale entry in the second heap, known by a ticket that is no longer the message's.
    """

    def __init__(
        self,
        name: str,
        attributes: QueueAttributes,
        clock: Clock,
        *,
        fast: float = 1,
        lost: LostLease = "MessageNotExist",
        bury: Bury | None = None,
        straggle: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = name
        self.attributes = attributes
        self.created = self.modified = clock()
        self._clock = clock
        self._fast = fast
        self._lost: LostLease = lost
        self._bury = bury
        self._straggle = straggle
        self._groups: Groups[_Held] = Groups()
        self._numbers = 0
        self._tickets = 0
        self._ready: list[tuple[int, int, int, _Held]] = []
        self._waiting: list[tuple[float, int, _Held]] = []
        self._by_handle: dict[str, _Held] = {}
        self._last_delayed: _Held | None = None
        self._leases = 0
        self._delayed = 0

    def __repr__(self) -> str:
        return f"<Queue {self.name} {self.counts()}>"

    def change(self, attributes: QueueAttributes) -> None:
        """Set other attributes; messages that are in the queue keep their times."""
        self.attributes = attributes
        self.modified = self._clock()

    def send(
        self,
        body: str,
        *,
        delay: int | None = None,
        priority: int = DEFAULT_PRIORITY,
        properties: Properties = NONE,
        group: str = "",
        origin: Origin | None = None,
    ) -> Stored:
        """Take a message in; `delay` in seconds, None for the queue's own. Raises `InvalidArgument` when too long."""
        octets = body.encode()
        if len(octets) > self.attributes.maximum_message_size:
            limit = self.attributes.maximum_message_size
            raise ServiceError("InvalidArgument", f"The length of message should not be larger than {limit} bytes.")
        message_id, digest = new_message_id(), body_md5(octets, properties)
        message = Stored(message_id, body, digest, self._clock(), priority, properties, group)
        self.accept(message, self.attributes.delay_seconds if delay is None else delay, origin)
        return message

    def delay_handle(self, message: Stored) -> str:
        """Return the handle of a message that was just sent with a delay, by which it can be changed or deleted.

        It is "" for others, and for one behind another of its group.
        """
        held = self._last_delayed
        return held.handle if held is not None and held.message is message else ""

    def accept(self, message: Stored, delay: float = 0, origin: Origin | None = None) -> None:
        """Take a message in that was made already, to be received after `delay` seconds."""
        self._numbers += 1
        self._place(_Held(message, self._numbers, origin, self._clock() + delay / self._fast))

    def receive(self, count: int = 1) -> list[Lease]:
        """Lease up to `count` messages: hidden for the visibility timeout, each with a new handle."""
        now = self._settle()
        policy = self.attributes.dlq_policy
        leases: list[Lease] = []
        while self._ready and len(leases) < count:
            _, _, _, held = heappop(self._ready)
            spent = bool(policy.queue) and held.dequeues >= policy.max_receive_count
            if self._too_old(held, now) or (spent and self._buried(held)):
                self._forget(held)
                continue
            held.dequeues += 1
            held.first_dequeued = held.first_dequeued or now
            self._hide(held, now, self.attributes.visibility_timeout)
            leases.append(_lease_of(held))
        return leases

    def peek(self, count: int = 1) -> list[Lease]:
        """Show up to `count` messages that could be received, and change nothing."""
        now = self._settle()
        fresh = (entry for entry in self._ready if not self._too_old(entry[3], now))
        return [_lease_of(held) for _, _, _, held in nsmallest(count, fresh)]

    def delete(self, handle: str) -> None:
        """Delete a leased message; raises `ReceiptHandleError`, or what `lost` says when the lease is over."""
        held = self._taken(handle)
        self._forget(held)
        if held.origin is not None:
            held.origin.ledger.deleted(held.origin.index)

    def change_visibility(self, handle: str, seconds: int) -> Lease:
        """Hide a leased message for `seconds` from now; the old handle dies (PROTOCOL 1.6). Errors as `delete`."""
        held = self._taken(handle)
        self._hide(held, self._clock(), seconds)
        return _lease_of(held)

    def expire(self, handle: str | None = None) -> int:
        """End one lease (None: all of them) as if its time was over; return how many there were."""
        ended = [held for key, held in self._by_handle.items() if handle in {None, key} and not held.delayed]
        for held in ended:
            held.visible = self._clock()
            self._wait(held)
        return len(ended)

    def next_visible(self) -> float | None:
        """Return when the next waiting message can be received, in Unix seconds; None if none waits."""
        while self._waiting and _is_stale(self._waiting[0]):
            heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def counts(self) -> Counts:
        """Count the messages by what can be done with them now; those behind another of their group are active."""
        now = self._settle()
        behind = self._groups.behind()
        due = sum(held.visible <= now for held in behind)
        return Counts(len(self._ready) + due, self._leases, self._delayed + len(behind) - due)

    def contents(self) -> list[tuple[Stored, float]]:
        """Return every message in the order of sending, with the Unix seconds from when it can be received."""
        waiting = [entry[2] for entry in self._waiting if not _is_stale(entry)]
        ready = [entry[3] for entry in self._ready]
        held = sorted([*waiting, *ready, *self._groups.behind()], key=lambda one: one.number)
        return [(one.message, one.visible) for one in held]

    def restore(self, contents: list[tuple[Stored, float]]) -> None:
        """Put messages back that `contents` gave; their handles are gone, as after a crash of the service."""
        for message, visible in contents:
            self._numbers += 1
            self._place(_Held(message, self._numbers, None, visible))

    def _place(self, held: _Held) -> None:
        if self._groups.join(held.message.group, held):
            self._free(held)

    def _free(self, held: _Held) -> None:
        """Let a message be received, now or when its delay is over."""
        now = self._clock()
        if held.visible > now:
            held.delayed = True
            self._hide(held, now)
            self._last_delayed = held
        else:
            self._make_ready(held)

    def _make_ready(self, held: _Held) -> None:
        place = held.number + self._straggle()
        heappush(self._ready, (held.message.priority, place, held.number, held))

    def _forget(self, held: _Held) -> None:
        """Remove a message for good; the one behind it in its group is free then."""
        held.ticket = 0
        following = self._groups.leave(held.message.group)
        if following is not None:
            self._free(following)

    def _wait(self, held: _Held) -> None:
        self._tickets += 1
        held.ticket = self._tickets
        heappush(self._waiting, (held.visible, held.ticket, held))

    def _settle(self) -> float:
        """Move what became visible to those that can be received; return the time."""
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            entry = heappop(self._waiting)
            held = entry[2]
            if _is_stale(entry):
                continue
            self._show(held)
            held.delayed = False
            self._make_ready(held)
        return now

    def _too_old(self, held: _Held, now: float) -> bool:
        return now - held.message.enqueued >= self.attributes.message_retention_period

    def _buried(self, held: _Held) -> bool:
        return self._bury is not None and self._bury(self, held.message, held.origin)

    def _hide(self, held: _Held, now: float, seconds: float | None = None) -> None:
        """Let a message wait with a new handle, for a lease of `seconds` or until its delay is over."""
        if seconds is not None:
            held.visible = now + seconds / self._fast
        held.handle = new_handle(held.message.message_id, held.dequeues, now, held.visible, held.number)
        self._by_handle[held.handle] = held
        self._delayed += held.delayed
        self._leases += not held.delayed
        self._wait(held)

    def _show(self, held: _Held) -> None:
        """Let a message no longer wait under its handle."""
        del self._by_handle[held.handle]
        self._delayed -= held.delayed
        self._leases -= not held.delayed
        held.handle = ""

    def _taken(self, handle: str) -> _Held:
        """Return the message that a handle is good for, which it is no longer then."""
        self._settle()
        held = self._by_handle.get(handle)
        if held is None:
            raise ServiceError(self._lost if is_handle(handle) else "ReceiptHandleError")
        self._show(held)
        return held


def new_message_id() -> str:
    """Return 32 hex digits, as today's message ids are (PROTOCOL 1.5)."""
    return secrets.token_hex(16).upper()


def _is_stale(entry: tuple[float, int, _Held]) -> bool:
    _, ticket, held = entry
    return held.ticket != ticket


def _lease_of(held: _Held) -> Lease:
    message = held.message
    first = held.first_dequeued or message.enqueued
    return Lease(message, held.handle, held.visible, first, held.dequeues)
