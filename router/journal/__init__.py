"""The contract of a journal: the durable, ordered log between sources and subscriptions.

Positions are whole numbers without gaps; the first event ever journalled has position 1. `head` is the
position that the next event will get, `tail` the oldest one still kept.

What every journal holds (`router.testing.journal` has the suite):

* `append` returns when the events are safe, and drops those whose id was seen inside the duplicate window;
  a duplicate is answered only when its original is safe, too.
* Either all of an append is kept, or its caller is told (`Retry`).
* The follower sees every new event once, in the order of positions, after it is safe.
* `commit` replaces a subscription's progress and adds its dead letters, both in one transaction, lazily: a
  crash loses some of the latest progress (events are delivered again), never an event.
* Nothing that an active subscription has not settled is ever deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from router.event import Event, Message
from router.plugin import Plugin

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


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a subscription is: all below `position` is settled, and `position - since` is the sum of the counters.

    `since` is where the present pattern took effect and counting began; `pattern` is a digest of all that
    decides what the subscription wants, so that a change of it starts a new count.
    """

    position: int
    since: int
    pattern: str
    delivered: int = 0
    filtered: int = 0
    dead: int = 0


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a subscription gave up on. Times are Unix seconds; `status` is the destination's, if any."""

    position: int
    event: Event
    reason: str
    status: int | None
    attempts: int
    first_try: float
    last_try: float


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal knows of itself. `bytes` is what it takes on disk of its `quota`; 0 and 0 in memory."""

    head: int
    tail: int
    duplicates: int
    commits: int
    bytes: int
    quota: int
    full: bool
    dead: dict[str, int]


Restore: TypeAlias = Callable[[Message, str, str], Event]
"""Make the event again from its message, its source's name and the id that it was journalled under."""

Follower: TypeAlias = Callable[[Segment], None]
"""Is told of each new segment, in order; must not wait."""


class Partition(Protocol):
    """One ordered log, and the progress of the subscriptions that read it."""

    @property
    def head(self) -> int:
        """The position that the next event will get."""
        ...

    @property
    def tail(self) -> int:
        """The oldest position still kept."""
        ...

    def follow(self, follower: Follower) -> None:
        """Tell the follower of everything appended from now on."""
        ...

    async def append(self, events: Sequence[Event]) -> None:
        """Make the events safe; raises `Retry` when they could not be."""
        ...

    async def read(self, position: int, limit: int) -> Segment:
        """Return about `limit` events from `position` on; none at the head, later ones if that is below the tail."""
        ...

    def progress(self, name: str) -> Progress | None:
        """Return what was committed last for the subscription; None for a new one."""
        ...

    def activate(self, names: Iterable[str]) -> None:
        """Say whose progress decides what may be deleted."""
        ...

    def commit(self, name: str, progress: Progress, dead: Sequence[DeadLetter] = ()) -> None:
        """Note the progress; it is durable soon, or after `flush`."""
        ...

    async def flush(self) -> None:
        """Make all progress durable; raises `Retry` when it could not be."""
        ...

    async def dead_letters(self, name: str, limit: int) -> Sequence[DeadLetter]:
        """Return a subscription's oldest dead letters, up to `limit`."""
        ...

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        ...


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

    def segments(self) -> Iterator[Segment]:
        """Yield what is kept, from the tail up to the head."""
        ...


class Journal(Plugin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Opens a journal under a folder."""

    def open(self, state: Path, restore: Restore) -> AbstractAsyncContextManager[Partition]:
        """Open it for writing, by this process alone; raises `ConfigError` when another one has it."""
        raise NotImplementedError

    def inspect(self, state: Path, restore: Restore) -> AbstractContextManager[Inspection]:
        """Open it for reading; raises `RouterError` where there is none."""
        raise NotImplementedError
