"""A front: runs a source here, decodes what it takes in, and hands it to the engine over the link.

`emit` returns when the engine said that the batch is safe, so the source answers as if it ran in the engine's process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from socket import socket

import anyio
import structlog

from router import plugin
from router.errors import Retry, is_cancellation, told
from router.event import Event, Message
from router.fronts.link import Link
from router.fronts.pulse import BEAT
from router.fronts.wire import Alive, Counted, Failed, Ready, Refused, Stop, pack, read_order, say
from router.intake import decoded
from router.outlet import dropped_lines
from router.plugin import Decoder, Source

PART = 2**20
"""Bytes of bodies in one batch, about: more is sent in parts."""
REPORT = 0.2
"""Seconds between two reports of what was counted."""

log = structlog.get_logger("front")


class _Sent:
    """A batch that the engine has not answered."""

    __slots__ = ("answered", "error")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.error: Retry | None = None


class Front:
    """One source in this process; `gone` is called as soon as the engine is."""

    def __init__(
        self, link: Link, name: str, source: Source, decoder: Decoder, gone: Callable[[], object] = lambda: None
    ) -> None:
        self.error = ""
        """Why the source ended, where nobody told it to."""
        self._link = link
        self._gone = gone
        self._name = name
        self._source = source
        self._decoder = decoder
        self._sent: dict[int, _Sent] = {}
        self._number = 0
        self._turn = anyio.Lock()
        self._counts: Counter[str] = Counter()
        self._dropped = 0
        self._ready = anyio.Event()
        self._trouble = ""
        self._scope = anyio.CancelScope()

    async def run(self, sockets: Sequence[socket]) -> None:
        """Run the source until told to stop, or until it fails.

        Raises `EndOfStream` when the engine is gone: then nothing can become safe any more, and the process must end.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._obey)
            tasks.start_soon(self._beat)
            tasks.start_soon(self._report)
            self.error = await self._work(sockets)
            await self._tell_counts()
            if self.error:
                await self._link.send(say(Failed(self.error)))
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """Take nothing more; what is in hand is answered within the source's own grace."""
        self._scope.cancel()

    async def _work(self, sockets: Sequence[socket]) -> str:
        """Run the source; return why it ended, if nobody told it to."""
        try:
            with self._scope:
                await self._source.run_on(sockets, self._emit, plugin.Ready(self._note), self._count)
                return "the source ended by itself"
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if is_cancellation(error):
                raise
            log.exception("source failed", source=self._name, error=told(error))
            return told(error)
        return ""

    async def _emit(self, messages: Sequence[Message]) -> None:
        """Return when the engine has stored the messages; raises `Retry` when it could not store all of them."""
        events, _ = decoded(self._decoder, self._name, messages)
        sent: dict[int, _Sent] = {}
        try:
            for part in _parts(events):
                async with self._turn:  # what waits for its turn is not packed yet, which would take memory
                    self._number += 1
                    self._sent[self._number] = sent[self._number] = _Sent()
                    await self._link.send(pack(self._number, part))
            for one in sent.values():
                await one.answered.wait()
        except anyio.EndOfStream as error:
            raise Retry("the engine is gone") from error
        finally:
            for number in sent:
                del self._sent[number]
        for one in sent.values():
            if one.error:
                raise one.error

    async def _obey(self) -> None:
        """Do what the engine says; where it is gone, that is said to `gone` first, as a source may take long to end."""
        while True:
            try:
                said = read_order(await self._link.receive())
            except anyio.EndOfStream:
                self._gone()
                raise
            if isinstance(said, Stop):
                self.stop()
                continue
            for number in said.numbers:
                if one := self._sent.get(number):
                    one.error = (
                        Retry(said.reason, said.after, detail=said.detail) if isinstance(said, Refused) else None
                    )
                    one.answered.set()

    def _note(self, trouble: str) -> None:
        self._trouble = trouble
        self._ready.set()

    def _count(self, what: str) -> None:
        self._counts[what] += 1

    async def _beat(self) -> None:
        while True:
            await self._link.send(say(Alive()))
            await anyio.sleep(BEAT)

    async def _report(self) -> None:
        """Say whether messages can arrive, and what was counted, every now and then."""
        await self._ready.wait()
        said = None
        while True:
            if said != self._trouble:
                said = self._trouble
                await self._link.send(say(Ready(said)))
            await self._tell_counts()
            await anyio.sleep(REPORT)

    async def _tell_counts(self) -> None:
        if dropped := dropped_lines() - self._dropped:
            self._counts["log_dropped"] += dropped
            self._dropped += dropped
        if self._counts:
            counts, self._counts = self._counts, Counter()
            await self._link.send(say(Counted(counts)))


def _parts(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Cut a batch where its bodies get too long."""
    start = size = 0
    for end, event in enumerate(events):
        size += len(event.raw)
        if size > PART and end > start:
            yield events[start:end]
            start, size = end, len(event.raw)
    if start < len(events):
        yield events[start:]
