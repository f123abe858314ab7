"""What the journal's file keeps of subscriptions: progress, parked events, dead letters, replays, the sinks' marks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple

from router.journal import Change, Progress, Span, Trouble
from router.journal.batches import Row, row_of
from router.journal.replay import Replay

SCHEMA = """
CREATE TABLE IF NOT EXISTS progress (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, since INTEGER NOT NULL, pattern TEXT NOT NULL,
    delivered INTEGER NOT NULL, filtered INTEGER NOT NULL, parked INTEGER NOT NULL, dead INTEGER NOT NULL,
    carried INTEGER NOT NULL, state TEXT NOT NULL, left_out INTEGER NOT NULL, until INTEGER NOT NULL,
    above BLOB NOT NULL) WITHOUT ROWID;
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
    name TEXT NOT NULL, key TEXT NOT NULL, value INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replays (number INTEGER PRIMARY KEY, name TEXT NOT NULL, replay TEXT NOT NULL);
"""

AT_ONCE = 1000
"""Letters that are read at a time."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Row).decode
_unpack_spans = msgspec.msgpack.Decoder(list[tuple[int, int, float, float]]).decode


class Mark(NamedTuple):
    """A position that a sink keeps of itself, and where its subscription was when that changed last."""

    value: int
    position: int


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


class Records:
    """The statements about subscriptions, on one connection."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def apply(self, name: str, change: Change) -> None:
        """Write what a commit changes."""
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
            marks = ((name, key, value, change.marked_at) for key, value in change.marks.items())
            many("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", marks)
        if change.unmarked:
            many("DELETE FROM marks WHERE name = ? AND key = ?", ((name, key) for key in change.unmarked))
        if change.forgotten:
            many("DELETE FROM replays WHERE number = ?", ((number,) for number in change.forgotten))
        if change.replays:
            replays = ((one.number, name, msgspec.json.encode(one).decode()) for one in change.replays)
            many("INSERT OR REPLACE INTO replays VALUES (?, ?, ?)", replays)

    def keep(self, name: str, progress: Progress) -> None:
        """Write the progress of a subscription."""
        *plain, above = astuple(progress)
        row = (name, *plain, _pack([astuple(span) for span in above]))
        self._sql.execute(f"INSERT OR REPLACE INTO progress VALUES ({', '.join('?' * len(row))})", row)

    def forget(self, name: str) -> None:
        """Delete all that is kept of a subscription."""
        for table in ("progress", "parked", "dead", "marks", "replays"):
            self._sql.execute(f"DELETE FROM {table} WHERE name = ?", (name,))

    def rename(self, old: str, new: str) -> None:
        """Move all that is kept of a subscription to another name."""
        for table in ("progress", "parked", "dead", "marks", "replays"):
            self._sql.execute(f"UPDATE {table} SET name = ? WHERE name = ?", (new, old))

    def furthest(self) -> int:
        """Return the highest position of any subscription, 0 if there is none."""
        (position,) = self._sql.execute("SELECT coalesce(max(position), 0) FROM progress").fetchone()
        return int(position)

    def progress(self) -> dict[str, Progress]:
        """Return the progress of every subscription that ever had one."""
        *fields, _ = Progress.__struct_fields__
        rows = self._sql.execute(f"SELECT name, {', '.join(fields)}, above FROM progress")
        return {
            name: Progress(**dict(zip(fields, values, strict=True)), above=_unpack_above(above))
            for name, *values, above in rows
        }

    def marks(self) -> dict[str, dict[str, Mark]]:
        """Return the positions that sinks keep of themselves, by subscription; those that changed last are last."""
        marks: dict[str, dict[str, Mark]] = {}
        for name, key, *mark in self._sql.execute("SELECT name, key, value, position FROM marks ORDER BY position"):
            marks.setdefault(name, {})[key] = Mark(*mark)
        return marks

    def replays(self) -> dict[str, dict[int, Replay]]:
        """Return the replays, by subscription and number."""
        replays: dict[str, dict[int, Replay]] = {}
        for name, text in self._sql.execute("SELECT name, replay FROM replays ORDER BY number"):
            one = msgspec.json.decode(text, type=Replay)
            replays.setdefault(name, {})[one.number] = one
        return replays

    def held_between(self, table: str, name: str, first: int, end: int) -> dict[int, str]:
        """Return the ids of what a subscription has parked or dead from one position to before another."""
        query = f"SELECT position, id FROM {table} WHERE name = ? AND position >= ? AND position < ?"
        return {position: key.hex() for position, key in self._sql.execute(query, (name, first, end))}

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

    def expired(self, name: str, keep: int) -> list[StoredTrouble]:
        """Return the oldest of a subscription's letters that expired, but for the newest `keep`; the `rest`: kind."""
        (row,) = self._sql.execute("SELECT count(*) FROM dead WHERE name = ? AND kind = 'expired'", (name,))
        last = "AND kind = 'expired' ORDER BY position LIMIT ?"
        return self._troubles("dead", "kind", last, name, min(max(row[0] - keep, 0), AT_ONCE))

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
            StoredTrouble(position, key, reason, status, attempts, first, latest, _unpack(event), others)
            for position, key, reason, status, attempts, first, latest, event, *others in rows
        ]


def _unpack_above(packed: bytes) -> tuple[Span, ...]:
    return tuple([Span(*span) for span in _unpack_spans(packed)])


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
        _pack(row_of(trouble.event)),
    )
