"""Reading SQLite's WAL without SQLite, which takes a damaged one for a short one and deletes it when it closes.

Layout and checksums: sqlite.org/fileformat2.html, section 4. Each frame's checksum goes on from the one before, so that
the first that does not match ends what SQLite sees. That is no damage where a power cut tore the last transaction:
nobody was told of it; nor where frames of an older salt follow, which lie there since before the WAL began anew. It is
where a commit frame of the present salt and further frames of it lie behind: a transaction is begun only when the one
before is on disk.

The two sums of a checksum are linear in the words that go in, modulo 2**32: numpy weighs all words of a frame at once.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router.journal.dig import PAGE, batches_on, page_size

Sums = tuple[int, int]

HEADER, FRAME = 32, 24
"""Bytes of the file's header, and of a frame's before its page."""
_MAGIC = (0x377F0682, 0x377F0683)
"""The first four bytes; an odd one says that the checksums' words are big-endian."""
_WORD = 0xFFFFFFFF
_BLOCK = 512
"""Frames that are looked at at a time."""


class Wal(msgspec.Struct, frozen=True, kw_only=True):
    """What a WAL has: nothing, if it is missing or empty.

    `committed` is how many frames SQLite will take, up to the last commit that can be told to be whole; `pages` are the
    numbers of theirs. `salt` marks the frames of the present round, and is empty where the header is of no use.
    `broken` says what shows that there were more; `head` is the position after the last event found on their pages, 0
    if none is.
    """

    size: int = 0
    salt: bytes = b""
    committed: int = 0
    broken: str = ""
    head: int = 0
    pages: frozenset[int] = frozenset()


def read(path: Path, database: Path) -> Wal:
    """Look through a WAL and, where its header is of no use, at the database; nobody may be writing either."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size <= HEADER:
                return Wal(size=size)
            with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
                frames = _Frames(data)
                return _judged(frames, size) if frames.salt else _headless(frames, size, database)
    except FileNotFoundError:
        return Wal()


class _Frames:
    """The frames of a WAL."""

    def __init__(self, data: mmap.mmap) -> None:
        header = data[:HEADER]
        magic = int.from_bytes(header[:4])
        self._order = ">u4" if magic & 1 else "<u4"
        self.start: Sums = (_big(header, 24), _big(header, 28))
        sums = _sums(np.frombuffer(header[:24], self._order).astype(np.uint32)[None, :])
        sound = magic in _MAGIC and _chained((0, 0), sums[0][0], sums[0][1], 3) == self.start
        self.salt = header[16:24] if sound else b""
        self.page = _big(header, 8) if sound else PAGE
        self._data = data
        self._size = FRAME + self.page

    def __len__(self) -> int:
        return (len(self._data) - HEADER) // self._size

    def _at(self, index: int) -> int:
        return HEADER + index * self._size

    def salt_of(self, index: int) -> bytes:
        return self._data[self._at(index) + 8 : self._at(index) + 16]

    def number(self, index: int) -> int:
        """Return which page of the database a frame has."""
        return _big(self._data, self._at(index))

    def commits(self, index: int) -> bool:
        """Say whether a frame claims to be the last of its transaction."""
        return _big(self._data, self._at(index) + 4) > 0

    def content(self, index: int) -> bytes:
        return self._data[self._at(index) + FRAME : self._at(index + 1)]

    def chained(self) -> Iterator[bool]:
        """Say of one frame after the other whether it follows from the ones before, until one does not."""
        sums = self.start
        for first in range(0, len(self), _BLOCK):
            block = range(first, min(first + _BLOCK, len(self)))
            for index, (one, two) in zip(block, self._weighed(block), strict=True):
                sums = _chained(sums, one, two, (8 + self.page) // 8)
                at = self._at(index)
                sound = sums == (_big(self._data, at + 16), _big(self._data, at + 20))
                yield sound and self.salt_of(index) == self.salt and self.number(index) > 0
                if not sound:
                    return

    def _weighed(self, block: range) -> list[list[int]]:
        data = np.frombuffer(self._data[self._at(block.start) : self._at(block.stop)], np.uint8)
        data = data.reshape(len(block), self._size)
        covered = np.concatenate([data[:, :8], data[:, FRAME:]], axis=1)
        return _sums(covered.view(self._order).astype(np.uint32))


def _judged(frames: _Frames, size: int) -> Wal:
    """Find the last commit that is whole, and see whether what lies behind shows that there were later ones."""
    committed = place = 0
    for index, sound in enumerate(frames.chained()):
        place = index
        if not sound:
            break
        place = index + 1
        if frames.commits(index):
            committed = index + 1
    behind = [index for index in range(place, len(frames)) if frames.salt_of(index) == frames.salt]
    commit = next((index for index in behind if frames.commits(index)), None)
    pages = frozenset(frames.number(index) for index in range(committed))
    if commit is None or behind[-1] == commit:
        return Wal(size=size, salt=frames.salt, committed=committed, pages=pages)
    return Wal(
        size=size,
        salt=frames.salt,
        committed=committed,
        pages=pages,
        broken=f"frame {place + 1} does not match its checksum, and {behind[-1] - place} more follow it",
        head=_head(frames, range(place, behind[-1] + 1)),
    )


def _headless(frames: _Frames, size: int, database: Path) -> Wal:
    """Judge a WAL whose header is of no use: torn while it was to begin anew, if the database has all of it."""
    salt = frames.salt_of(0) if len(frames) else b""
    run = next((i for i in range(len(frames)) if frames.salt_of(i) != salt), len(frames))
    end = next((i + 1 for i in reversed(range(run)) if frames.commits(i)), 0)
    latest = {frames.number(index): index for index in range(end)}
    try:
        with database.open("rb") as file:
            same = page_size(file.read(100)) == frames.page
            for number, index in latest.items():
                file.seek((number - 1) * frames.page)
                same = same and file.read(frames.page) == frames.content(index)
    except FileNotFoundError:
        same = False
    if same or not end:
        return Wal(size=size)
    return Wal(size=size, broken=f"its header is damaged, and {end} frames follow it", head=_head(frames, range(end)))


def _head(frames: _Frames, block: range) -> int:
    """Return the position after the last event on the pages of some frames, 0 if there is none."""
    ends = (end for index in block for end in batches_on(frames.content(index)))
    return max(ends, default=0)


def _big(data: bytes | mmap.mmap, at: int) -> int:
    return int.from_bytes(data[at : at + 4])


@cache
def _powers(pairs: int) -> NDArray[np.uint64]:
    """Return the matrix that each pair of words multiplies the sums by, to the powers below and up to `pairs`."""
    one, two, three = 1, 0, 1  # the identity, of [[1, 1], [1, 2]]
    rows: list[tuple[int, int, int]] = []
    for _ in range(pairs + 1):
        rows.append((one, two, three))
        one, two, three = (one + two) & _WORD, (one + 2 * two) & _WORD, (two + 2 * three) & _WORD
    return np.array(rows, np.uint64)


def _sums(words: NDArray[np.uint32]) -> list[list[int]]:
    """Return what the words of each row, in pairs, make of sums that are 0."""
    pairs = words.shape[1] // 2
    powers = _powers(pairs)[pairs - 1 :: -1].astype(np.uint32) if pairs else np.empty((0, 3), np.uint32)
    weights = np.empty((2 * pairs, 2), np.uint32)
    weights[0::2, 0], weights[1::2, 0] = powers[:, 0] + powers[:, 1], powers[:, 1]
    weights[0::2, 1], weights[1::2, 1] = powers[:, 1] + powers[:, 2], powers[:, 2]
    found: list[list[int]] = (words @ weights).tolist()
    return found


def _chained(sums: Sums, one: int, two: int, pairs: int) -> Sums:
    """Go on from sums with what so many pairs of words make of 0."""
    first, second, third = (int(value) for value in _powers(pairs)[pairs])
    return (
        (first * sums[0] + second * sums[1] + one) & _WORD,
        (second * sums[0] + third * sums[1] + two) & _WORD,
    )
