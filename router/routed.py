"""Routed: a stretch of the journal after matching. What several routes want in common is one list for all of them.

So what is made of it as a whole, such as the lines of a file, is made once (`router.event.Events`).
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import TypeAlias

import msgspec

from router.event import Batch, Event, Events

Wanted: TypeAlias = Callable[[Event], tuple[int, ...]]
"""Says which routes want an event, by their indices."""

_Group: TypeAlias = tuple[list[int], list[Event]]
"""Positions and events that go to the same routes; `Events` where there are several."""


class Chunk(msgspec.Struct, frozen=True):
    """The journal up to `end` as one subscription sees it: the events that it wants, with their positions."""

    end: int
    positions: Sequence[int]
    events: Batch

    def between(self, first: int, end: int) -> Chunk:
        """Leave only what lies at positions from `first` to below `end`."""
        start, stop = bisect_left(self.positions, first), bisect_left(self.positions, end)
        if stop - start == len(self.positions):
            return Chunk(end, self.positions, self.events)
        return Chunk(end, self.positions[start:stop], self.events[start:stop])


class Routed(msgspec.Struct, frozen=True):
    """Events at positions from `first` to below `end`, of `size` bytes: what each route wants of them, if anything."""

    first: int
    end: int
    size: int
    groups: Mapping[int, _Group]

    @property
    def shown(self) -> bool:
        """Whether somebody asked for the JSON of some of the events."""
        return any(events[0].encoded for _, events in self.groups.values())

    def chunk(self, index: int, position: int = 0, limit: int = sys.maxsize) -> Chunk:
        """Return what a route wants from a position on, up to `limit` events."""
        positions, events = self.groups.get(index, _NOTHING)
        start = bisect_left(positions, position)
        if not start and len(positions) <= limit:
            return Chunk(self.end, positions, events)
        stop = start + limit
        end = positions[stop] if stop < len(positions) else self.end
        return Chunk(end, positions[start:stop], events[start:stop])


_NOTHING: _Group = ([], [])


def route(first: int, events: Sequence[Event], wanted: Iterable[tuple[int, ...]]) -> Routed:
    """Sort consecutive events, the first of which is at this position, by the routes that want each."""
    sets: dict[tuple[int, ...], tuple[list[int], list[Event]]] = {}
    size = 0
    for position, event, routes in zip(count(first), events, wanted, strict=False):
        size += len(event.message.body)
        if routes:
            same = sets.get(routes)
            if same is None:
                same = sets[routes] = ([], [])
            same[0].append(position)
            same[1].append(event)
    return Routed(first, first + len(events), size, _by_route(sets))


def _by_route(sets: Mapping[tuple[int, ...], tuple[list[int], list[Event]]]) -> dict[int, _Group]:
    """Give each route what it wants; those that want the same get the same."""
    wants: dict[int, list[tuple[int, ...]]] = {}
    for routes in sets:
        for index in routes:
            wants.setdefault(index, []).append(routes)
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, parts in wants.items():
        alike.setdefault(tuple(parts), []).append(index)
    by_route: dict[int, _Group] = {}
    for same, indices in alike.items():
        positions, events = _merged([sets[routes] for routes in same])
        group = positions, Events(events) if len(indices) > 1 else events
        by_route.update(dict.fromkeys(indices, group))
    return by_route


def _merged(parts: Sequence[tuple[list[int], list[Event]]]) -> tuple[list[int], list[Event]]:
    """Put several into one, in the order of positions."""
    if len(parts) == 1:
        return parts[0]
    pairs = sorted((pair for some in parts for pair in zip(*some, strict=True)), key=lambda pair: pair[0])
    return [position for position, _ in pairs], [event for _, event in pairs]


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return consecutive chunks of one route as one."""
    if len(chunks) == 1:
        return chunks[0]
    some = [chunk for chunk in chunks if chunk.events]
    if len(some) == 1:
        return Chunk(chunks[-1].end, some[0].positions, some[0].events)
    positions = [position for chunk in some for position in chunk.positions]
    events = [event for chunk in some for event in chunk.events]
    shared = any(isinstance(chunk.events, Events) for chunk in some)
    return Chunk(chunks[-1].end, positions, Events(events, [chunk.events for chunk in some]) if shared else events)
