"""Spare time: work that can wait runs when there is nothing else to do.

Whoever has such work asks for a turn before each piece of it. While nothing comes in, and the event loop is idle, which
shows in how soon a task that steps aside is called again, the turn comes at once. Else it comes when the others have
had `SHARE` times as long as the piece before took. So work that can wait has a small share of the time, and all
of it as soon as nobody else wants it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.lowlevel

SHARE = 19
"""How many times as long as a piece of work took the others have, while they want it."""
LONGEST = 0.25
"""Seconds that a turn is waited for at most, however long the piece before took."""
QUIET = 0.005
"""Seconds in which nothing came in, so that nothing is expected to."""
IDLE = 0.0001
"""Seconds in which a loop that has nothing to do calls again; several times what that takes."""
LOOK = 0.002
"""Seconds between two looks whether there is time to spare; looking without a pause would leave none to the writer."""


class Turns(Protocol):
    """Says when a piece of work may run; to be asked by one task at a time."""

    async def wait(self) -> bool:
        """Wait for the next turn, at least until the others that are ready have run; return whether nobody waits."""
        ...

    def spent(self, seconds: float) -> None:
        """Note how long the work of this turn took, or is going to take."""
        ...


class AtOnce:
    """Gives a turn to whoever asks."""

    async def wait(self) -> bool:
        """Step aside once."""
        await anyio.lowlevel.checkpoint()
        return True

    def spent(self, seconds: float) -> None:
        """Let it cost nothing."""


class SpareTime:
    """Gives turns as this file says; `arrived` counts what came in so far."""

    def __init__(self, arrived: Callable[[], int]) -> None:
        self._arrived = arrived
        self._seen = arrived()
        self._quiet_from = 0.0
        self._until = 0.0

    async def wait(self) -> bool:
        """Wait until there is time to spare, or the others have had their share."""
        while True:
            before = time.monotonic()
            await anyio.lowlevel.checkpoint()
            now = time.monotonic()
            arrived = self._arrived()
            if arrived != self._seen:
                self._seen, self._quiet_from = arrived, now + QUIET
            spare = now >= self._quiet_from and now - before < IDLE
            if spare or now >= self._until:
                return spare
            await anyio.sleep(LOOK)

    def spent(self, seconds: float) -> None:
        """Give the others their share of this."""
        self._until = time.monotonic() + min(SHARE * seconds, LONGEST)
