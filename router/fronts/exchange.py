"""The engine's end of one front: batches in, answers out.

While some batches are being made durable, the next are read, and go together: the fewer commits, the more results a
second. So much may wait and no more; then the front is not read from, and slows its clients down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain
from typing import Any, TypeAlias

import anyio
import msgspec

from router.errors import Retry
from router.event import Event
from router.fronts.link import Link
from router.fronts.pulse import BEAT, Pulse
from router.fronts.wire import Batch, Counted, Done, Failed, Ready, Refused, Wire, say
from router.plugin import tell

WAITING = 8 * 2**20
"""Bytes of frames of one front that may wait to become safe, before no more are read."""

Store: TypeAlias = Callable[[Sequence[Event], int], Coroutine[Any, Any, None]]
"""Make events safe, of which so many are `Undecodable`; raises `Retry`."""


class Exchange:
    """Works for one front. `counts` are the source's, `ready` is called when the front says that it is."""

    def __init__(self, link: Link, wire: Wire, store: Store, ready: Callable[[], None], counts: Counter[str]) -> None:
        self.error = ""
        """Why the front ended, if it said that, or what was wrong with what it said, or that it said nothing."""
        self._link = link
        self._wire = wire
        self._store = store
        self._ready = ready
        self._counts = counts
        self._waiting: list[Batch] = []
        self._sizes = 0
        self._taken = 0
        self._pulse = Pulse()
        self._arrived = anyio.Event()
        self._room = anyio.Event()

    async def run(self) -> None:
        """Serve until the front is gone."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_storing)
            tasks.start_soon(self._watch)
            try:
                while True:
                    await self._read()
            except anyio.EndOfStream:
                pass
            except msgspec.MsgspecError as error:
                self.error = f"it does not say what a front says: {error}"
            tasks.cancel_scope.cancel()

    async def _read(self) -> None:
        while self._crowded:
            self._room = anyio.Event()
            await self._room.wait()
        frame = await self._link.receive()
        self._pulse.beat()
        said = self._wire.read(frame)
        if isinstance(said, Batch):
            self._sizes += len(frame)
            self._waiting.append(said)
            self._arrived.set()
        elif isinstance(said, Ready):
            tell(self._ready, said.trouble)
        elif isinstance(said, Counted):
            self._counts.update(said.counts)
        elif isinstance(said, Failed):
            self.error = said.error

    @property
    def _crowded(self) -> bool:
        """Whether so much waits that the front is not read from."""
        return self._sizes + self._taken > WAITING

    async def _watch(self) -> None:
        """End with a front that hangs: nobody else would notice."""
        while True:
            looked = anyio.current_time()
            await anyio.sleep(BEAT)
            if self._crowded:
                self._pulse.beat()
            elif self._pulse.missed(anyio.current_time() - looked):
                self.error = f"it hangs: it said nothing for {self._pulse.silent:g} s"
                self._link.shutdown()
                return

    async def _keep_storing(self) -> None:
        """Store all that waits, as one, and say so."""
        while True:
            if not self._waiting:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            batches, self._waiting = self._waiting, []
            self._taken, self._sizes = self._sizes, 0
            answer = await self._answer(batches)
            self._taken = 0
            self._room.set()
            try:
                await self._link.send(say(answer))
            except anyio.EndOfStream:
                return  # whoever reads sees it, too

    async def _answer(self, batches: Sequence[Batch]) -> Done | Refused:
        numbers = [batch.number for batch in batches]
        events = [self._wire.events_of(batch) for batch in batches]
        unknown = sum(len(batch.unknown) for batch in batches)
        try:
            await self._store(events[0] if len(events) == 1 else list(chain.from_iterable(events)), unknown)
        except Retry as error:
            return Refused(numbers, error.reason, error.after, error.detail)
        return Done(numbers)
