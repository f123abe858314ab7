"""The default journal: an SQLite file under the state folder; who may open it, and what looks after it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path

import anyio
import msgspec
import structlog

from router.errors import RouterError
from router.hint import nearest_subscription
from router.journal import Inspection, Journal, Partition, Restore, headfile
from router.journal.database import Database
from router.journal.headfile import Known
from router.journal.housekeeping import Limits
from router.journal.inspection import SqliteInspection
from router.journal.keeper import Keeper
from router.journal.ledger import Ledger
from router.journal.losses import Finding, accept, begin, look, settle
from router.journal.partition import SqlitePartition
from router.journal.place import held, hold
from router.journal.rebuild import malformed, rebuild, unopenable
from router.journal.report import CheckReport, Repair
from router.journal.salvage import is_malformed
from router.journal.upkeep import Identify, Upkeep
from router.journal.writer import Writer
from router.journal.written import losses, lost_events, take_note
from router.units import Duration, Size
from router.worker import Worker

log = structlog.get_logger("journal")


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
        with hold(state), _opened(path) as (database, reader, keeper), Worker("journal") as worker:
            with _told(path):
                ledger = Ledger(database.records)
                writer = Writer(limits, database, ledger, worker, keeper)
                await writer.recall()
            partition = SqlitePartition(writer, ledger, reader, restore, lost_events(state))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(writer.run)
                tasks.start_soon(writer.seal)
                tasks.start_soon(writer.watch)
                try:
                    yield partition
                finally:
                    if not writer.ended:
                        with anyio.CancelScope(shield=True):
                            await partition.flush()
                    tasks.cancel_scope.cancel()

    def accept_loss(self, state: Path) -> None:
        """Have a journal that was lost begin anew, behind the last position that is known of."""
        path = state / "journal.db"
        with hold(state), _told(path):
            accept(path)

    @contextmanager
    def inspect(self, state: Path, restore: Restore) -> Generator[Inspection]:
        """Read the file; raises `RouterError` if there is none."""
        path = state / "journal.db"
        if (found := _found(path)) and found.damage:
            log.error("the journal is damaged", problem=found.damage.problem, hint="see `router journal check`")
        _existing(path)
        with closing(Database(path, readonly=True)) as database:
            try:
                yield SqliteInspection(database, restore)
            except sqlite3.Error as error:
                raise RouterError(f"{path}: {error} (see `router journal check`)") from error

    def examine(self, state: Path, identify: Identify | None) -> CheckReport:
        """Read every row; raises `RouterError` if there is no file, or it may not be read.

        While no daemon runs, the WAL is read before SQLite sees it; and SQLite's own structures are checked, too: that
        is one long read, at which a WAL grows.
        """
        path = state / "journal.db"
        found = _found(path)
        damage = (found.damage,) if found and found.damage else ()
        if found and found.gone:
            return CheckReport(events=0, damage=damage, set_aside=0, renamed=0)
        _existing(path)
        report = _report(path, identify, quick=found is None)
        lost = tuple(one.damage for one in losses(state))
        return msgspec.structs.replace(report, damage=damage + report.damage, lost=lost)

    def repair(self, state: Path) -> Repair:
        """Set damaged rows aside in `journal.aside.jsonl`; what SQLite cannot read goes into a new file without it."""
        path = state / "journal.db"
        _existing(path)
        with hold(state), _told(path):
            found = begin(path, mending=True)
            headfile.write(state, Known(head=found.end, at=time.time()))  # a new file has another name
            rebuilt = rebuild(path) if malformed(path) else Repair(0)
            with closing(Upkeep(path)) as upkeep:
                rows = upkeep.repair(state)
                settle(upkeep, found, state)
            return Repair(rebuilt.rows + rows, (*rebuilt.lost, *take_note(state)))

    def forget(self, state: Path, name: str) -> None:
        """Drop all that is kept of a subscription; raises `RouterError` if nothing is."""
        path = state / "journal.db"
        _existing(path)
        with hold(state), _told(path):
            found = begin(path)
            with closing(Upkeep(path)) as upkeep:
                settle(upkeep, found, state)
                if name not in (known := upkeep.records.progress()):
                    raise RouterError(f"nothing is kept of `{name}` ({nearest_subscription(name, known)})")
                with upkeep.transaction():
                    upkeep.forget(name)

    def compact(self, state: Path, active: Iterable[str]) -> tuple[int, int]:
        """Sweep as the daemon would, all at once, and shrink the file; needs as much free space as is left in it."""
        path, now = state / "journal.db", time.time()
        _existing(path)
        with hold(state), _told(path):
            found = begin(path)
            with closing(Upkeep(path)) as upkeep:
                settle(upkeep, found, state)
                before = path.stat().st_size
                ledger = Ledger(upkeep.records)
                ledger.activate(active)
                settled = int(min(ledger.settled, ledger.replayed))
                upkeep.compact(settled, now - self.retention, now - self.duplicates)
                return before, path.stat().st_size


@contextmanager
def _opened(path: Path) -> Generator[tuple[Database, Database, Keeper]]:
    """Open the file twice, to write and to read, as it is left by whoever had it before."""
    with _told(path):
        found = begin(path)
    with ExitStack() as last, closing(Database(path)) as database, closing(Database(path, readonly=True)) as reader:
        with _told(path):
            settle(database, found, path.parent)
            journal = headfile.name_of(database.prints.secret())
            keeper = last.enter_context(Keeper(path, journal, database.page_size))
            keeper.note(database.head(), time.time())
            keeper.sync()
        try:
            yield database, reader, keeper
        finally:
            if keeper.look():
                database.close()  # while it is read, too: the last to close deletes whatever has the WAL's name
            else:
                keeper.sync()


def _found(path: Path) -> Finding | None:
    """Look at the files while no daemon has them; None if one does."""
    if held(path.parent):
        return None
    with _told(path):
        found = look(path)
    return None if found.problem and held(path.parent) else found


def _report(path: Path, identify: Identify | None, *, quick: bool) -> CheckReport:
    """Check all that SQLite shows; `quick`: not its own structures."""
    try:
        upkeep = Upkeep(path, readonly=True)
    except RouterError as error:
        if isinstance(error.__cause__, sqlite3.Error) and is_malformed(error.__cause__):
            return unopenable(path)
        raise
    with closing(upkeep), _told(path):
        report = upkeep.check(identify)
        return report if report.damage or quick or not malformed(path) else upkeep.survey()


def _existing(path: Path) -> None:
    if not path.exists() or not path.stat().st_size:
        raise RouterError(f"no journal at {path} (has the router run on this state folder?)")


@contextmanager
def _told(path: Path) -> Generator[None]:
    """Say in one line what the disk or SQLite did not let us do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise RouterError(f"{path}: {error} (see `router journal check`)") from error
