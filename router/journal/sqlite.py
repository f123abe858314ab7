"""The default journal: an SQLite file under the state folder; who may open it, and what looks after it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import anyio

from router.errors import ConfigError, RouterError
from router.journal import Inspection, Journal, Partition, Restore
from router.journal.database import Database
from router.journal.housekeeping import Limits
from router.journal.inspection import SqliteInspection
from router.journal.ledger import Ledger
from router.journal.partition import SqlitePartition
from router.journal.rebuild import malformed, rebuild, unopenable
from router.journal.report import CheckReport, Repair
from router.journal.salvage import is_malformed
from router.journal.upkeep import Identify, Upkeep
from router.journal.writer import Writer
from router.units import Duration, Size
from router.worker import Worker


class SqliteJournal(Journal, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep the log in `journal.db` under the state folder.

    `quota` bounds its size: when it is full of events that somebody still needs, intake is refused until
    they are settled. `retention` is how long settled events are kept for replay and explanation, as long as all takes
    no more than `retention_size` (0: four fifths of the quota). `duplicates` is how long an id is remembered.
    """

    quota: Size = 20 * 2**30
    retention: Duration = 7 * 86400.0
    retention_size: Size = 0
    duplicates: Duration = 86400.0

    @asynccontextmanager
    async def open(self, state: Path, restore: Restore) -> AsyncGenerator[Partition]:
        """Open or create the file; raises `ConfigError` if another process has it or it cannot be read."""
        path = state / "journal.db"
        limits = Limits(self.quota, self.retention, self.retention_size, self.duplicates)
        with (
            _lock(state),
            closing(Database(path)) as database,
            closing(Database(path, readonly=True)) as reader,
            Worker("journal") as worker,
        ):
            with _told(path):
                ledger = Ledger(database.records)
                writer = Writer(limits, database, ledger, worker)
                await writer.recall()
            partition = SqlitePartition(writer, ledger, reader, restore)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(writer.run)
                tasks.start_soon(writer.seal)
                try:
                    yield partition
                finally:
                    if not writer.ended:
                        with anyio.CancelScope(shield=True):
                            await partition.flush()
                    tasks.cancel_scope.cancel()

    @contextmanager
    def inspect(self, state: Path, restore: Restore) -> Generator[Inspection]:
        """Read the file; raises `RouterError` if there is none."""
        path = _existing(state)
        with closing(Database(path, readonly=True)) as database:
            try:
                yield SqliteInspection(database, restore)
            except sqlite3.Error as error:
                raise RouterError(f"{path}: {error} (see `router journal check`)") from error

    def examine(self, state: Path, identify: Identify | None) -> CheckReport:
        """Read every row; raises `RouterError` if there is no file, or it may not be read.

        While no daemon runs, SQLite's own structures are checked, too: that is one long read, at which a WAL grows.
        """
        path = _existing(state)
        try:
            upkeep = Upkeep(path, readonly=True)
        except RouterError as error:
            if isinstance(error.__cause__, sqlite3.Error) and is_malformed(error.__cause__):
                return unopenable(path)
            raise
        with closing(upkeep), _told(path):
            report = upkeep.check(identify)
            if report.damage or _held(state) or not malformed(path):
                return report
            return upkeep.survey()

    def repair(self, state: Path) -> Repair:
        """Set damaged rows aside in `journal.aside.jsonl`; what SQLite cannot read goes into a new file without it."""
        path = _existing(state)
        with _lock(state), _told(path):
            rebuilt = rebuild(path) if malformed(path) else Repair(0)
            with closing(Upkeep(path)) as upkeep:
                return Repair(rebuilt.rows + upkeep.repair(state), rebuilt.lost)

    def compact(self, state: Path, active: Iterable[str]) -> tuple[int, int]:
        """Sweep as the daemon would, all at once, and shrink the file; needs as much free space as is left in it."""
        path, now = _existing(state), time.time()
        with _lock(state), _told(path), closing(Upkeep(path)) as upkeep:
            before = path.stat().st_size
            ledger = Ledger(upkeep.records)
            ledger.activate(active)
            settled = int(min(ledger.settled, ledger.replayed))
            upkeep.compact(settled, now - self.retention, now - self.duplicates)
            return before, path.stat().st_size


def _existing(state: Path) -> Path:
    path = state / "journal.db"
    if not path.exists():
        raise RouterError(f"no journal at {path} (has the router run on this state folder?)")
    return path


@contextmanager
def _told(path: Path) -> Generator[None]:
    """Say in one line what the disk or SQLite did not let us do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise RouterError(f"{path}: {error} (see `router journal check`)") from error


def _held(state: Path) -> bool:
    """Say whether another process has the folder."""
    try:
        handle = os.open(state / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def _lock(state: Path) -> Generator[None]:
    """Hold the folder for this process."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise ConfigError(
            "state", f"cannot use {state}: {error.strerror}", "name a folder that can be written"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ConfigError(
            "state", f"another router is running on {state}", "stop it, or name another folder"
        ) from error
    try:
        yield
    finally:
        os.close(handle)
