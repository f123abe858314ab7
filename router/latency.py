"""Latencies, counted in buckets: cheap enough for every commit and every call.

An observation costs a bisection and two additions, without a lock: each `Latency` belongs to one event loop.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets, in seconds; what took longer goes into one more."""


class Latencies(msgspec.Struct, frozen=True):
    """How often it took how long: a count for each of `BOUNDS` and one for what is above, and the sum in seconds."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0


class Latency:
    """Counts how long something takes."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one that took so long."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def snapshot(self) -> Latencies:
        """Return what was counted so far."""
        return Latencies(tuple(self._counts), self._seconds)
