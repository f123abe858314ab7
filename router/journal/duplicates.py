"""The duplicate window: which event ids were journalled within the last so many seconds.

The newest ids are kept as they are, in a set. Sixteen thousand of them, or what came in an eighth of the window, are
then sealed: fingerprints with positions take their place, at a ninth of the memory. A fingerprint that matches only
raises a suspicion: whether it is a duplicate, the id that the journal has at that position says. `Found` says which
positions to read. What was sealed changes no more, and the caller stores it, so that a start need not make it again
from the ids. Nothing here waits or does I/O; sealing takes milliseconds, and so may run in a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from router.journal import FIRST

if TYPE_CHECKING:
    from router.journal.runs import Shelves

ID = 16
"""Bytes in an id."""
SIZE = 1 << 14
"""Ids that are kept as they are before they are sealed."""

Scramble: TypeAlias = Callable[[bytes], bytes]
"""Turn each 16 bytes into 16 others, of which the first eight are its fingerprint."""

Rows: TypeAlias = Callable[[int, int | None], Iterable[tuple[int, float, bytes]]]
"""Read rows of the journal, (first position, received, ids), that hold positions from the first to below the second."""

_AGES = 8


def keyed(secret: bytes) -> Scramble:
    """Return fingerprints that nobody without the secret (16 bytes) can steer into each other's way.

    AES of an id is a block; that equal ids give equal blocks is what is wanted here.
    """
    cipher = Cipher(AES(secret), ECB())  # noqa: S305 - a keyed hash, hides nothing

    def scramble(ids: bytes) -> bytes:
        return cipher.encryptor().update(ids)  # each its own: one must not be used by two threads at once

    return scramble


class Found(msgspec.Struct, frozen=True):
    """What the window knows of some ids: those that are duplicates, and at which positions others may have been."""

    known: set[bytes]
    doubtful: Mapping[bytes, Sequence[int]]

    @property
    def positions(self) -> Sequence[int]:
        """The positions whose ids settle the doubts, in order."""
        return sorted({position for positions in self.doubtful.values() for position in positions})

    def duplicates(self, held: Mapping[int, bytes]) -> set[bytes]:
        """Return all duplicates, given the ids at `positions`; what was deleted meanwhile is left out."""
        return self.known | {key for key, places in self.doubtful.items() if any(held.get(p) == key for p in places)}


class Sealed(msgspec.Struct, frozen=True):
    """Fingerprints of the positions from `first` to below `end`; the last of them came at `latest` (Unix seconds)."""

    first: int
    end: int
    latest: float
    words: bytes


class _Newest:
    """Ids of consecutive positions from `first` on, that came between `opened` and `latest` (Unix seconds)."""

    __slots__ = ("first", "ids", "keys", "latest", "opened")

    def __init__(self, first: int, opened: float) -> None:
        self.first = first
        self.opened = self.latest = opened
        self.ids = bytearray()
        self.keys: set[bytes] = set()

    @property
    def end(self) -> int:
        return self.first + len(self.ids) // ID

    def add(self, keys: Sequence[bytes], now: float) -> None:
        self.keys.update(keys)
        self.ids += b"".join(keys)
        self.latest = max(self.latest, now)


class DuplicateWindow:
    """Remembers ids for `window` seconds; for 0 it remembers nothing.

    They are forgotten up to an eighth of it later, and not before a new one comes. What was sealed can only be recalled
    with the same `scramble`. At most `size` ids, a power of two, are sealed at a time.
    """

    def __init__(self, window: float, scramble: Scramble, size: int = SIZE) -> None:
        self._window = window
        self._scramble = scramble
        self._size = size
        self._newest: _Newest | None = None
        self._closed: Sequence[_Newest] = ()
        self._shelves: Shelves | None = None
        self._ages: deque[tuple[int, float]] = deque()
        self._floor = FIRST
        self._owed: deque[Sealed] = deque()

    def find(self, keys: Sequence[bytes]) -> Found:
        """Look up ids of 16 bytes each; raises `ValueError` if one is not."""
        if set(map(len, keys)) - {ID}:
            raise ValueError(f"an id has {ID} bytes")
        known = self._newest.keys.intersection(keys) if self._newest else set[bytes]()
        for closed in self._closed:
            known |= closed.keys.intersection(keys)
        if not self._shelves or not keys:
            return Found(known, {})
        doubtful: dict[bytes, list[int]] = {}
        for index, position in self._shelves.find(self._scramble(b"".join(keys))):
            if position >= self._floor and keys[index] not in known:
                doubtful.setdefault(keys[index], []).append(position)
        return Found(known, doubtful)

    def add(self, first: int, keys: Sequence[bytes], now: float) -> None:
        """Remember the ids of the positions from `first` on, as seen at `now` (Unix seconds)."""
        start = 0
        while self._window and start < len(keys):
            newest = self._open(first + start, now)
            room = self._size - len(newest.ids) // ID
            newest.add(keys[start : start + room], now)
            start += room
        self._forget(now)

    def _open(self, first: int, now: float) -> _Newest:
        """Return what the id of this position is added to."""
        newest = self._newest
        if newest is not None and (
            len(newest.ids) >= self._size * ID or newest.end != first or now >= newest.opened + self._window / _AGES
        ):
            self._close()
            newest = None
        if newest is None:
            newest = self._newest = _Newest(first, now)
        return newest

    def _close(self) -> None:
        """Leave the newest ids to be sealed."""
        newest, self._newest = self._newest, None
        if newest is not None:
            self._closed = (*self._closed, newest)
            self._ages.append((newest.end, newest.latest))

    def _forget(self, now: float) -> None:
        """Forget what is too old; what seems to be of the future, since the clock was set back, is as good as new."""
        if self._ages and self._ages[-1][1] > now:
            self._ages = deque((end, min(latest, now)) for end, latest in self._ages)
        while self._ages and self._ages[0][1] < now - self._window:
            self._floor = max(self._floor, self._ages.popleft()[0])
            self._closed = [closed for closed in self._closed if closed.end > self._floor]
            self._owed = deque(owed for owed in self._owed if owed.end > self._floor)

    @property
    def owing(self) -> bool:
        """Whether there is something to store."""
        return bool(self._owed)

    @property
    def closed(self) -> bool:
        """Whether there is something to seal."""
        return bool(self._closed)

    def seal(self) -> Sealed | None:
        """Seal the oldest of what is closed; in any thread, but only one at a time. Tell `keep` what it returns."""
        closed = next(iter(self._closed), None)
        if closed is None:
            return None
        shelves = self._sorted()
        words = shelves.seal(closed.first, self._scramble(bytes(closed.ids)), self._floor)
        self._shelves = shelves
        return Sealed(closed.first, closed.end, closed.latest, words)

    def _sorted(self) -> Shelves:
        from router.journal.runs import Shelves  # noqa: PLC0415 - numpy takes 11 MiB: not before it is of use

        return self._shelves or Shelves(self._size)

    def keep(self, sealed: Sealed | None) -> None:
        """Let what was sealed go, and have it stored."""
        if sealed and sealed.end > self._floor:
            self._closed = [closed for closed in self._closed if closed.first != sealed.first]
            self._owed.append(sealed)

    def owed(self, limit: int) -> Sequence[Sealed]:
        """Return what is to be stored next, up to `limit`; the same until `stored` is told of it."""
        return list(islice(self._owed, limit))

    def stored(self, sealed: Sequence[Sealed]) -> None:
        """Note that it is stored."""
        done = {one.first for one in sealed}
        while self._owed and self._owed[0].first in done:
            self._owed.popleft()

    def recall(self, stored: Iterable[Sealed], rows: Rows) -> None:
        """Have back what was stored, in the order of positions, and all else from the journal's rows of the window."""
        place = FIRST
        for sealed in stored:
            if sealed.first < place or sealed.end - sealed.first != len(sealed.words) // 8:
                continue
            self._refill(rows, place, sealed.first)
            self._close()
            self._seal_all()
            shelves = self._sorted()
            shelves.restore(sealed.first, sealed.words, self._floor)
            self._shelves = shelves
            self._ages.append((sealed.end, sealed.latest))
            place = sealed.end
        self._refill(rows, place, None)
        self._seal_all()

    def _refill(self, rows: Rows, place: int, end: int | None) -> None:
        if place == end:
            return
        for first, received, ids in rows(place, end):
            start = max(place - first, 0)
            stop = len(ids) // ID if end is None else min(end - first, len(ids) // ID)
            if start < stop:
                keys = [ids[i * ID : i * ID + ID] for i in range(start, stop)]
                self.add(first + start, keys, received)
                self._seal_all()

    def _seal_all(self) -> None:
        while self._closed:
            self.keep(self.seal())
