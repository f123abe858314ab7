"""Long polls: receivers that wait until a queue has something for them (PROTOCOL 1.6)."""

from __future__ import annotations

from collections import Counter, deque
from time import monotonic

import anyio

from router_plugins.emulator.account import Account
from router_plugins.emulator.queued import Clock, Lease


class LongPolls:
    """All receivers that wait. Beyond `limit` of them for one queue, a poll returns at once with nothing."""

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._waiting: dict[str, deque[anyio.Event]] = {}
        self._count: Counter[str] = Counter()

    def arrived(self, queue: str) -> None:
        """Wake the receiver that waits longest."""
        waiting = self._waiting.get(queue)
        if waiting:
            waiting.popleft().set()

    async def receive(self, account: Account, name: str, count: int, seconds: float) -> list[Lease]:
        """Receive up to `count` messages, waiting up to `seconds` for the first; raises `QueueNotExist`."""
        queue = account.queue(name)
        leases = queue.receive(count)
        if leases or seconds <= 0 or self._count[name] >= self._limit:
            return leases
        self._count[name] += 1
        try:
            until = monotonic() + seconds
            while not leases and (left := until - monotonic()) > 0:
                await self._wait(name, queue.next_visible(), left)
                leases = account.queue(name).receive(count)
        finally:
            self._count[name] -= 1
            if queue.counts().active:  # left over, or this receiver was cancelled when it had been woken
                self.arrived(name)
        return leases

    async def _wait(self, name: str, next_visible: float | None, longest: float) -> None:
        """Wait for an arrival, or until a hidden message can be seen again.

        An event loop's timers have whole milliseconds and may be early by one: the caller looks at the clock.
        """
        if next_visible is not None:
            longest = min(longest, max(0.0, next_visible - self._clock()))
        arrival = anyio.Event()
        waiting = self._waiting.setdefault(name, deque())
        waiting.append(arrival)
        try:
            with anyio.move_on_after(longest):
                await arrival.wait()
        finally:
            if not arrival.is_set():
                waiting.remove(arrival)
