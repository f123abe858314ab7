"""What a journal says of itself, and of who holds its space."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from router.latency import Latencies

LEVELS = (70, 85, 95)
"""Percent of the quota at which operators are warned."""
SAID = 3
"""Holders that are named at most."""


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal knows of itself.

    `bytes` is what it takes on disk of its `quota`, `held` what of that may not be deleted; all are 0 in memory.
    `repeated` are the duplicates by source. While nothing can be written `failing` says why, and
    `failing_since` since when (Unix seconds). `lost` events were journalled, but are no longer there.
    """

    head: int
    tail: int
    duplicates: int
    commits: int
    bytes: int
    quota: int
    held: int = 0
    full: bool
    dead: dict[str, int]
    failing: str = ""
    failing_since: float = 0.0
    repeated: dict[str, int] = {}
    commit_seconds: Latencies = Latencies()
    lost: int = 0

    @property
    def level(self) -> int:
        """The highest of the `LEVELS`, in percent of the quota, that what is held has reached; 0 below them."""
        return max((level for level in LEVELS if self.quota and 100 * self.held >= level * self.quota), default=0)


class Holder(msgspec.Struct, frozen=True):
    """A subscription that needs the events from a position on, which take about so many bytes."""

    name: str
    position: int
    bytes: int


def holding(holders: Sequence[Holder]) -> str:
    """Say whose events hold the space, of those that hold most."""
    said = [f"{one.name} ({one.bytes / 2**20:.1f} MiB since position {one.position})" for one in holders[:SAID]]
    more = f" and {len(holders) - SAID} more" if len(holders) > SAID else ""
    return f"held by {', '.join(said)}{more}" if said else "held by what is parked and dead"
