"""The duplicate window: which event ids were journalled within the last so many seconds, at 14 bytes an id.

The window keeps fingerprints with positions, not ids. A fingerprint that matches only raises a suspicion: whether it
is a duplicate, the id that the journal has at that position says. The ids of the newest table are kept, so that most
suspicions are settled at once; for the others `Found` says which positions to read. Nothing here waits or does I/O.

Each table holds the ids of consecutive positions. One that is full, or an eighth of the window old, is sealed: it
changes no more, and the caller stores its parts one by one, from which `recall` has it back forty times sooner than
from the ids. Forgetting is dropping the oldest table whole.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from router.journal import FIRST
from router.journal.shelf import ID, LARGEST, SMALLEST, Part, Shelf, Table, little_endian

Fingerprint: TypeAlias = Callable[[bytes], Sequence[int]]
"""Make a fingerprint below 2**64 of each 16 bytes; the same id always has the same one."""

Rows: TypeAlias = Callable[[int, int | None], Iterable[tuple[int, float, bytes]]]
"""Read rows of the journal, (first position, received, ids), that hold positions from the first to below the second."""

_GENERATIONS = 8


def keyed(secret: bytes) -> Fingerprint:
    """Return fingerprints that nobody without the secret (16 bytes) can steer into each other's way.

    AES of an id is a block; that equal ids give equal blocks is what is wanted here.
    """
    encrypt = Cipher(AES(secret), ECB()).encryptor().update  # noqa: S305 - a keyed hash, hides nothing

    def fingerprints(ids: bytes) -> Sequence[int]:
        return little_endian(array("Q", encrypt(ids)))[::2]

    return fingerprints


class Found(msgspec.Struct, frozen=True):
    """What the window knows of some ids: those that are duplicates, and at which positions others may have been."""

    known: frozenset[bytes]
    doubtful: Mapping[bytes, Sequence[int]]

    @property
    def positions(self) -> Sequence[int]:
        """The positions whose ids settle the doubts."""
        return sorted({position for positions in self.doubtful.values() for position in positions})

    def duplicates(self, held: Mapping[int, bytes]) -> frozenset[bytes]:
        """Return all duplicates, given the ids at `positions`; what was deleted meanwhile is left out."""
        return self.known | {key for key, places in self.doubtful.items() if any(held.get(p) == key for p in places)}


class Stored(msgspec.Struct, frozen=True):
    """A part of a sealed table, to be stored by (first, number); `latest` is when its last id came, in Unix seconds.

    With number 0, all is out of date that is stored for positions from `first` to below `end`.
    """

    first: int
    end: int
    number: int
    latest: float
    data: bytes


class DuplicateWindow:
    """Remembers ids for `window` seconds; for 0 it remembers nothing.

    They are forgotten up to an eighth of it later, and not before a new one comes.

    Stored parts can only be recalled with the same `fingerprint`. `exact` keeps all ids, at 16 bytes more an id, so
    that no doubt is left. `sizes` are the slots of the smallest and the largest table: a power of two, and it times
    a power of four.
    """

    def __init__(
        self,
        window: float,
        fingerprint: Fingerprint,
        *,
        exact: bool = False,
        sizes: tuple[int, int] = (SMALLEST, LARGEST),
    ) -> None:
        self._window = window
        self._fingerprint = fingerprint
        self._exact = exact
        self._sizes = sizes
        self._shelves: list[Shelf] = []
        self._tables: deque[Table] = deque()
        self._ids: dict[Table, bytearray] = {}
        self._newest: Table | None = None
        self._owed: deque[tuple[Table, int]] = deque()

    def __len__(self) -> int:
        return sum(table.count for table in self._tables)

    def find(self, keys: Sequence[bytes]) -> Found:
        """Look up ids of 16 bytes each; raises `ValueError` if one is not."""
        if set(map(len, keys)) - {ID}:
            raise ValueError(f"an id has {ID} bytes")
        fingerprints = self._fingerprint(b"".join(keys))
        known: set[bytes] = set()
        doubtful: dict[bytes, list[int]] = {}
        for shelf in self._shelves:
            for index, table, position in shelf.find(fingerprints):
                key, ids = keys[index], self._ids.get(table)
                if ids is None:
                    doubtful.setdefault(key, []).append(position)
                elif ids.startswith(key, (position - table.first) * ID):
                    known.add(key)
        return Found(frozenset(known), {key: places for key, places in doubtful.items() if key not in known})

    def add(self, first: int, ids: bytes, now: float) -> None:
        """Remember the ids (16 bytes each) of the positions from `first` on, as seen at `now` (Unix seconds).

        Raises `ValueError` if there is part of an id.
        """
        if len(ids) % ID:
            raise ValueError(f"an id has {ID} bytes")
        start = 0
        while self._window and start < len(ids):
            table = self._open(first + start // ID, now)
            some = ids[start : start + table.room * ID]
            table.add(self._fingerprint(some), now)
            self._ids[table] += some
            start += len(some)
        self._forget(now)

    @property
    def owing(self) -> bool:
        """Whether there is a part to be stored."""
        return bool(self._owed)

    def owed(self) -> Stored | None:
        """Return the next part that is to be stored; the same one until `stored` is told of it."""
        if not self._owed:
            return None
        table, number = self._owed[0]
        return Stored(table.first, table.end, number, table.latest, table.part(number))

    def stored(self, part: Stored) -> None:
        """Note that a part is stored."""
        if self._owed and (self._owed[0][0].first, self._owed[0][1]) == (part.first, part.number):
            self._owed.popleft()

    def recall(self, parts: Iterable[bytes], rows: Rows) -> int:
        """Have back what was stored, by position and number, and all else from the journal's rows of the window.

        Returns how many runs of stored parts were of no use, because they are damaged or their table is not whole.
        """
        place, useless = FIRST, 0
        for first, group in groupby(map(Part.read, parts), key=lambda part: part.first if part else None):
            whole = [part for part in group if part]
            if first is None or first < place or [p.number for p in whole] != list(range(whole[0].parts)):
                useless += 1
                continue
            self._refill(rows, place, first)
            self._seal()
            table = self._place(whole[0].size, first, whole[0].latest)
            table.restore(whole)
            place = table.end
        self._refill(rows, place, None)
        return useless

    def _refill(self, rows: Rows, place: int, end: int | None) -> None:
        if place == end:
            return
        for first, received, ids in rows(place, end):
            start = max(place - first, 0)
            stop = len(ids) // ID if end is None else min(end - first, len(ids) // ID)
            if start < stop:
                self.add(first + start, ids[start * ID : stop * ID], received)

    def _open(self, first: int, now: float) -> Table:
        """Return the table to add the position to: the newest, or else a new one."""
        table = self._newest
        if table and table.room and table.end == first and now < table.opened + self._window / _GENERATIONS:
            return table
        self._seal()
        table = self._newest = self._place(self._size(), first, now)
        self._ids[table] = bytearray()
        return table

    def _size(self) -> int:
        """Return the slots of the next table: four times the last one's if that was full, else what would have done."""
        size, largest = self._sizes
        if not self._tables:
            return size
        last = self._tables[-1]
        wanted = last.size * 4 if not last.room else last.count * 3 // 2
        while size < min(wanted, largest):
            size *= 4  # few sizes make few shelves to look through
        return size

    def _place(self, size: int, first: int, now: float) -> Table:
        shelf = next((shelf for shelf in self._shelves if shelf.size == size and not shelf.full), None)
        if shelf is None:
            shelf = Shelf(size)
            self._shelves.append(shelf)
        table = shelf.open(first, now)
        self._tables.append(table)
        return table

    def _seal(self) -> None:
        """Change the newest table no more."""
        table, self._newest = self._newest, None
        if table:
            self._owed.extend((table, number) for number in range(table.parts))
            if not self._exact:
                del self._ids[table]

    def _forget(self, now: float) -> None:
        """Drop the tables that are too old, but for the newest."""
        while len(self._tables) > 1 and self._tables[0].latest < now - self._window:
            table = self._tables.popleft()
            self._ids.pop(table, None)
            self._owed = deque(owed for owed in self._owed if owed[0] is not table)
            for shelf in self._shelves:
                shelf.forget(table)
            self._shelves = [shelf for shelf in self._shelves if shelf]
