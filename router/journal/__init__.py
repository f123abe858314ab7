"""The contract of a journal: the durable, ordered log between sources and subscriptions.

Positions are whole numbers without gaps; the first event ever journalled has position 1. `head` is the
position that the next event will get, `tail` the oldest one still kept.

What every journal holds (`router.journal.conformance` has the suite):

* `append` returns when the events are safe, and drops those whose id was seen inside the duplicate window;
  a duplicate is answered only when its original is safe, too.
* Either all of an append is kept, or its caller is told (`Retry`).
* The follower sees every new event once, in the order of positions, after it is safe.
* `commit` replaces a subscription's progress, with what is settled above its mark, and what is parked or dead, in one
  transaction, lazily: a crash loses some of the latest progress (events are delivered again), never an event.
* Nothing that a subscription has not settled is ever deleted, whether it is in the config or not: all that ever
  committed count until they are forgotten. What a running replay has yet to go through is, but only when space is
  short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeAlias

from router.errors import RouterError
from router.event import Event, Message
from router.journal.beside import Endings, Inspection
from router.journal.positions import FIRST, Held, Segment
from router.journal.progress import (
    JUST_NOW,
    NOTHING,
    Change,
    DeadLetter,
    Ending,
    Kind,
    Parked,
    Progress,
    Span,
    State,
    Trouble,
)
from router.journal.replay import Replay
from router.journal.report import CheckReport, Repair
from router.journal.statistics import LEVELS, Holder, Statistics, holding
from router.plugin import Plugin

__all__ = [
    "FIRST",
    "JUST_NOW",
    "LEVELS",
    "NOTHING",
    "Change",
    "DeadLetter",
    "Ending",
    "Endings",
    "Follower",
    "Held",
    "Holder",
    "Inspection",
    "Journal",
    "Kind",
    "Parked",
    "Partition",
    "Progress",
    "Restore",
    "Segment",
    "Span",
    "State",
    "Statistics",
    "Trouble",
    "holding",
]

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

    def holders(self) -> Sequence[Holder]:
        """Return which subscriptions hold how much of the journal, most first."""
        ...

    def last(self, size: int) -> int:
        """Return the position from which on the events take no more than about so many bytes."""
        ...

    async def read(self, position: int, limit: int) -> Segment:
        """Return about `limit` events from `position` on, none at the head, later ones below the tail; or `Retry`."""
        ...

    def progress(self, name: str) -> Progress | None:
        """Return what was committed last for the subscription; None for a new one."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """All subscriptions that ever committed and were not forgotten."""
        ...

    def activate(self, names: Iterable[str]) -> None:
        """Say which subscriptions run, so that their replays have what they need as long as there is space."""
        ...

    def commit(self, name: str, progress: Progress, change: Change = NOTHING) -> None:
        """Note the progress and the change, as one; they are durable soon, or after `flush`."""
        ...

    def forget(self, name: str) -> None:
        """Drop all that is kept of a subscription."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Move all that is kept of a subscription to another name, of which nothing is kept; as one."""
        ...

    async def flush(self) -> None:
        """Make all progress durable; raises `Retry` when it could not be."""
        ...

    async def parked(self, name: str, limit: int) -> Sequence[Parked]:
        """Return the subscription's parked events that are due first, up to `limit`."""
        ...

    async def held(self, name: str, first: int, end: int) -> Held:
        """Return the ids of what the subscription has parked and dead at positions from `first` to before `end`."""
        ...

    def replays(self, name: str) -> Sequence[Replay]:
        """Return the subscription's replays as they were committed last, in the order of their numbers."""
        ...

    async def dead_letters(self, name: str, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return the subscription's dead letters at positions above `after`, in order, up to `limit`."""
        ...

    async def expired(self, name: str, keep: int) -> Sequence[DeadLetter]:
        """Return the oldest of the subscription's letters that expired, of those beyond the newest `keep`."""
        ...

    def marks(self, name: str) -> Mapping[str, int]:
        """Return the positions that the subscription's sink keeps of itself.

        Those that did not change since the oldest event that is still kept may be missing.
        """
        ...

    async def stored_at(self, positions: Sequence[int]) -> Sequence[float | None]:
        """Return when the events at these positions were stored, in Unix seconds; None for what is not there yet.

        Raises `Retry` when it cannot be read.
        """
        ...

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        ...


class Journal(Plugin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Opens a journal under a folder."""

    def open(self, state: Path, restore: Restore) -> AbstractAsyncContextManager[Partition]:
        """Open it for writing, by this process alone; raises `ConfigError` when another one has it."""
        raise NotImplementedError

    def inspect(self, state: Path, restore: Restore) -> AbstractContextManager[Inspection]:
        """Open it for reading; raises `RouterError` where there is none."""
        raise NotImplementedError

    def accept_loss(self, state: Path) -> None:
        """Have a journal begin anew of which nothing is left; one that is there is left alone."""

    def examine(self, state: Path, identify: Callable[[Message, str], str] | None) -> CheckReport:  # noqa: ARG002
        """Go through all of it, also beside a daemon; `identify` gives the id of a message by its source's name.

        Without it nothing is decoded, and no event is `renamed`.
        """
        raise RouterError("this journal cannot be checked")

    def repair(self, state: Path) -> Repair:  # noqa: ARG002
        """Set damaged rows aside, and say how many and what is lost. Raises `ConfigError` while a daemon runs."""
        raise RouterError("this journal cannot be repaired")

    def forget(self, state: Path, name: str) -> None:  # noqa: ARG002
        """Drop all that is kept of a subscription. Raises `ConfigError` while a daemon runs."""
        raise RouterError("this journal keeps nothing while no daemon runs")

    def compact(self, state: Path, active: Iterable[str]) -> tuple[int, int]:  # noqa: ARG002
        """Delete what all subscriptions have settled and nobody wants kept; returns the bytes before and after.

        `active` are those that run as a rule. Raises `ConfigError` while a daemon runs.
        """
        raise RouterError("this journal cannot be compacted")
