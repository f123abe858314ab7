"""The leases of what is being stored: extended while that takes long, so that nobody receives it a second time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import ceil

import anyio

from router_plugins.mns.client import QueueClient
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.credentials import CredentialsError
from router_plugins.mns.errors import MnsError, MnsUnreachableError


class _Held:
    """The handles of one batch, when they are to be extended, and whether that is under way."""

    def __init__(self, handles: list[str], due: float) -> None:
        self.handles = handles
        self.due = due
        self.over = False
        self.idle = anyio.Event()
        self.idle.set()


class Leases:
    """One watch over all batches: a task for each would cost more than receiving it."""

    def __init__(self, client: QueueClient, seconds: float, complain: Complaints) -> None:
        self._client = client
        self._seconds = seconds
        self._complain = complain
        self._held: set[_Held] = set()

    @asynccontextmanager
    async def held(self, handles: list[str]) -> AsyncGenerator[None]:
        """Keep messages hidden until the block ends; their newest handles are put into the list."""
        one = _Held(handles, anyio.current_time() + self._seconds / 2)
        self._held.add(one)
        try:
            yield
        finally:
            self._held.discard(one)
            one.over = True
        await one.idle.wait()

    async def keep(self) -> None:
        """Extend for ever whatever has used up half of its lease."""
        async with anyio.create_task_group() as tasks:
            while True:
                now = anyio.current_time()
                for one in [held for held in self._held if held.due <= now]:
                    one.due = now + self._seconds / 2
                    if one.idle.is_set():
                        one.idle = anyio.Event()
                        tasks.start_soon(self._extend, one)
                earliest = min((held.due for held in self._held), default=now + self._seconds / 2)
                await anyio.sleep(earliest - now)

    async def _extend(self, one: _Held) -> None:
        """Hide a batch for another lease, message by message, under new handles."""
        try:
            for place, handle in enumerate(one.handles):
                if one.over:
                    return
                try:
                    one.handles[place] = await self._client.change_visibility(handle, ceil(self._seconds))
                    self._complain("lease_extended")
                except (MnsError, MnsUnreachableError, CredentialsError) as error:
                    self._complain("extend_failed", error=str(error))
        finally:
            one.idle.set()
