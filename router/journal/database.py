"""The SQLite file of the journal: its schema and its few statements; synchronous, called from worker threads.

One row per group-committed batch. Its `body` is a msgpack array of (source, received, attributes, bytes) per
event, which decodes to views into the row instead of copies; its `ids` are 16 bytes per event; `crc` covers
both. Ids live in a table of their own, so that the duplicate window outlives the events.

WAL with synchronous=FULL: a commit has returned from fsync. The writer's own autocheckpoint keeps the WAL at
4 MiB; readers use short transactions, because one held open lets it grow without bound.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import astuple

from router.errors import RouterError
from router.event import Event
from router.journal import FIRST, Change, Progress, Trouble

VERSION = 1
SWEEP = 2000
"""Batches that are deleted in one transaction at most, so that no commit waits long for it."""
STRETCH_ROWS = 10_000
STRETCH_BYTES = 32 * 2**20
"""What a search reads in one transaction at most."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, received REAL NOT NULL, crc INTEGER NOT NULL,
    ids BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS seen (first INTEGER PRIMARY KEY, received REAL NOT NULL, ids BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS progress (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, since INTEGER NOT NULL, pattern TEXT NOT NULL,
    delivered INTEGER NOT NULL, filtered INTEGER NOT NULL, parked INTEGER NOT NULL, dead INTEGER NOT NULL,
    carried INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parked (
    name TEXT NOT NULL, position INTEGER NOT NULL, id BLOB NOT NULL, reason TEXT NOT NULL, status INTEGER,
    attempts INTEGER NOT NULL, first_try REAL NOT NULL, last_try REAL NOT NULL, event BLOB NOT NULL,
    due REAL NOT NULL, times INTEGER NOT NULL, PRIMARY KEY (name, position)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parked_by_due ON parked (name, due, position);
CREATE TABLE IF NOT EXISTS dead (
    name TEXT NOT NULL, position INTEGER NOT NULL, id BLOB NOT NULL, reason TEXT NOT NULL, status INTEGER,
    attempts INTEGER NOT NULL, first_try REAL NOT NULL, last_try REAL NOT NULL, event BLOB NOT NULL,
    kind TEXT NOT NULL, PRIMARY KEY (name, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    name TEXT NOT NULL, key TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name, key)) WITHOUT ROWID;
"""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message as it is read back; `body` is a view into the batch's blob."""

    source: str
    received: float
    attributes: Mapping[str, str]
    body: memoryview


class StoredBatch(msgspec.Struct, frozen=True):
    """A batch as it is read back; `rows` is None where it is damaged, or was set aside for that."""

    first: int
    ids: bytes
    rows: Sequence[Row] | None
    count: int


class StoredTrouble(msgspec.Struct, frozen=True):
    """A parked event or a dead letter as it is read back; `rest` are the columns that only one of them has."""

    position: int
    key: bytes
    reason: str
    status: int | None
    attempts: int
    first_try: float
    last_try: float
    row: Row
    rest: Sequence[Any]


class Sweep(msgspec.Struct, frozen=True):
    """What may be deleted.

    Batches below `settled`, which all active subscriptions are past, received before `keep_from`; and ids received
    before `seen_from`. Times in Unix seconds.
    """

    settled: int
    keep_from: float
    seen_from: float


class Write(msgspec.Struct, frozen=True):
    """All that one transaction writes."""

    first: int
    received: float
    ids: bytes
    body: bytes
    count: int
    progress: Mapping[str, Progress | None]
    """By subscription; None forgets it."""
    changes: Sequence[tuple[str, Change]]
    sweep: Sweep | None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Row]).decode
_unpack_row = msgspec.msgpack.Decoder(Row).decode


def pack(events: Sequence[Event]) -> bytes:
    """Encode the events' messages as the rows of a batch."""
    return _pack([_row(event) for event in events])


def _row(event: Event) -> tuple[str, float, Mapping[str, str], bytes | memoryview]:
    message = event.message
    return event.source, message.received, message.attributes, message.body


class Database:
    """One connection. `readonly` opens an existing file beside a daemon that writes to it."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        mode = "ro" if readonly else "rwc"
        self._sql = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=10,
        )
        try:
            self._prepare(path, readonly=readonly)
        except sqlite3.Error as error:
            self._sql.close()
            raise RouterError(f"{path}: {error}") from error
        except BaseException:
            self._sql.close()
            raise

    def _prepare(self, path: Path, *, readonly: bool) -> None:
        if readonly:
            self._sql.execute("PRAGMA query_only=ON")
        else:
            self._sql.execute("PRAGMA journal_mode=WAL")
            self._sql.execute("PRAGMA synchronous=FULL")
            self._sql.execute("PRAGMA cache_size=-16384")
        version = self._one("PRAGMA user_version")
        if version not in (0, VERSION):
            raise RouterError(f"{path}: written by another version of the router (schema {version}, not {VERSION})")
        if not readonly:
            self._sql.executescript(_SCHEMA)
            self._sql.execute(f"PRAGMA user_version={VERSION}")
        self._page_size = self._one("PRAGMA page_size")

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()

    def _one(self, statement: str, *values: float) -> int:
        return int(self._sql.execute(statement, values).fetchone()[0])

    @contextmanager
    def moment(self) -> Generator[None]:
        """Read everything in this block as it is at one moment; keep it short."""
        self._sql.execute("BEGIN")
        try:
            yield
        finally:
            self._sql.execute("COMMIT")

    def head(self) -> int:
        """Return the position that the next event will get."""
        return self._one(
            "SELECT max(coalesce((SELECT first + count FROM batches ORDER BY first DESC LIMIT 1), 0),"
            " coalesce((SELECT first + length(ids) / 16 FROM seen ORDER BY first DESC LIMIT 1), 0),"
            " coalesce((SELECT max(position) FROM progress), 0), ?)",
            FIRST,
        )

    def tail(self) -> int:
        """Return the oldest position still kept."""
        return self._one("SELECT coalesce((SELECT min(first) FROM batches), ?)", self.head())

    def used(self) -> int:
        """Return the bytes of the file that hold data."""
        pages = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        return pages * self._page_size

    def write(self, write: Write) -> None:
        """Commit it all in one transaction, fsynced; on an error nothing of it is there.

        A batch alone is one statement: each gives up the interpreter's lock, and under load waits to get it back.
        """
        if write.count and not (write.changes or write.progress or write.sweep):
            self._insert(write)
            return
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            if write.count:
                self._insert(write)
            for name, change in write.changes:
                self._apply(name, change)
            for name, progress in write.progress.items():
                self._keep(name, progress)
            if write.sweep:
                self._sweep(write.sweep)
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise

    def _insert(self, write: Write) -> None:
        crc = zlib.crc32(write.body, zlib.crc32(write.ids))
        row = (write.first, write.count, write.received, crc, write.ids, write.body)
        self._sql.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", row)

    def _sweep(self, sweep: Sweep) -> None:
        """Delete some of what is settled and old enough; its ids stay behind for the duplicate window."""
        doomed = (sweep.settled, sweep.keep_from)
        which = f"first + count <= ? AND received < ? ORDER BY first LIMIT {SWEEP}"
        where = f"WHERE first IN (SELECT first FROM batches WHERE {which})"
        keep = f"INSERT INTO seen SELECT first, received, ids FROM batches {where} AND received >= ?"
        self._sql.execute(keep, (*doomed, sweep.seen_from))
        self._sql.execute(f"DELETE FROM batches {where}", doomed)
        self._sql.execute("DELETE FROM seen WHERE received < ?", (sweep.seen_from,))

    def _apply(self, name: str, change: Change) -> None:
        many = self._sql.executemany
        for table, gone in (("parked", change.unparked), ("dead", change.undead)):
            if gone:
                many(f"DELETE FROM {table} WHERE name = ? AND position = ?", ((name, p) for p in gone))
        if change.parked:
            parked = ((*_columns(name, p), p.due, p.times) for p in change.parked)
            many("INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", parked)
        if change.dead:
            dead = ((*_columns(name, d), d.kind) for d in change.dead)
            many("INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", dead)
        if change.marks:
            many("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", ((name, k, v) for k, v in change.marks.items()))

    def _keep(self, name: str, progress: Progress | None) -> None:
        if progress is None:
            for table in ("progress", "parked", "dead", "marks"):
                self._sql.execute(f"DELETE FROM {table} WHERE name = ?", (name,))
        else:
            row = (name, *astuple(progress))
            self._sql.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def read(self, position: int, limit: int) -> list[StoredBatch]:
        """Return the batches from the one that holds `position` on, until they have `limit` events from there."""
        rows = self._sql.execute(
            "SELECT first, count, crc, ids, body FROM batches WHERE first >= coalesce("
            "(SELECT max(first) FROM batches WHERE first <= ?), 0) ORDER BY first",
            (position,),
        )
        batches: list[StoredBatch] = []
        try:
            for first, count, crc, ids, body in rows:
                if first + count <= position:
                    continue
                sound = body and zlib.crc32(body, zlib.crc32(ids)) == crc
                batches.append(StoredBatch(first, ids, _unpack(body) if sound else None, count))
                if first + count - position >= limit:
                    break
        finally:
            rows.close()
        return batches

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
                    sound = zlib.crc32(body, zlib.crc32(ids)) == crc
                    batches.append(StoredBatch(first, ids, _unpack(body) if sound else None, count))
                size += len(body)
                if number == STRETCH_ROWS or size > STRETCH_BYTES:
                    return batches, first
        finally:
            rows.close()
        return batches, 0

    def stored_at(self, positions: Sequence[int]) -> list[float | None]:
        """Return when the batches that hold these positions were written, in Unix seconds; None at the head."""
        query = "SELECT received, first + count FROM batches WHERE first <= ? ORDER BY first DESC LIMIT 1"
        found = [self._sql.execute(query, (position,)).fetchone() for position in positions]
        return [row[0] if row and p < row[1] else None for p, row in zip(positions, found, strict=True)]

    def seen(self, since: float) -> Iterator[tuple[float, bytes]]:
        """Yield (received, ids) of the batches received from `since` (Unix seconds) on, in order."""
        for table in ("seen", "batches"):
            query = f"SELECT received, ids FROM {table} WHERE received >= ? ORDER BY first"
            yield from self._sql.execute(query, (since,))

    def progress(self) -> dict[str, Progress]:
        """Return the progress of every subscription that ever had one."""
        fields = Progress.__struct_fields__
        rows = self._sql.execute(f"SELECT name, {', '.join(fields)} FROM progress")
        return {name: Progress(**dict(zip(fields, values, strict=True))) for name, *values in rows}

    def marks(self) -> dict[str, dict[str, int]]:
        """Return the positions that sinks keep of themselves, by subscription."""
        marks: dict[str, dict[str, int]] = {}
        for name, key, value in self._sql.execute("SELECT name, key, value FROM marks"):
            marks.setdefault(name, {})[key] = value
        return marks

    def dead_counts(self) -> dict[str, int]:
        """Return how many dead letters each subscription has."""
        return dict(self._sql.execute("SELECT name, count(*) FROM dead GROUP BY name"))

    def held(self, table: str) -> dict[str, dict[int, str]]:
        """Return the ids of all that is parked or dead, by subscription and position."""
        held: dict[str, dict[int, str]] = {}
        for name, position, key in self._sql.execute(f"SELECT name, position, id FROM {table}"):
            held.setdefault(name, {})[position] = key.hex()
        return held

    def parked(self, name: str, limit: int) -> list[StoredTrouble]:
        """Return the subscription's parked events that are due first; the `rest`: due, times."""
        return self._troubles("parked", "due, times", "ORDER BY due, position LIMIT ?", name, limit)

    def dead(self, name: str, after: int, limit: int) -> list[StoredTrouble]:
        """Return the subscription's dead letters above a position; the `rest`: kind."""
        return self._troubles("dead", "kind", "AND position > ? ORDER BY position LIMIT ?", name, after, limit)

    def trouble(self, table: str, last: str, name: str, position: int) -> list[StoredTrouble]:
        """Return what `parked` or `dead` has at a position, if anything; `last` names the rest's columns."""
        return self._troubles(table, last, "AND position = ?", name, position)

    def troubled(self, table: str, below: int, found: Callable[[bytes, bytes], bool]) -> list[tuple[str, int]]:
        """Return subscription and position of each row below a position of whose id and event `found` is true."""
        rows = self._sql.execute(f"SELECT name, position, id, event FROM {table} WHERE position < ?", (below,))
        return [(name, position) for name, position, key, event in rows if found(key, event)]

    def dead_from(self, name: str, since: int) -> int:
        """Return how many dead letters a subscription has from a position on."""
        (row,) = self._sql.execute("SELECT count(*) FROM dead WHERE name = ? AND position >= ?", (name, since))
        return int(row[0])

    def _troubles(self, table: str, last: str, rest: str, *values: str | int) -> list[StoredTrouble]:
        columns = "position, id, reason, status, attempts, first_try, last_try, event"
        rows = self._sql.execute(f"SELECT {columns}, {last} FROM {table} WHERE name = ? {rest}", values)
        return [
            StoredTrouble(position, key, reason, status, attempts, first, latest, _unpack_row(event), others)
            for position, key, reason, status, attempts, first, latest, event, *others in rows
        ]


def _columns(name: str, trouble: Trouble) -> tuple[str, int, bytes, str, int | None, int, float, float, bytes]:
    return (
        name,
        trouble.position,
        bytes.fromhex(trouble.event.id),
        trouble.reason,
        trouble.status,
        trouble.attempts,
        trouble.first_try,
        trouble.last_try,
        _pack(_row(trouble.event)),
    )
