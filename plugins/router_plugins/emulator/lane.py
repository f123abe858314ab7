"""The pushes of one subscription: those that wait, by the time they are due, and the connections that were kept."""

from __future__ import annotations

from heapq import heappop, heappush
from time import monotonic

import anyio
import msgspec

from router_plugins.emulator.backoff import Backoff
from router_plugins.emulator.push_connection import PushConnection
from router_plugins.emulator.topic import Push

_IDLE = 30.0
"""Seconds after which a lane without pushes looks whether its subscription is still there."""


class Try(msgspec.Struct, frozen=True, gc=False):
    """One attempt at a push; a `surplus` one is a duplicate to order, which is neither booked nor made again."""

    push: Push
    attempt: int
    surplus: bool = False


class Turn(msgspec.Struct, frozen=True, gc=False):
    """An attempt that starts now: its epoch of the backoff, and by how many seconds backoff made it late."""

    one: Try
    epoch: int
    late: float


class Lane:
    """The pushes of one subscription by the time they are due, and the connections that were kept."""

    def __init__(self, in_flight: int, fast: float = 1) -> None:
        self.pending = 0
        self.backoff = Backoff(fast)
        self.slots = anyio.Semaphore(in_flight)
        self._due: list[tuple[float, int, Try]] = []
        self._number = 0
        self._changed = anyio.Event()
        self._kept: list[PushConnection] = []

    def add(self, one: Try, wait: float) -> None:
        """Have a push made in so many seconds."""
        self.pending += 1
        self._number += 1
        heappush(self._due, (monotonic() + wait if wait else 0.0, self._number, one))
        self._changed.set()

    def due_now(self) -> Turn | None:
        """Return a push that is due and may start, if there is one."""
        now = monotonic()
        if not self._due or self._due[0][0] > now or self.backoff.wait(now):
            return None
        due, _, one = heappop(self._due)
        late = now - due if due and self.backoff.level else 0.0
        return Turn(one, self.backoff.start(now), late)

    async def next_due(self) -> Turn | None:
        """Wait for the next push that is due and may start; None when there was none for a while."""
        while (turn := self.due_now()) is None:
            now = monotonic()
            left = max(self._due[0][0] - now, self.backoff.wait(now)) if self._due else _IDLE
            self._changed = anyio.Event()
            with anyio.move_on_after(left) as scope:
                await self._changed.wait()
            if scope.cancelled_caught and not self._due:
                return None
        return turn

    def settle(self, turn: Turn, *, answered: bool) -> None:
        """Note how a push ended, which may change the backoff."""
        self.backoff.settle(turn.epoch, monotonic(), answered=answered)
        self._changed.set()

    def kept(self) -> PushConnection | None:
        """Return a connection that can be used again, if there is one."""
        while self._kept:
            connection = self._kept.pop()
            if connection.usable:
                return connection
        return None

    def keep(self, connection: PushConnection | None) -> None:
        """Keep a connection for later."""
        if connection is not None:
            self._kept.append(connection)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._kept:
            connection.close()
        self._kept.clear()
