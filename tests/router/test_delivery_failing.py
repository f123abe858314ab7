"""Delivery past events that always fail: the others arrive, and those end by their schedule."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from fakes.delivery import Books

from router.errors import Partial, Retry
from router.event import Batch
from router.plugin import Sink
from router.retry import SCHEDULE, Policy
from router.routed import Chunk
from router.testing import make_event

pytestmark = pytest.mark.anyio

ALL = 4000
BAD = ALL // 20
HOOK = Policy(in_flight=32, batch=1)
SCHEDULED = sum(SCHEDULE) * 1.1 + len(SCHEDULE) * 600
"""Seconds in which the schedule of whatever fails is over, its quick tries included."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock go with trio's."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())


class Feed(Books):
    """A journal of so many events, the one at position n with the number n; read in chunks as they are asked for."""

    def __init__(self, count: int, keys: int = 1) -> None:
        super().__init__()
        self.events = [make_event(number=str(n), key=f"k{n % keys}") for n in range(1, count + 1)]
        self._at = 1
        self._more = anyio.Event()

    def head(self) -> int:
        return len(self.events) + 1

    def grow(self, count: int) -> None:
        """Store more events."""
        first = len(self.events) + 1
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
    """Answers each event by its number; notes which it took, and when it was asked."""

    answer: Callable[[int], Exception | None]
    takes: float = 0.05
    took: set[int] = set()
    asked: list[tuple[float, int]] = []

    async def deliver(self, batch: Batch) -> None:
        self.asked.extend((anyio.current_time(), number(event)) for event in batch)
        await anyio.sleep(self.takes)
        errors = {i: error for i, event in enumerate(batch) if (error := self.answer(number(event)))}
        self.took.update(number(event) for i, event in enumerate(batch) if i not in errors)
        if len(batch) == 1 and errors:
            raise errors[0]
        if errors:
            raise Partial(errors)  # type: ignore[arg-type]


def number(event: Any) -> int:
    return int(event.get("number"))


def every_twentieth(n: int) -> Exception | None:
    return Retry("answered 500") if n % 20 == 0 else None
