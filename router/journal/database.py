"""The SQLite file of the journal: how it is opened, and what one transaction writes.

Synchronous, called from worker threads. WAL with synchronous=FULL: a commit has returned from fsync. The writer's own
autocheckpoint keeps the WAL at 4 MiB; readers use short transactions, because one held open lets it grow without bound.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from router.errors import RouterError
from router.journal import batches, deliveries, prints, records
from router.journal.batches import Batches, Sweep
from router.journal.deliveries import Deliveries
from router.journal.duplicates import Sealed
from router.journal.ledger import Renamed, Unwritten
from router.journal.prints import Prints
from router.journal.private import touch
from router.journal.records import Records
from router.journal.salvage import is_malformed

log = structlog.get_logger("journal")

VERSION = 7


class Write(msgspec.Struct, frozen=True):
    """All that one transaction writes; `ids` has 16 bytes for each event of `body`. `tidied` is a subscription's name.

    With a `sweep`, `tidied` loses what is too much of its deliveries. A `probe` is written even if there is nothing
    else, to see whether it can be.
    """

    first: int
    received: float
    ids: bytes
    body: bytes
    unwritten: Unwritten
    sealed: Sequence[Sealed]
    sweep: Sweep | None
    tidied: str = ""
    probe: bool = False


def _text(stored: bytes) -> str:
    """Decode a text; one flipped bit must not end a whole read."""
    return stored.decode(errors="replace")


def opened(path: Path, mode: str) -> sqlite3.Connection:
    """Open a file in one of SQLite's modes: `ro`, `rw` or `rwc`."""
    if mode == "rwc":
        touch(path)  # SQLite would have it read by everyone; what it makes beside it is as this file is
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    sql = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None, timeout=10)
    sql.text_factory = _text
    return sql


def roll_back(path: Path) -> None:
    """Undo what a kill left half done, which who only reads may not; as a rule there is nothing of it.

    Beside a WAL there never is: what closes a database that may be written deletes it.
    """
    log_file = path.with_name(f"{path.name}-wal")
    if path.with_name(f"{path.name}-journal").exists() and not (log_file.exists() and log_file.stat().st_size):
        with closing(opened(path, "rw")) as sql:
            sql.execute("PRAGMA user_version").fetchone()


class Database:
    """One connection. `readonly` opens an existing file beside a daemon that writes to it."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        try:
            if readonly:
                roll_back(path)
            self._sql = opened(path, "ro" if readonly else "rwc")
        except (sqlite3.Error, OSError) as error:
            raise RouterError(f"{path}: {error} (a folder, or not allowed?)") from error
        self.batches = Batches(self._sql)
        self.records = Records(self._sql)
        self.prints = Prints(self._sql)
        self.deliveries = Deliveries(self._sql)
        self._unswept = False
        try:
            self._prepare(path, readonly=readonly)
        except sqlite3.Error as error:
            self._sql.close()
            raise RouterError(f"{path}: {error} (see `router journal check`)") from error
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
            raise RouterError(
                f"{path}: written by another version of the router (schema {version}, not {VERSION}; use that one to"
                " deliver what it holds, or name another state folder)"
            )
        if not readonly:
            self._sql.executescript("".join(part.SCHEMA for part in (batches, records, prints, deliveries)))
            self._sql.execute(f"PRAGMA user_version={VERSION}")
        self.page_size = self._one("PRAGMA page_size")

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()

    def _one(self, statement: str) -> int:
        return int(self._sql.execute(statement).fetchone()[0])

    @contextmanager
    def moment(self) -> Generator[None]:
        """Read everything in this block as it is at one moment; keep it short."""
        self._sql.execute("BEGIN")
        try:
            yield
        finally:
            self._sql.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Write everything in this block, fsynced, or on an error nothing of it."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> int:
        """Write rows as they lie in a table of another file; returns how many are there already, or no rows of it."""
        if not rows:
            return 0
        known = [name for _, name, *_ in self._sql.execute(f"PRAGMA table_info({table})")]
        columns = ", ".join(f'"{name}"' for name in known[: len(rows[0])])  # an older version had fewer, in this order
        places = ", ".join("?" * len(rows[0]))
        with self.transaction():
            done = self._sql.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", rows)
        return len(rows) - done.rowcount

    def holds(self, table: str) -> bool:
        """Say whether a table has any row."""
        return bool(self._one(f"SELECT EXISTS (SELECT 1 FROM {table})"))

    def rush(self) -> None:
        """Wait for the disk no more: while a new file is filled that is of no use until it is whole."""
        self._sql.execute("PRAGMA synchronous=OFF")

    def settle(self) -> None:
        """Have everything in the file itself, so that it may be moved."""
        self.fold()
        self._sql.execute("PRAGMA journal_mode=DELETE")

    def fold(self) -> None:
        """Have everything in the file itself, as far as no reader is in the way, and the WAL empty."""
        self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rescue(self) -> None:
        """Have in the file itself what the WAL has, if it can be: it may be the only one that will be found again."""
        try:
            self._sql.execute("PRAGMA wal_checkpoint(FULL)")
        except sqlite3.Error as error:
            log.error("what is in the WAL cannot be saved", error=str(error))  # noqa: TRY400 - nothing is answered

    def hold(self, head: int) -> None:
        """Begin at a position although there is nothing before it."""
        with self.transaction():
            self.batches.hold(head, time.time())

    def head(self) -> int:
        """Return the position that the next event will get."""
        return max(self.batches.head(), self.records.furthest())

    def tail(self) -> int:
        """Return the oldest position still kept."""
        tail = self.batches.tail()
        return self.head() if tail is None else tail

    def used(self) -> int:
        """Return the bytes of the file that hold data."""
        pages = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        return pages * self.page_size

    def write(self, write: Write) -> bool:
        """Commit it all in one transaction, fsynced; on an error nothing of it is there.

        Returns whether there is more to sweep. Where a sweep meets a page that SQLite cannot read, it is left out, and
        all later ones: what is malformed keeps nobody from committing.
        A batch alone is one statement: each gives up the interpreter's lock, and under load waits to get it back.
        """
        unwritten = write.unwritten
        if write.ids and not (unwritten.changes or unwritten.progress or write.sealed or write.sweep):
            self.batches.insert(write.first, write.received, write.ids, write.body)
            return False
        sweep = None if self._unswept else write.sweep
        try:
            return self._write_all(write, sweep)
        except sqlite3.DatabaseError as error:
            if not (sweep and is_malformed(error)):
                raise
            result = self._write_all(write, None)
            self._unswept = True
            log.error("nothing more is deleted: stop, and repair the journal", error=str(error))  # noqa: TRY400 - known
            return result

    def _write_all(self, write: Write, sweep: Sweep | None) -> bool:
        with self.transaction():
            if write.ids:
                self.batches.insert(write.first, write.received, write.ids, write.body)
            self._write(write.unwritten)
            for sealed in write.sealed:
                self.prints.keep(sealed)
            if write.probe:
                self._sql.execute(f"PRAGMA user_version={VERSION}")
            return sweep is not None and self._sweep(sweep, write.tidied, write.received)

    def forget(self, name: str) -> None:
        """Delete all that is kept of a subscription."""
        self.records.forget(name)
        self.deliveries.forget(name)

    def _write(self, unwritten: Unwritten) -> None:
        for name, change in unwritten.changes:
            if change is None:
                self.forget(name)
            elif isinstance(change, Renamed):
                self.records.rename(name, change.name)
                self.deliveries.rename(name, change.name)
            else:
                self.records.apply(name, change)
                self.deliveries.keep_endings(name, change.endings)
        for name, progress in unwritten.progress.items():
            self.records.keep(name, progress)
        self.deliveries.keep_spans((name, span) for (name, _), span in unwritten.spans.items())

    def _sweep(self, sweep: Sweep, tidied: str, now: float) -> bool:
        more = self.batches.sweep(sweep)
        self.prints.sweep(sweep.seen_from)
        if tidied:
            self.deliveries.sweep(tidied, self.tail(), now)
        return more
