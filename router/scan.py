"""Scan: reads the journal for the subscriptions that lag, once for all that are at about the same place.

A stretch of the journal is read, decoded and routed when the first of them comes to it, and stays on a shelf for
those behind; so its events are also encoded only once. They are served one after the other, in turns that
`router.spare` gives: decoding goes in slices, and what follows a call to a destination is counted by a guess.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import compress
from typing import Any, Protocol, TypeAlias

import anyio

from router.bell import Bell
from router.event import Event
from router.journal import Segment
from router.routed import Chunk, Routed, Wanted, joined, route
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
PATIENCE = 0.1
"""Seconds that who is ahead waits for those just behind, and in which they must have come."""
CALL = 0.0003
"""Seconds of the loop that a call to a destination takes; each event in it is taken to cost as much as decoding it."""

Read: TypeAlias = Callable[[int, int], Coroutine[Any, Any, Segment]]
"""The journal's `read`: from a position on, about so many events."""


class Place(Protocol):
    """A route that lags, and where in the journal it is."""

    index: int
    position: int
    live: bool
    """Whether it lags no more."""


class Scan:
    """Serves places that lag, each at its own pace."""

    def __init__(self, read: Read, wanted: Wanted, turns: Turns) -> None:
        self._read = read
        self._wanted = wanted
        self._turns = turns
        self._shelf: deque[Routed] = deque()
        self._places: dict[Place, float] = {}
        """Who lags, and when it came last."""
        self._bell = Bell()
        self._one_by_one = anyio.Lock()
        self._pace = 0.0

    def replace(self, wanted: Wanted) -> None:
        """Route by other matches from now on."""
        self._wanted = wanted
        self._shelf.clear()
        self._places.clear()

    async def take(self, place: Place, limit: int) -> Chunk:
        """Return what a place wants of what comes next, up to `limit` events; there may be none in it.

        While nobody waits it goes through up to `limit` events, wanted or not, in several stretches: one call to a
        destination costs less than many.
        """
        self._places[place] = anyio.current_time()
        await self._wait_others(place)
        async with self._one_by_one:
            left = limit if await self._turns.wait() else min(limit, DOSE)
            position = place.position
            chunks: list[Chunk] = []
            while not chunks or (left >= READ and await self._turns.wait()):
                stretch = self._on_shelf(position) or await self._fetch(position)
                chunk = stretch.chunk(place.index, position, left)
                chunks.append(chunk)
                left -= chunk.end - position
                position = chunk.end
                if stretch.end - stretch.first < READ:  # the journal ends there
                    break
            taken = joined(chunks)
            if count := len(taken.events):
                self._turns.spent(CALL + count * self._pace)
            self._bell.ring()
            return taken

    async def _wait_others(self, place: Place) -> None:
        """Before the next stretch is read, wait for those that may still take the last ones from the shelf.

        Who wants little would else run ahead, until those behind must read all again. Nobody waits for long, nor for
        one that has not come for a while, nor for one that is out of reach.
        """
        with anyio.move_on_after(PATIENCE):
            while not self._on_shelf(place.position) and self._just_behind(place):
                await self._bell.wait()

    def _just_behind(self, place: Place) -> bool:
        since = anyio.current_time() - PATIENCE
        return any(
            came > since and 0 < place.position - other.position < SHELF_EVENTS and not other.live
            for other, came in self._places.items()
        )

    def _on_shelf(self, position: int) -> Routed | None:
        return next((one for one in self._shelf if one.first <= position < one.end), None)

    async def _fetch(self, position: int) -> Routed:
        """Read a stretch, decode it slice by slice, and put it on the shelf."""
        wanted, shown = self._wanted, bool(self._shelf) and self._shelf[-1].shown
        segment = await self._read(position, READ)
        events: list[Event] = []
        routes: list[tuple[int, ...]] = []
        while len(events) < len(segment.events):
            size = STRIDE if await self._turns.wait() else SLICE
            started = time.monotonic()
            some = segment.events[len(events) : len(events) + size]
            theirs = [wanted(event) for event in some]
            if shown:  # as the JSON of the last ones was; it costs less while these are in the processor's cache
                for event in compress(some, theirs):
                    event.json()
            spent = time.monotonic() - started
            self._turns.spent(spent)
            self._pace += (spent / len(some) - self._pace) / 8
            events += some
            routes += theirs
        if self._wanted is not wanted:  # a reload has brought other routes meanwhile
            routes = [self._wanted(event) for event in events]
        stretch = route(segment.first, events, routes)
        self._put(stretch)
        return stretch

    def _put(self, stretch: Routed) -> None:
        """Put it on the shelf, and take off what all are past: what was made just now is quicker to be had."""
        shelf = self._shelf
        shelf.append(stretch)
        passed = min((place.position for place in self._places if not place.live), default=0)
        while len(shelf) > 1 and (
            shelf[0].end <= passed
            or sum(one.end - one.first for one in shelf) > SHELF_EVENTS
            or sum(one.size for one in shelf) > SHELF_BYTES
        ):
            shelf.popleft()
