"""The books of one subscription: what its delivery needs of feed and journal, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from router.journal import Change, DeadLetter, Parked, Progress
from router.journal.replay import Replay
from router.rerun import Past
from router.routed import Chunk


class Books(Protocol):
    """What a delivery needs of feed and journal, for its own subscription alone."""

    async def take(self, limit: int) -> Chunk:
        """Return the next chunk of about `limit` events, waiting until there is one."""
        ...

    def rewind(self, position: int) -> None:
        """Make `take` start over from a position."""
        ...

    def commit(self, progress: Progress, change: Change) -> None:
        """Keep the progress and the change."""
        ...

    async def parked(self, limit: int) -> Sequence[Parked]:
        """Return the parked events that are due first."""
        ...

    def marks(self) -> Mapping[str, int]:
        """Return the positions that the sink keeps of itself."""
        ...

    def head(self) -> int:
        """Return the position that the next event of the journal will get."""
        ...

    async def flush(self) -> None:
        """Make all that was committed durable; raises `Retry` when it could not be."""
        ...

    def replays(self) -> Sequence[Replay]:
        """Return the replays as they were committed last, in the order of their numbers."""
        ...

    def last(self, size: int) -> int:
        """Return the position from which on the journal's events take no more than about so many bytes."""
        ...

    async def expired(self, keep: int) -> Sequence[DeadLetter]:
        """Return the oldest dead letters that expired, of those beyond the newest `keep`."""
        ...

    async def past(self, replay: Replay, position: int, limit: int) -> Past:
        """Return what a replay wants from a position on, of about `limit` events; raises `BadPattern`."""
        ...
