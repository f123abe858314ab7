"""The contract of a journal as it lies there: what is asked of it beside the daemon that may be writing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from router.event import Event
from router.journal.positions import FIRST, Held, Segment
from router.journal.progress import Ending, Progress, Span, Trouble
from router.journal.replay import Replay


class Endings(msgspec.Struct, frozen=True):
    """Which endings are known: all at positions from `complete` on; `discarded` of them are of discarded letters."""

    complete: int
    discarded: int


class Inspection(Protocol):
    """A journal as it lies there, read beside the daemon that may be writing it."""

    @property
    def head(self) -> int:
        """The position that the next event will get."""
        ...

    @property
    def tail(self) -> int:
        """The oldest position still kept."""
        ...

    @property
    def progress(self) -> Mapping[str, Progress]:
        """The progress of every subscription that ever had one, not newer than `head`."""
        ...

    @property
    def held(self) -> Mapping[str, Held]:
        """What each subscription has parked and given up on, of the same moment as `progress`."""
        ...

    @property
    def replays(self) -> Mapping[str, Sequence[Replay]]:
        """The replays of each subscription, of the same moment as `progress`."""
        ...

    def stored_at(self, positions: Sequence[int]) -> Sequence[float | None]:
        """Return when what is at each position was stored, in Unix seconds; None at the head."""
        ...

    def segments(self, start: int = FIRST) -> Iterator[Segment]:
        """Yield what is kept up to the head; the first segment is the one that holds `start`, or the tail."""
        ...

    def find(self, key: str, pulse: Callable[[], object]) -> Iterator[tuple[int, Event]]:
        """Yield the events whose id is the key, or whose message holds it in some form, newest first.

        Calls `pulse` every now and then, which may raise to end the search.
        """
        ...

    def named(self, accepts: Callable[[str], bool], pulse: Callable[[], object]) -> str | None:
        """Return the newest id that is accepted, if any is; calls `pulse` as `find` does."""
        ...

    def trouble(self, name: str, position: int) -> Trouble | None:
        """Return what is parked or dead at a position of a subscription."""
        ...

    def troubles(self, key: str, below: int) -> Iterator[Trouble]:
        """Yield what is parked or dead, of any subscription, at positions below one, and holds the key as in `find`."""
        ...

    def delivered(self, name: str, position: int) -> Ending | Span | None:
        """Return what is known of when an event was delivered to a subscription, if it was."""
        ...

    def endings(self, name: str, since: int) -> Endings:
        """Return what is known of the endings of a subscription, from a position on."""
        ...

    def dead_from(self, name: str, since: int) -> int:
        """Return how many dead letters a subscription has at positions from `since` on."""
        ...
