"""The rows that say when events were delivered: spans of positions, and endings of those that took more than one try.

Both are bounded. Spans are a second long at least while their events are new, and a minute when they are an hour old:
a subscription that is never idle takes some 14,000 rows for a week. Of endings the newest are kept. Both go with
their events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import takewhile

from router.journal.progress import Ending, Span, join

SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
    name TEXT NOT NULL, first INTEGER NOT NULL, "end" INTEGER NOT NULL, begun REAL NOT NULL, ended REAL NOT NULL,
    PRIMARY KEY (name, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endings (
    name TEXT NOT NULL, position INTEGER NOT NULL, at REAL NOT NULL, tries INTEGER NOT NULL, reason TEXT NOT NULL,
    fate TEXT NOT NULL, PRIMARY KEY (name, position)) WITHOUT ROWID;
"""

KEPT = 20_000
"""Endings of a subscription that are kept at most."""
FRESH = 3600.0
COARSE = 60.0
"""Spans that ended so many seconds ago are joined within so many seconds."""
AT_ONCE = 2000
"""Spans that are looked at in one transaction."""
AGAIN = 10
"""Spans before a position that may speak of it: some of its neighbours may have been delivered again."""
_REASON = 200
"""Characters of a reason that are kept."""


class Deliveries:
    """The statements about deliveries, on one connection."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        self._joined: dict[str, int] = {}

    def keep_spans(self, spans: Iterable[tuple[str, Span]]) -> None:
        """Write spans of subscriptions; they replace those that begin at their positions."""
        rows = [(name, span.first, span.end, span.begun, span.ended) for name, span in spans]
        again = "DELETE FROM spans WHERE name = ? AND first > ? AND first < ?"
        self._sql.executemany(again, ((name, first, end) for name, first, end, _, _ in rows))
        self._sql.executemany("INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?, ?)", rows)

    def keep_endings(self, name: str, endings: Sequence[Ending]) -> None:
        """Write endings."""
        rows = ((name, one.position, one.at, one.tries, one.reason[:_REASON], one.fate) for one in endings)
        self._sql.executemany("INSERT OR REPLACE INTO endings VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget(self, name: str) -> None:
        """Delete all that is kept of a subscription."""
        for table in ("spans", "endings"):
            self._sql.execute(f"DELETE FROM {table} WHERE name = ?", (name,))
        self._joined.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        """Move all that is kept of a subscription to another name."""
        for table in ("spans", "endings"):
            self._sql.execute(f"UPDATE {table} SET name = ? WHERE name = ?", (new, old))
        self._joined.pop(old, None)

    def sweep(self, name: str, tail: int, now: float) -> None:
        """Delete what is below the oldest event, and all but the newest endings; join what is no longer fresh."""
        self._sql.execute('DELETE FROM spans WHERE name = ? AND first < ? AND "end" <= ?', (name, tail, tail))
        self._sql.execute("DELETE FROM endings WHERE name = ? AND position < ?", (name, tail))
        last = f"SELECT position FROM endings WHERE name = ? ORDER BY position DESC LIMIT 1 OFFSET {KEPT}"
        self._sql.execute(f"DELETE FROM endings WHERE name = ? AND position <= ({last})", (name, name))
        self._join(name, now - FRESH)

    def _join(self, name: str, before: float) -> None:
        """Join spans that ended before a moment (Unix seconds); those that were joined already are not read again."""
        columns = 'first, "end", begun, ended'
        query = f"SELECT {columns} FROM spans WHERE name = ? AND first >= ? ORDER BY first LIMIT {AT_ONCE}"
        spans = (Span(*row) for row in self._sql.execute(query, (name, self._joined.get(name, 0))))
        old = list(takewhile(lambda span: span.ended < before, spans))
        new: list[Span] = []
        for span in old:
            join(new, span, COARSE)
        if new:
            self._joined[name] = new[-1].first
        gone = {span.first for span in old} - {span.first for span in new}
        self._sql.executemany("DELETE FROM spans WHERE name = ? AND first = ?", ((name, first) for first in gone))
        self.keep_spans((name, span) for span in set(new) - set(old))

    def delivered(self, name: str, position: int) -> Ending | Span | None:
        """Return what is known of when an event was delivered."""
        query = "SELECT at, tries, reason, fate FROM endings WHERE name = ? AND position = ?"
        for at, tries, reason, fate in self._sql.execute(query, (name, position)):
            return Ending(position=position, at=at, tries=tries, reason=reason, fate=fate)
        columns = 'first, "end", begun, ended'
        query = f"SELECT {columns} FROM spans WHERE name = ? AND first <= ? ORDER BY first DESC LIMIT {AGAIN}"
        spans = (Span(*row) for row in self._sql.execute(query, (name, position)))
        return next((span for span in spans if position < span.end), None)

    def complete(self, name: str) -> int:
        """Return the position from which on no ending of a subscription was deleted to keep them few."""
        query = "SELECT count(*), min(position) FROM endings WHERE name = ?"
        count, first = self._sql.execute(query, (name,)).fetchone()
        return int(first) if count >= KEPT else 0

    def discarded(self, name: str, since: int) -> int:
        """Return how many of a subscription's letters from a position on are known to be discarded."""
        query = "SELECT count(*) FROM endings WHERE name = ? AND position >= ? AND fate = 'discarded'"
        return int(self._sql.execute(query, (name, since)).fetchone()[0])
