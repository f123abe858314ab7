"""How fast requests may follow each other: as fast as they come, until the service says that it is too fast."""

from __future__ import annotations

import anyio

_FIRST = 0.05
_LONGEST = 5.0
_NOTHING = 0.01


class Pace:
    """The pause between two requests of one client, in seconds: doubled by `slow_down`, shortened by each success."""

    def __init__(self) -> None:
        self.pause = 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the next turn; turns are given in the order of asking."""
        if not self.pause:
            return
        now = anyio.current_time()
        turn = max(now, self._next)
        self._next = turn + self.pause
        await anyio.sleep(turn - now)

    def slow_down(self) -> None:
        """Take it slower from now on: the service said `QpsLimitExceeded` (PROTOCOL 1.8)."""
        self.pause = min(_LONGEST, max(_FIRST, self.pause * 2))

    def succeed(self) -> None:
        """Take it a little faster."""
        self.pause = self.pause * 0.9 if self.pause > _NOTHING else 0.0
