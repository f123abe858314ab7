"""The end is bounded, whatever plugins do: what is settled is committed, and who does not end is left behind.

A task that swallows its cancellation cannot be ended in this process, only with it: so whoever runs the daemon is told
when all is on disk that can be, and ends the process if it does not end by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import structlog

from router.errors import RouterError

CLOSING = 5.0
"""Seconds that a plugin has to end once it is cancelled."""
COMMIT = 2.0
"""Seconds that the last commit may take."""

log = structlog.get_logger("service")


async def wait_ended(ended: anyio.Event, seconds: float, **who: str) -> bool:
    """Wait until what was cancelled has ended, but not longer; says in the log who does not, and returns whether."""
    with anyio.move_on_after(seconds):
        await ended.wait()
        return True
    log.error("it does not end though it was cancelled, and is left behind", seconds=seconds, **who)
    return False


class Ending:
    """What the daemon tells whoever runs it about its end; `settled` is called when nothing is left to be committed."""

    def __init__(self, settled: Callable[[], object] = lambda: None) -> None:
        self.flush: Callable[[], Coroutine[Any, Any, None]] | None = None
        """Commits what is settled."""
        self.grace: Callable[[], float] = float
        """How long what is in flight may take, in seconds."""
        self._settled = settled

    async def commit(self) -> None:
        """Commit what is settled, if that can be done now."""
        if self.flush:
            with anyio.move_on_after(COMMIT, shield=True), suppress(RouterError):
                await self.flush()

    async def settle(self) -> None:
        """Commit what is settled, and say that the rest may be cut off."""
        await self.commit()
        self._settled()
