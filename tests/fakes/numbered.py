"""Numbered events: a journal of many, and a destination that answers each by its number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from fakes.delivery import Books
from router.errors import Partial, Reject, Retry
from router.event import Batch, Event
from router.plugin import Sink
from router.routed import Chunk
from router.testing import make_event

Answer: TypeAlias = Callable[[int], Retry | Reject | None]


class Feed(Books):
    """A journal of so many events, the one at position n with the number n; of the subscription's past it has some."""

    def __init__(self, count: int, keys: int = 1, before: int = 0) -> None:
        super().__init__()
        self.events = [make_event(number=str(n), key=f"k{n % keys}") for n in range(1, count + 1)]
        self.progress = replace(self.progress, since=1 - before, delivered=before)
        self._at = 1
        self._more = anyio.Event()

    def head(self) -> int:
        return len(self.events) + 1

    def grow(self, count: int) -> None:
        first = self.head()
        self.events += [make_event(number=str(n), key="new") for n in range(first, first + count)]
        self._more.set()
        self._more = anyio.Event()

    async def take(self, limit: int) -> Chunk:
        await anyio.lowlevel.checkpoint()
        while self._at >= self.head():
            await self._more.wait()
        first, self._at = self._at, min(self._at + limit, self.head())
        return Chunk(self._at, range(first, self._at), self.events[first - 1 : self._at - 1])


class Hook(Sink, frozen=True, kw_only=True):
    """Answers each event by its number, or with `whole` its batch; notes which it took, and when it was asked."""

    answer: Answer
    whole: bool = False
    took: set[int] = set()
    asked: list[tuple[float, int]] = []

    async def deliver(self, batch: Batch) -> None:
        self.asked.extend((anyio.current_time(), number(event)) for event in batch)
        await anyio.sleep(0.05)
        errors = {i: error for i, event in enumerate(batch) if (error := self.answer(number(event)))}
        if errors and (self.whole or len(batch) == 1):
            raise errors[min(errors)]
        self.took.update(number(event) for i, event in enumerate(batch) if i not in errors)
        if errors:
            raise Partial(errors)


def number(event: Event) -> int:
    return int(event.get("number"))


def hook(answer: Answer, *, whole: bool = False) -> Hook:
    return Hook(answer=answer, whole=whole, took=set(), asked=[])
