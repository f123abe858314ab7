"""A destination that takes everything at once, and notes how long after its arrival each result is delivered."""

from __future__ import annotations

import time
from array import array
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from router import Batch, Deliver, Sink


class Stopwatch(Sink, frozen=True, kw_only=True):
    """Write the seconds from arrival to delivery, as an array of doubles, to a file when it is closed."""

    path: str

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Take the times of what is delivered in the block."""
        seconds = array("d")

        async def deliver(batch: Batch) -> None:
            now = time.time()
            seconds.extend(now - event.received for event in batch)

        try:
            yield deliver
        finally:
            _write(Path(self.path), seconds)


def _write(path: Path, seconds: array[float]) -> None:
    path.write_bytes(seconds.tobytes())
