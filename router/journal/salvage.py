"""Salvage: what can still be read of a file that SQLite calls malformed, row by row.

A page that is torn takes the rows with it that lie on it, or one that is as large as to spread over it; the pages
around it can be read, if one knows a key to look for. So each table is read in the order of its keys; where the next
row cannot be read its key alone is tried, and then keys farther and farther on, until there is one again. What lies
below a torn inner page of a table's tree is not found that way, but by digging for it (`router.journal.dig`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

AT_ONCE = 1 << 20
"""Bytes of rows that are handed over at a time."""
FARTHEST = 1 << 62
"""No key is beyond this one."""


def is_malformed(error: sqlite3.Error) -> bool:
    """Say whether the file is at fault, rather than the disk, another process, or the statement."""
    code = getattr(error, "sqlite_errorcode", None)  # an error of the module itself has none
    return code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Lost(msgspec.Struct, frozen=True):
    """What could not be read: the rows of a table with keys above one and below the other (None: to the end).

    Where it has subscriptions' rows, those of the one of that name, or of any if even the names could not be read.
    """

    table: str
    name: str
    above: int
    below: int | None
    said: str = "SQLite cannot read the row"


class Table(msgspec.Struct, frozen=True):
    """A table whose rows have a whole number for a key, by itself or together with the name of a subscription."""

    name: str
    key: str
    named: bool = False


TABLES = (
    Table("batches", "first"),
    Table("seen", "first"),
    Table("parked", "position", named=True),
    Table("dead", "position", named=True),
    Table("spans", "first", named=True),
    Table("endings", "position", named=True),
    Table("replays", "number"),
)
"""Those whose rows are many. What was sealed of the duplicate window is made anew, from the ids."""
SMALL = ("progress", "marks")
"""Those that have few rows for each subscription: all of a subscription's are read, or none."""


Insert: TypeAlias = Callable[[str, Sequence[Sequence[Any]]], object]
"""Takes rows of a table."""


def salvage(sql: sqlite3.Connection, insert: Insert) -> Iterator[Lost]:
    """Hand over all rows that can be read, and yield what cannot."""
    known: set[str] = set()
    for small in SMALL:
        yield from _add_names(sql, small, "name", known)
    for one in TABLES:
        if one.named:
            yield from _add_names(sql, one.name, f"name, {one.key}", known)
    for one in TABLES:
        for name in sorted(known) if one.named else [""]:
            yield from _copy(sql, one, name, insert)
    for small in SMALL:
        for name in sorted(known):
            try:
                rows = sql.execute(f"SELECT * FROM {small} NOT INDEXED WHERE name = ?", (name,)).fetchall()
            except sqlite3.Error as error:
                _only_malformed(error)
                yield Lost(small, name, 0, None)
            else:
                insert(small, rows)


def _add_names(sql: sqlite3.Connection, table: str, order: str, known: set[str]) -> Iterator[Lost]:
    """Add the names of subscriptions that can be read in a table; `order` is the table's own."""
    query = f"SELECT name FROM {table} NOT INDEXED WHERE name > ? ORDER BY {order} LIMIT 1"
    name: str | None = ""
    while name is not None:
        try:
            (following,) = sql.execute(query, (name,)).fetchone() or (None,)
            if following is not None and not (isinstance(following, str) and following > name):
                raise NoRowError
        except sqlite3.Error as error:
            _only_malformed(error)
            yield Lost(table, "", -1, None)
            return
        name = following
        known |= {name} if name is not None else set()


def _copy(sql: sqlite3.Connection, table: Table, name: str, insert: Insert) -> Iterator[Lost]:
    rows: list[Sequence[Any]] = []
    size = 0
    for found in _Rows(sql, table, name):
        if isinstance(found, Lost):
            yield found
            continue
        rows.append(found)
        size += sum(len(value) for value in found if isinstance(value, bytes)) + 100
        if size > AT_ONCE:
            insert(table.name, rows)
            rows, size = [], 0
    insert(table.name, rows)


class NoRowError(sqlite3.DatabaseError):
    """What was read is none of the table's rows."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class _Rows:
    """The rows of a table in the order of their keys, with what is lost between them."""

    def __init__(self, sql: sqlite3.Connection, table: Table, name: str) -> None:
        self._sql = sql
        self._table = table
        self._name = name

    def __iter__(self) -> Iterator[Sequence[Any] | Lost]:
        after = -1
        while True:
            try:
                row = self._next("*", after)
            except sqlite3.Error as error:
                _only_malformed(error)
                lost = self._lost(after)
                yield lost
                if lost.below is None:
                    return
                after = lost.below - 1
                continue
            if row is None:
                return
            yield row
            after = int(row[1 if self._table.named else 0])

    def _next(self, columns: str, after: int) -> Sequence[Any] | None:
        """Return the row with the next key after one."""
        key, where = self._table.key, "name = ? AND " if self._table.named else ""
        source = f"{self._table.name} NOT INDEXED"  # an index may be torn, too
        query = f"SELECT {columns}, {key} FROM {source} WHERE {where}{key} > ? ORDER BY {key} LIMIT 1"
        values = (self._name, after) if self._table.named else (after,)
        row: Sequence[Any] | None = self._sql.execute(query, values).fetchone()
        if row is not None and not self._sane(row[-1], after):
            raise NoRowError
        return row[:-1] if row is not None else None

    def _sane(self, key: object, after: int) -> bool:
        """Say whether a key may follow another; what is read of a spoilt page may be anything."""
        return isinstance(key, int) and after < key < FARTHEST and (after < 0 or key - after < 1 << 40)

    def _lost(self, after: int) -> Lost:
        """Say how far it cannot be read: one row, if its key can be; else up to the next one that can."""
        key = self._readable(after)
        if key is not None and key < FARTHEST:
            return self._gap(after, key + 1)
        step = 1
        while after + step < FARTHEST and self._readable(after + step) is None:
            step *= 2
        if after + step >= FARTHEST:
            return self._gap(after, None)
        low, high = after + step // 2, after + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._readable(middle) is not None else (middle, high)
        return self._gap(after, high + 1)

    def _gap(self, above: int, below: int | None) -> Lost:
        return Lost(self._table.name, self._name, above, below)

    def _readable(self, after: int) -> int | None:
        """Return the next key, `FARTHEST` if there is none, or None if it cannot be read."""
        try:
            row = self._next(self._table.key, after)
        except sqlite3.Error as error:
            _only_malformed(error)
            return None
        return FARTHEST if row is None else int(row[0])


def _only_malformed(error: sqlite3.Error) -> None:
    """Raise the error again unless the file is at fault."""
    if not is_malformed(error):
        raise error
