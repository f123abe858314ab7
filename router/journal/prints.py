"""The rows of the duplicate window in the journal's file: what was sealed of it, and the secret of its fingerprints."""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import zlib
from collections.abc import Iterator

from router.journal.duplicates import Sealed

SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS prints (
    first INTEGER PRIMARY KEY, "end" INTEGER NOT NULL, latest REAL NOT NULL, crc INTEGER NOT NULL,
    words BLOB NOT NULL);
"""

_SECRET = 16
_places = struct.Struct("<qqd").pack


class Prints:
    """The statements about the duplicate window, on one connection."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def secret(self) -> bytes:
        """Return the 16 bytes of the secret, which are made at the first time."""
        secret = self.kept_secret()
        if secret is None:
            secret = os.urandom(_SECRET)
            self._sql.execute("INSERT INTO secret VALUES (?)", (secret,))
        return secret

    def kept_secret(self) -> bytes | None:
        """Return the secret, if there is one of its length."""
        row = self._sql.execute("SELECT bytes FROM secret ORDER BY rowid DESC").fetchone()
        return bytes(row[0]) if row and len(row[0]) == _SECRET else None

    def keep(self, sealed: Sealed) -> None:
        """Write a row."""
        row = (sealed.first, sealed.end, sealed.latest, _crc(sealed, self.secret()), sealed.words)
        self._sql.execute("INSERT OR REPLACE INTO prints VALUES (?, ?, ?, ?, ?)", row)

    def kept(self, since: float) -> Iterator[Sealed]:
        """Yield the rows whose last id came at `since` (Unix seconds) or later, in order; not those that are damaged.

        A damaged one is made anew, for its ids are in the journal.
        """
        secret = self.secret()
        query = 'SELECT first, "end", latest, words, crc FROM prints WHERE latest >= ? ORDER BY first'
        for first, end, latest, words, crc in self._sql.execute(query, (since,)):
            sealed = Sealed(first, end, latest, words)
            if _crc(sealed, secret) == crc:
                yield sealed

    def sweep(self, since: float) -> None:
        """Delete the rows whose last id came before `since` (Unix seconds)."""
        query = "SELECT first FROM prints WHERE latest >= ? ORDER BY first LIMIT 1"
        self._sql.execute(f"DELETE FROM prints WHERE first < coalesce(({query}), {sys.maxsize})", (since,))


def _crc(sealed: Sealed, secret: bytes) -> int:
    """Cover the secret, too: with another one the row is of no use."""
    return zlib.crc32(sealed.words, zlib.crc32(secret + _places(sealed.first, sealed.end, sealed.latest)))
