"""Sorted runs of fingerprints: what the duplicate window knows of all ids but the newest, at ten bytes an id.

An id enters as a fingerprint: 64 bits that nobody outside can steer. Its upper 42 bits share a word with the id's
position, counted from the first of its run; a run is the sorted array of its words. To search a dozen runs would be
hundreds of cache misses, so each shelf of eight runs has a filter, one byte for each of many cells: bit n of a cell is
set where run n has a fingerprint that names the cell. Three bytes read therefore rule out eight runs, but for one
fingerprint in thirty.

Eight runs of a shelf are merged into one of the next, larger one, so that there are never many to look through. One
thread at a time may add; lookups may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

RUNS = 8
"""Runs on a shelf: the bits in a byte."""
LEVELS = 3
"""Kinds of shelves; runs of the last are not merged."""
CELLS = 16
"""Cells of the filter for each id of a run of full size."""

_OFFSET = 22
"""Lowest bits of a word, for the position."""
_KEPT = np.uint64(2**64 - 2**_OFFSET)
_NEAR = 63
"""Of three cells the third is in the same 64 bytes as the second, which a processor reads at once."""
_BLOCK = 1 << 16
"""Words that are entered in a filter at a time, to take little memory."""


class Run(msgspec.Struct, frozen=True, eq=False):
    """The ids of the positions from `first` to below `end`."""

    first: int
    end: int
    words: NDArray[np.uint64]

    @classmethod
    def merged(cls, runs: Sequence[Run]) -> Run | None:
        """Make one of several, the first of which comes first; None if they lie too far apart."""
        first, end = runs[0].first, max(run.end for run in runs)
        if end - first > 1 << _OFFSET:
            return None
        words = np.empty(sum(len(run.words) for run in runs), np.uint64)
        start = 0
        for run in runs:
            np.add(run.words, np.uint64(run.first - first), out=words[start : start + len(run.words)])
            start += len(run.words)
        words.sort()
        return cls(first, end, words)

    def positions(self, fingerprint: int) -> Iterator[int]:
        """Yield the positions of all ids with this fingerprint, as far as can be told."""
        words = self.words
        lowest = fingerprint >> _OFFSET << _OFFSET
        index = int(words.searchsorted(np.uint64(lowest)))
        while index < len(words) and (offset := int(words[index]) - lowest) < 1 << _OFFSET:
            yield self.first + offset
            index += 1


def fingerprints(scrambled: bytes) -> NDArray[np.uint64]:
    """Return the first eight bytes of each sixteen, the same on every machine."""
    return np.frombuffer(scrambled, "<u8")[::2].astype(np.uint64)


class Shelf:
    """Up to eight runs of about `capacity` ids each, a power of two, behind one filter."""

    def __init__(self, level: int, capacity: int) -> None:
        self.level = level
        self.runs: Sequence[tuple[int, Run]] = ()
        """Each with its bit of the filter."""
        self._capacity = capacity
        self._bits = (capacity * CELLS).bit_length() - 1
        self._cells = np.zeros(capacity * CELLS, np.uint8)
        self._used = 0

    def place(self, run: Run) -> bool:
        """Add a run, if there is a place for it."""
        taken = sum(bit for bit, _ in self.runs)
        bit = ~taken & (taken + 1)
        if bit >= 1 << RUNS:
            return False
        if self._used & bit:
            self._cells &= np.uint8(0xFF ^ bit)
        for start in range(0, len(run.words), _BLOCK):
            for cells in self._named(run.words[start : start + _BLOCK]):
                self._cells[cells] |= np.uint8(bit)
        self._used |= bit
        self.runs = (*self.runs, (bit, run))
        return True

    def drop(self, floor: int) -> None:
        """Take out the runs that end at or below a position."""
        self.runs = [(bit, run) for bit, run in self.runs if run.end > floor]

    def find(self, prints: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
        """Yield the index of each fingerprint that is known, with its position."""
        one, two, three = self._named(prints)
        cells = self._cells
        held = cells[one] & cells[two] & cells[three]
        for index in held.nonzero()[0].tolist():
            bits, fingerprint = int(held[index]), int(prints[index])
            for bit, run in self.runs:
                if bits & bit:
                    for position in run.positions(fingerprint):
                        yield index, position

    def _named(self, words: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Return the cells that each fingerprint, or the word of one, names by the bits that both have."""
        second = (words >> _OFFSET).astype(np.intp)
        third = second ^ second >> 20 & _NEAR
        last = len(self._cells) - 1
        return (words >> (64 - self._bits)).astype(np.intp), second & last, third & last


class Shelves:
    """All runs; those of `size` ids each, a power of two, come in the order of their positions."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._shelves: Sequence[Shelf] = ()

    def __len__(self) -> int:
        return sum(len(shelf.runs) for shelf in self._shelves)

    def seal(self, first: int, scrambled: bytes, floor: int) -> bytes:
        """Add a run of consecutive positions, given 16 bytes for each id; drop those that end at or below `floor`.

        Returns what `restore` can make it from again.
        """
        prints = fingerprints(scrambled)
        words: NDArray[np.uint64] = prints & _KEPT | np.arange(len(prints), dtype=np.uint64)
        words.sort()
        self._add(Run(first, first + len(prints), words), floor)
        return words.astype("<u8").tobytes()

    def restore(self, first: int, words: bytes, floor: int) -> None:
        """Add a run that was sealed before."""
        self._add(Run(first, first + len(words) // 8, np.frombuffer(words, "<u8").astype(np.uint64)), floor)

    def _add(self, run: Run, floor: int) -> None:
        for shelf in self._shelves:
            shelf.drop(floor)
        self._shelves = [shelf for shelf in self._shelves if shelf.runs]
        self._place(run, 0)

    def _place(self, run: Run, level: int) -> None:
        for shelf in self._shelves:
            if shelf.level == level and shelf.place(run):
                break
        else:
            shelf = Shelf(level, self._size * RUNS**level)
            shelf.place(run)
            self._shelves = [*self._shelves, shelf]
        if level + 1 < LEVELS and len(shelf.runs) == RUNS:
            merged = Run.merged([run for _, run in shelf.runs])
            if merged:
                self._place(merged, level + 1)
                self._shelves = [other for other in self._shelves if other is not shelf]

    def find(self, scrambled: bytes) -> Iterator[tuple[int, int]]:
        """Yield the index of each of the ids, scrambled to 16 bytes each, that may be known, with its position."""
        prints = fingerprints(scrambled)
        for shelf in self._shelves:
            yield from shelf.find(prints)
