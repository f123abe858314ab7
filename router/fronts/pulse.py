"""The pulse of a front: tells one that hangs from one that is slow, as everything is where a machine is busy or swaps.

A front says something every `BEAT` seconds, from its loop, so a loop that still turns is heard. What counts is the
time in which the daemon listened and heard nothing: not while it does not read itself, since too much waits, and
not more than a beat for each of its own turns, so that a daemon that was held up too does not blame its fronts.
"""

from __future__ import annotations

BEAT = 1.0
"""Seconds between two signs of life of a front, and between two looks at them."""
SILENCE = 30.0
"""Seconds of listening in vain after which a front hangs."""


class Pulse:
    """Counts the silence of one front, in seconds."""

    def __init__(self) -> None:
        self.silent = 0.0

    def beat(self) -> None:
        """Note that the front was heard, or could not have been."""
        self.silent = 0.0

    def missed(self, elapsed: float) -> bool:
        """Note the seconds since the last look; say whether the front hangs."""
        self.silent += min(elapsed, BEAT)
        return self.silent >= SILENCE
