"""The rows of events in the journal's file, one for each group-committed batch, and the statements about them.

A row's `body` is a msgpack array of (source, received, attributes, bytes) per event. The bytes are copied when it is
read: views cost more than a result's few hundred bytes, and the collector follows every one. Its `ids` are 16 bytes
per event; `crc` covers both. When a batch is deleted its ids stay behind in `seen`, so that the duplicate window
outlives the events.
"""

from __future__ import annotations

import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

import msgspec

from router.event import Event
from router.journal import FIRST
from router.journal.duplicates import ID
from router.journal.salvage import is_malformed

SWEEP = 256
"""Batches that are deleted in one transaction at most."""
STRETCH_ROWS = 10_000
_STRETCH_IDS = 500
"""Batches of which the ids are read at once."""
STRETCH_BYTES = 32 * 2**20
"""What a search reads in one transaction at most."""
READ_BYTES = 8 * 2**20
"""What is read at once, however many events are asked for, but for the last row."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, received REAL NOT NULL, crc INTEGER NOT NULL,
    ids BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS seen (first INTEGER PRIMARY KEY, received REAL NOT NULL, ids BLOB NOT NULL);
"""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message as it is read back."""

    source: str
    received: float
    attributes: Mapping[str, str]
    body: bytes


class StoredBatch(msgspec.Struct, frozen=True):
    """A batch as it is read back; `rows` is None where it is damaged, or was set aside for that."""

    first: int
    ids: bytes
    rows: Sequence[Row] | None
    count: int


class Sweep(msgspec.Struct, frozen=True):
    """What may be deleted.

    Batches below `settled`, which all active subscriptions are past, received before `keep_from`, and the oldest ones
    until `excess` bytes are free, but for the rest when `limit` bytes are; and ids received before `seen_from`. Times
    in Unix seconds.
    """

    settled: int
    keep_from: float
    excess: int
    seen_from: float
    limit: int


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Row]).decode


def pack(events: Sequence[Event]) -> bytes:
    """Encode the events' messages as the rows of a batch."""
    return _pack([(e.source, (m := e.message).received, m.attributes, m.body) for e in events])  # as `row_of`, uncalled


def row_of(event: Event) -> tuple[str, float, Mapping[str, str], bytes | memoryview]:
    """Return what is kept of an event: the fields of `Row`."""
    message = event.message
    return event.source, message.received, message.attributes, message.body


def _stored(first: int, count: int, crc: int, ids: bytes, body: bytes) -> StoredBatch:
    """Decode a row if it is sound."""
    sound = body and len(ids) == count * ID and zlib.crc32(body, zlib.crc32(ids)) == crc
    return StoredBatch(first, ids, _unpack(body) if sound else None, count)


class Batches:
    """The statements about batches, on one connection."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def insert(self, first: int, received: float, ids: bytes, body: bytes) -> None:
        """Write a batch, of 16 bytes of ids an event."""
        row = (first, len(ids) // ID, received, zlib.crc32(body, zlib.crc32(ids)), ids, body)
        self._sql.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", row)

    def has_room(self, row: Sequence[object]) -> bool:
        """Say whether a row of another file has positions that no row has here, nor had before it was swept."""
        first, count, *_ = row
        query = "SELECT first + count FROM batches WHERE first < ? + ? ORDER BY first DESC LIMIT 1"
        swept = "SELECT first + length(ids) / 16 FROM seen ORDER BY first DESC LIMIT 1"
        ends = (self._sql.execute(query, (first, count)).fetchone(), self._sql.execute(swept).fetchone())
        return isinstance(first, int) and first >= max([FIRST, *(end[0] for end in ends if end)])

    def extents(self, above: int, below: int | None) -> Iterator[tuple[int, int]]:
        """Yield where each batch begins and ends, from the one at or before `above` to the one at or after `below`."""
        query = (
            "SELECT first, first + count FROM batches WHERE first >= coalesce("
            "(SELECT max(first) FROM batches WHERE first <= ?), 0) AND first <= coalesce("
            "(SELECT min(first) FROM batches WHERE first >= ?), ?) ORDER BY first"
        )
        yield from self._sql.execute(query, (above, below, sys.maxsize))

    def sweep(self, sweep: Sweep) -> bool:
        """Delete what is settled and old enough, the oldest first; ids stay behind for the duplicate window.

        Returns whether the limit was met, so that there may be more. A mebibyte takes about three milliseconds.
        """
        size = "length(ids) + length(body)"
        rows = self._sql.execute(f"SELECT first + count, received, {size} FROM batches ORDER BY first LIMIT {SWEEP}")
        below = freed = gone = 0
        for end, received, took in rows:
            old = received < sweep.keep_from or freed < sweep.excess
            if end > sweep.settled or not old or freed >= sweep.limit:
                break
            below, freed, gone = end, freed + took, gone + 1
        rows.close()
        self._delete(below, sweep.seen_from)
        return gone == SWEEP or freed >= sweep.limit

    def _delete(self, below: int, seen_from: float) -> None:
        """Delete batches, and ids; the last row of all stays as long as no other says where the head is."""
        keep = "INSERT OR REPLACE INTO seen SELECT first, received, ids FROM batches WHERE first < ? AND received >= ?"
        self._sql.execute(keep, (below, seen_from))
        self._sql.execute("DELETE FROM batches WHERE first < ?", (below,))
        if below and self.tail() is None:
            self.hold(below, seen_from)
        query = "SELECT first FROM seen WHERE received >= ? ORDER BY first LIMIT 1"
        last = "SELECT max(first) FROM seen"
        self._sql.execute(f"DELETE FROM seen WHERE first < coalesce(({query}), ({last}))", (seen_from,))

    def hold(self, head: int, at: float) -> None:
        """Have a row without ids say where the head is, although nothing is kept of what came before."""
        self._sql.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, x'')", (head, at))

    def head(self) -> int:
        """Return the position after the last event of which anything is kept; `FIRST` if there is none."""
        (head,) = self._sql.execute(
            "SELECT max(coalesce((SELECT first + count FROM batches ORDER BY first DESC LIMIT 1), 0),"
            " coalesce((SELECT first + length(ids) / 16 FROM seen ORDER BY first DESC LIMIT 1), 0), ?)",
            (FIRST,),
        ).fetchone()
        return int(head)

    def tail(self) -> int | None:
        """Return the oldest position still kept; None if no event is."""
        (tail,) = self._sql.execute("SELECT min(first) FROM batches").fetchone()
        return None if tail is None else int(tail)

    def read(self, position: int, limit: int) -> list[StoredBatch]:
        """Return the batches from the one that holds `position` on, until they have `limit` events from there.

        They may be fewer where they are large.
        """
        query = (
            "SELECT first, count, crc, ids, body FROM batches WHERE first >= coalesce("
            "(SELECT max(first) FROM batches WHERE first <= ?), 0) ORDER BY first"
        )
        batches: list[StoredBatch] = []
        size = 0
        try:
            with closing(self._sql.execute(query, (position,))) as rows:
                for first, count, crc, ids, body in rows:
                    if first + count <= position:
                        continue
                    batches.append(_stored(first, count, crc, ids, body))
                    size += len(body)
                    if first + count - position >= limit or size > READ_BYTES:
                        break
        except sqlite3.DatabaseError as error:
            if not is_malformed(error):
                raise
            return batches or self._one(position)
        return batches

    def _one(self, position: int) -> list[StoredBatch]:
        """Return the batch that holds the position, without its contents if SQLite cannot read all of them."""
        for order in ("<= ? ORDER BY first DESC", "> ? ORDER BY first"):
            query = f"SELECT first, count FROM batches WHERE first {order} LIMIT 1"
            for first, count in self._sql.execute(query, (position,)):
                if first + count > position:
                    return [self._as_it_is(first, count)]
        return []

    def _as_it_is(self, first: int, count: int) -> StoredBatch:
        try:
            query = "SELECT crc, ids, body FROM batches WHERE first = ?"
            return _stored(first, count, *self._sql.execute(query, (first,)).fetchone())
        except sqlite3.DatabaseError as error:
            if not is_malformed(error):
                raise
            return StoredBatch(first, b"", None, count)

    def search(self, below: int, found: Callable[[bytes, bytes], bool]) -> tuple[list[StoredBatch], int]:
        """Look through a stretch of batches below a position, newest first; return those found, and where it ended.

        `found` is asked about each batch's ids and body. It ended at 0 where there are no more. A stretch is short,
        and so is the read transaction.
        """
        columns = "first, count, crc, ids, body"
        rows = self._sql.execute(f"SELECT {columns} FROM batches WHERE first < ? ORDER BY first DESC", (below,))
        batches: list[StoredBatch] = []
        size = 0
        try:
            for number, (first, count, crc, ids, body) in enumerate(rows, 1):
                if found(ids, body):
                    batches.append(_stored(first, count, crc, ids, body))
                size += len(body)
                if number == STRETCH_ROWS or size > STRETCH_BYTES:
                    return batches, first
        finally:
            rows.close()
        return batches, 0

    def ids_below(self, below: int) -> tuple[list[bytes], int]:
        """Return the ids of a stretch of batches below a position, newest first, and where it ended; 0 at the end."""
        query = "SELECT first, ids FROM batches WHERE first < ? ORDER BY first DESC LIMIT ?"
        rows = self._sql.execute(query, (below, _STRETCH_IDS)).fetchall()
        return [ids for _, ids in rows], rows[-1][0] if len(rows) == _STRETCH_IDS else 0

    def stored_at(self, positions: Sequence[int]) -> list[float | None]:
        """Return when the batches that hold these positions were written, in Unix seconds; None at the head."""
        query = "SELECT received, first + count FROM batches WHERE first <= ? ORDER BY first DESC LIMIT 1"
        found = [self._sql.execute(query, (position,)).fetchone() for position in positions]
        return [row[0] if row and p < row[1] else None for p, row in zip(positions, found, strict=True)]

    def ids_at(self, positions: Sequence[int]) -> dict[int, bytes]:
        """Return the ids at these positions, which are in order; those that are no longer known are left out."""
        held: dict[int, bytes] = {}
        for table in ("batches", "seen"):
            query = f"SELECT first, ids FROM {table} WHERE first <= ? ORDER BY first DESC LIMIT 1"
            first, ids = 0, b""
            for position in positions:
                if not first <= position < first + len(ids) // ID:
                    first, ids = self._sql.execute(query, (position,)).fetchone() or (0, b"")
                key = ids[(position - first) * ID :][:ID]
                if len(key) == ID:
                    held.setdefault(position, key)
        return held

    def ids_between(self, start: int, end: int | None, since: float) -> Iterator[tuple[int, float, bytes]]:
        """Yield (first, received, ids) of the batches that hold positions from `start` to below `end`, in order.

        Those received before `since` (Unix seconds) are left out.
        """
        for table in ("seen", "batches"):
            place = max(start, self._received(since)) if table == "batches" else start
            query = (
                f"SELECT first, received, ids FROM {table} WHERE first < ? AND received >= ? AND first >="
                f" coalesce((SELECT max(first) FROM {table} WHERE first <= ?), 0) ORDER BY first"
            )
            yield from self._sql.execute(query, (sys.maxsize if end is None else end, since, place))

    def _received(self, since: float) -> int:
        """Return a position before which no batch was received since, found by bisection: there is no index.

        Where the clock was set back it may be too high; then some ids are not remembered.
        """
        low, high = self.tail() or FIRST, self.head()
        query = "SELECT first + count, received FROM batches WHERE first <= ? ORDER BY first DESC LIMIT 1"
        while low < high:
            middle = (low + high) // 2
            end, received = self._sql.execute(query, (middle,)).fetchone() or (0, since)
            if received < since:
                low = max(end, middle + 1)
            else:
                high = middle
        return low
