"""The books of one subscription: what its delivery needs of feed and journal, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from router.dispatch import Chunk
from router.journal import Change, Parked, Progress


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
