"""Losses: what a journal's files show of events that were answered and are not there, before SQLite opens them.

SQLite takes a damaged WAL for a short one, an empty database for a new one, and deletes the WAL of either. So whoever
is about to write looks first, by `look`; what is damaged is copied aside, and the loss is written down in
`journal.lost.jsonl`, one a line, before anything else changes. The positions that are lost get rows without contents:
none is given twice, and nobody's books are off by them; no subscription is bothered with them.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from router.errors import ConfigError, RouterError
from router.event import LOST
from router.journal import FIRST, headfile, wal
from router.journal.batches import Batches
from router.journal.database import Database, opened, roll_back
from router.journal.dig import page_size
from router.journal.headfile import Known
from router.journal.prints import Prints
from router.journal.private import touch
from router.journal.rebuild import missing
from router.journal.records import Records
from router.journal.report import Damage
from router.journal.salvage import is_malformed
from router.journal.wal import Wal
from router.journal.written import Loss, sync, write_down

_AT_ONCE = 65_536
"""Positions in one row without contents."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the files show: `head` by the database, the position after the last event known of, and what is wrong.

    `gone` says that nothing of a journal is left that once was there, or that it is another one's; `spoilt` that the
    WAL is to be kept as it is; `unreadable` why SQLite cannot go on with the database.
    """

    head: int
    end: int
    known: Known | None
    problem: str = ""
    unreadable: str = ""
    gone: bool = False
    spoilt: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the operator wants to begin anew at the end."""
        return self.known is not None and self.known.accepted

    @property
    def damage(self) -> Damage | None:
        """Say it as a check does."""
        if not self.problem or self.accepted:
            return None
        what = self.problem if self.end > self.head else f"{self.problem}; no event is lost"
        repair = "" if self.gone else ("; a start, or a repair, keeps a copy of it" if self.spoilt else "")
        first, last = (self.head, self.end - 1) if self.end > self.head else (0, 0)
        return Damage(first, last, what + repair, repairable=not self.gone)


def look(path: Path) -> Finding:
    """Look at the files of a journal; nobody may have it open, and nothing is changed."""
    known = headfile.known(path.parent)
    log_file = wal.read(_beside(path, "-wal"), path)
    before = known.head if known else FIRST
    if not path.exists() or not path.stat().st_size:
        what = "is empty" if path.exists() else "is gone"
        gone = before > FIRST or log_file.size > wal.HEADER
        end = max(before, log_file.head)
        return Finding(head=FIRST, end=end, known=known, gone=gone, problem=f"the database {what}" if gone else "")
    problem = _torn(log_file, known)
    try:
        head, journal = _kept(path, log_file)
        unreadable = _cut_off(path, log_file)
    except sqlite3.Error as error:
        if not is_malformed(error):
            raise
        head, journal, unreadable = before, b"", str(error)
    if unreadable:
        return Finding(
            head=before, end=before, known=known, problem=problem, spoilt=bool(problem), unreadable=unreadable
        )
    end = max(head, before, log_file.head if problem else FIRST)
    if head < before and known and known.journal and journal and known.journal != journal:
        return Finding(head=head, end=end, known=known, gone=True, problem="the database is another journal's")
    if head == FIRST < end and not journal:
        return Finding(head=head, end=end, known=known, gone=True, problem="nothing is left in the database")
    problem = problem or (_shorter(log_file) if end > head else "")
    return Finding(head=head, end=end, known=known, problem=problem, spoilt=bool(problem) and log_file.size > 0)


def _torn(log_file: Wal, known: Known | None) -> str:
    """Say what is wrong with a WAL. The note beside it is the better witness, if it is of this round."""
    if known and known.salt and known.salt == log_file.salt:
        if known.frames > log_file.committed:
            said = log_file.broken or "it was cut"
            return f"the WAL is damaged: {said}; {log_file.committed} of {known.frames} frames can be read"
        if known.frames == log_file.committed:
            return ""  # what lies behind was written by a transaction that failed
    return f"the WAL is damaged: {log_file.broken}" if log_file.broken else ""


def _shorter(log_file: Wal) -> str:
    return (
        "the database is older than its WAL was" if log_file.size else "the WAL was emptied, or the database is older"
    )


def _kept(path: Path, log_file: Wal) -> tuple[int, bytes]:
    """Return the head, and the journal's name if it has one, as SQLite reads them; it leaves everything as it is."""
    if not log_file.size:
        roll_back(path)
    with closing(opened(path, "ro")) as sql:
        tables = {name for (name,) in sql.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        head = Batches(sql).head() if {"batches", "seen"} <= tables else FIRST
        head = max(head, Records(sql).furthest()) if "progress" in tables else head
        secret = Prints(sql).kept_secret() if "secret" in tables else None
    return head, headfile.name_of(secret) if secret else b""


def _cut_off(path: Path, log_file: Wal) -> str:
    """Say whether the file lacks pages that its header speaks of; in the midst of a checkpoint the WAL has them."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(100)
    page, pages = page_size(header), int.from_bytes(header[28:32])
    lacking = missing(path)
    if not lacking or log_file.pages.issuperset(range(size // page + 1, pages + 1)):
        return ""
    return f"the file is cut off, its last {lacking} bytes are missing"


def begin(path: Path, *, mending: bool = False) -> Finding:
    """Look before anything is written; what is damaged is copied aside, and written down. This process has the folder.

    Raises `ConfigError` where nothing is left, unless that was accepted; and `RouterError` where the database cannot be
    read, unless it is opened to be mended.
    """
    found = look(path)
    if found.unreadable and not mending:
        raise RouterError(f"{path}: {found.unreadable} (see `router journal check`)")
    if found.gone and not found.accepted:
        raise ConfigError("state", _said(path, found), _hint(found))
    if found.problem and not found.accepted:
        kept = _copy(_beside(path, "-wal")) if found.spoilt else ""
        write_down(path.parent, _loss(found, kept))
    return found


def _said(path: Path, found: Finding) -> str:
    when = datetime.fromtimestamp(found.known.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if found.known else ""
    written = f", last written {when}" if when else ""
    events = f"; {found.end - 1} events were journalled{written}" if found.end > FIRST else ""
    return f"the journal at {path} is lost: {found.problem}{events}"


def _hint(found: Finding) -> str:
    return (
        f"put its files back as they were; or `router run CONFIG --accept-loss`, to begin anew at position {found.end}"
    )


def settle(database: Database, found: Finding, state: Path) -> None:
    """Make good what was found, now that the database is open: no lost position is given again."""
    if found.spoilt:
        database.fold()  # or what lies behind the damage would be taken for damage again
    head = database.head()
    if found.accepted:
        database.hold(max(head, found.end))
        return
    if head < found.end == found.head:
        write_down(state, Loss(time.time(), head, found.end - 1, "the database cannot be read to its end"))
    with database.transaction():
        for first in range(head, found.end, _AT_ONCE):
            count = min(_AT_ONCE, found.end - first)
            database.batches.insert(first, time.time(), bytes.fromhex(LOST) * count, b"")


def accept(path: Path) -> None:
    """Have a journal that is lost begin anew, after its last known position; one that is not lost is left alone.

    What is left of it is kept beside it. This process has the folder.
    """
    found = look(path)
    if not found.gone or found.accepted:
        return
    kept = [_move(_beside(path, end)) for end in ("", "-wal") if _beside(path, end).exists()]
    _beside(path, "-shm").unlink(missing_ok=True)
    loss = _loss(found, ", ".join(name for name in kept if name))
    write_down(path.parent, loss)
    at = found.known.at if found.known else loss.at
    headfile.write(path.parent, Known(head=found.end, at=at, accepted=True))


def _loss(found: Finding, kept: str) -> Loss:
    first, last = (found.head, found.end - 1) if found.end > found.head else (0, 0)
    return Loss(time.time(), first, last, found.problem, kept)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _aside(path: Path) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return path.with_name(f"{path.name}.damaged-{now}")


def _copy(path: Path) -> str:
    """Copy a file aside, and wait until it is on disk; returns the copy's name."""
    aside = _aside(path)
    touch(aside)
    shutil.copy2(path, aside)
    sync(aside)
    sync(path.parent)
    return aside.name


def _move(path: Path) -> str:
    """Move a file aside, if there is anything in it; returns its name then."""
    if not path.stat().st_size:
        path.unlink()
        return ""
    aside = _aside(path)
    path.rename(aside)
    sync(path.parent)
    return aside.name
