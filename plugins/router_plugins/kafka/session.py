"""The life of one producer, in a task of its own, and its lanes; when a batch fails, another session follows it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from router import Retry
from router_plugins.kafka.lane import Lane
from router_plugins.kafka.producer import PATIENCE, Heard, Producer, Settings, causes, producing


class Session:
    """Connects as soon as it is made, inside a running asyncio loop. Who makes it must `end` it."""

    def __init__(self, settings: Settings) -> None:
        self.lanes: dict[tuple[str, int], Lane] = {}
        self.heard: Heard = deque(maxlen=8)
        """What was heard of what is wrong since something arrived."""
        self._settings = settings
        self._connected: asyncio.Future[Producer] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def is_over(self) -> bool:
        """Whether another session is needed: this one could not connect, or one of its batches failed."""
        return self._task.done() or any(lane.broken for lane in self.lanes.values())

    async def producer(self) -> Producer:
        """Wait for the connection; raise `Retry` when there is none in time. It goes on being made then."""
        waiting: list[asyncio.Future[Any]] = [self._connected, self._task]
        await asyncio.wait(waiting, timeout=self._settings.timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        if not self._connected.done():
            servers = ", ".join(self._settings.servers)
            why = f": {causes(self.heard)}" if self.heard else " (is it the right port, with `tls` or without?)"
            raise Retry(f"no connection to {servers} within {self._settings.timeout:g} s{why}")
        return self._connected.result()

    async def end(self) -> None:
        """Disconnect; may be called again when it was cancelled."""
        self._ended.set()
        if not self._connected.done():
            waiting: list[asyncio.Future[Any]] = [self._connected, self._task]
            await asyncio.wait(waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not self._connected.done():
                self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # said to whom it concerned, by `producer`

    async def _run(self) -> None:
        async with producing(self._settings, self.heard) as producer:
            self._connected.set_result(producer)
            await self._ended.wait()
