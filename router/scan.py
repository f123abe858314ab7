"""Scan: reads the journal for the subscriptions that lag, once for all that are at about the same place.

A stretch of the journal is read, decoded and routed when the first of them comes to it, and stays on a shelf for
those behind; so its events are also encoded only once. They are served one after the other, in turns that
`router.spare` gives: decoding goes in slices, and what follows a call to a destination is counted by a guess.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

import anyio
import msgspec

from router.event import Event
from router.journal import Segment
from router.spare import Turns

READ = 512
"""Events that are read at a time, or more where more were stored together."""
SHELF_EVENTS = 16 * READ
SHELF_BYTES = 16 * 2**20
"""What the shelf holds at most, besides the stretch that was read last."""
SLICE = 16
"""Events that are decoded in one turn while others wait."""
STRIDE = 64
"""Events that are decoded in one turn while nobody does."""
DOSE = 64
"""Events in a call at most while others wait, so that they do not wait long."""
CALL = 0.0003
"""Seconds of the loop that a call to a destination takes; each event in it is taken to cost as much as decoding it."""

Read: TypeAlias = Callable[[int, int], Coroutine[Any, Any, Segment]]
"""The journal's `read`: from a position on, about so many events."""

Wanted: TypeAlias = Callable[[Event], tuple[int, ...]]
"""Says which routes want an event, by their indices."""

Taken: TypeAlias = tuple[int, list[int], list[Event]]
"""The position up to which the journal was looked through, and positions and events of what is wanted before it."""


class Place(Protocol):
    """A route that lags, and where in the journal it is."""

    index: int
    position: int


class _Stretch(msgspec.Struct, frozen=True):
    """Consecutive events of the journal, each with the routes that want it."""

    first: int
    events: list[Event]
    routes: list[tuple[int, ...]]
    size: int

    @property
    def end(self) -> int:
        return self.first + len(self.events)

    def taken(self, place: Place, limit: int) -> Taken:
        """Return what the place wants of it, up to `limit` events."""
        positions: list[int] = []
        events: list[Event] = []
        for at in range(max(place.position - self.first, 0), len(self.events)):
            if place.index in self.routes[at]:
                if len(events) == limit:
                    return self.first + at, positions, events
                positions.append(self.first + at)
                events.append(self.events[at])
        return self.end, positions, events


class Scan:
    """Serves places that lag, each at its own pace."""

    def __init__(self, read: Read, wanted: Wanted, turns: Turns) -> None:
        self._read = read
        self._wanted = wanted
        self._turns = turns
        self._shelf: deque[_Stretch] = deque()
        self._one_by_one = anyio.Lock()
        self._pace = 0.0

    def replace(self, wanted: Wanted) -> None:
        """Route by other matches from now on."""
        self._wanted = wanted
        self._shelf.clear()

    async def take(self, place: Place, limit: int) -> Taken:
        """Return what a place wants of the next stretch, up to `limit` events; there may be none in it."""
        async with self._one_by_one:
            alone = await self._turns.wait()
            stretch = self._on_shelf(place.position) or await self._fetch(place.position)
            taken = stretch.taken(place, limit if alone else min(limit, DOSE))
            if count := len(taken[1]):
                self._turns.spent(CALL + count * self._pace)
            return taken

    def _on_shelf(self, position: int) -> _Stretch | None:
        return next((one for one in self._shelf if one.first <= position < one.end), None)

    async def _fetch(self, position: int) -> _Stretch:
        """Read a stretch, decode it slice by slice, and put it on the shelf."""
        segment = await self._read(position, READ)
        events: list[Event] = []
        while len(events) < len(segment.events):
            size = STRIDE if await self._turns.wait() else SLICE
            started = time.monotonic()
            some = segment.events[len(events) : len(events) + size]
            spent = time.monotonic() - started
            self._turns.spent(spent)
            self._pace += (spent / len(some) - self._pace) / 8
            events += some
        # Only now, and in one go: while it was decoded, a reload may have brought other routes.
        routes = [self._wanted(event) for event in events]
        stretch = _Stretch(segment.first, events, routes, sum(len(event.raw) for event in events))
        self._put(stretch)
        return stretch

    def _put(self, stretch: _Stretch) -> None:
        shelf = self._shelf
        shelf.append(stretch)
        while len(shelf) > 1 and (
            sum(len(one.events) for one in shelf) > SHELF_EVENTS or sum(one.size for one in shelf) > SHELF_BYTES
        ):
            shelf.popleft()
