"""Let work that was begun come to its end when the task around it is cancelled, for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


async def within_grace(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do the work. On cancellation it has `seconds` more to end, and is cancelled itself after that."""
    shield = anyio.CancelScope(shield=True)
    ended = anyio.Event()

    async def shielded() -> None:
        try:
            with shield:
                await work()
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shielded)
        try:
            await ended.wait()
        finally:
            shield.deadline = anyio.current_time() + seconds
