"""Positions in a journal, and what lies there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from router.event import Event

FIRST = 1
"""The position of the first event of a journal."""


class Segment(msgspec.Struct, frozen=True):
    """Consecutive events of the journal; `first` is the position of the first of them."""

    first: int
    events: Sequence[Event]

    @property
    def end(self) -> int:
        """The position after the last event."""
        return self.first + len(self.events)


class Held(msgspec.Struct, frozen=True):
    """What a subscription keeps copies of: the ids of its parked events and dead letters, by their positions."""

    parked: Mapping[int, str]
    dead: Mapping[int, str]
