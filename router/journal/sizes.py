"""About how many bytes the journal's events take, from any position to any other: sampled, so that it costs nothing.

What was there at the start counts as of even size; what comes after is sampled every mebibyte.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

STEP = 2**20
"""Bytes between two samples."""


class Sizes:
    """A line of bytes over positions, from the oldest event kept to the head."""

    def __init__(self, tail: int, head: int, size: int) -> None:
        self._positions = array("q", [tail, head])
        self._totals = array("q", [0, size])
        self._noted = size

    def add(self, end: int, size: int) -> None:
        """Note so many bytes of events up to a position."""
        total = self._totals[-1] + size
        if total - self._noted < STEP:
            self._positions[-1], self._totals[-1] = end, total
        else:
            self._noted = total
            self._positions.append(end)
            self._totals.append(total)

    def forget(self, tail: int) -> None:
        """Forget what lies before the oldest event kept, now and then."""
        gone = bisect_right(self._positions, tail) - 1
        if gone > len(self._positions) // 2:
            del self._positions[:gone], self._totals[:gone]

    def up_to(self, position: int) -> int:
        """Return the bytes up to a position, of the same count for all positions."""
        return _at(self._positions, self._totals, position)

    def since(self, position: int) -> int:
        """Return the bytes from a position to the head."""
        return self._totals[-1] - self.up_to(position)

    def last(self, size: int) -> int:
        """Return the position from which on the events take no more than so many bytes."""
        wanted = self._totals[-1] - size
        if wanted <= self._totals[0]:
            return self._positions[0]
        return min(_at(self._totals, self._positions, wanted) + 1, self._positions[-1])


def _at(keys: array[int], values: array[int], key: int) -> int:
    """Return the value at a key between two samples; of the first or the last one beyond them."""
    index = min(max(bisect_left(keys, key), 1), len(keys) - 1)
    before, after = keys[index - 1], keys[index]
    share = 1.0 if after == before else min(max((key - before) / (after - before), 0.0), 1.0)
    return values[index - 1] + int(share * (values[index] - values[index - 1]))
