"""A bell: wakes all who wait for a change. Who rings hangs up a new one, so that nobody misses it."""

from __future__ import annotations

import anyio


class Bell:
    """Rung after every change; whoever waits looks again at what it waits for."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self._rung.set()
        self._rung = anyio.Event()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until it is rung, no longer than so many seconds."""
        with anyio.move_on_after(seconds):
            await self._rung.wait()
