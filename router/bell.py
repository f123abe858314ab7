"""A bell: wakes all who wait for a change. To ring it where nobody waits costs nothing, and is not remembered."""

from __future__ import annotations

import anyio


class Bell:
    """Rung after every change; whoever waits looks first at what it waits for, and again once it is woken."""

    def __init__(self) -> None:
        self._rung: anyio.Event | None = None

    def ring(self) -> None:
        """Wake all who wait."""
        if self._rung is not None:
            self._rung.set()
            self._rung = None

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until it is rung, no longer than so many seconds."""
        rung = self._rung = self._rung or anyio.Event()
        if seconds is None:
            await rung.wait()
            return
        with anyio.move_on_after(seconds):
            await rung.wait()
