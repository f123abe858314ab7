"""Rebuilding a file that SQLite calls malformed: what can be read of it goes into a new one, which takes its place.

The old file stays beside it. Whenever this is broken off, there is one whole file under the name: nothing but its
length is changed before.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from router.errors import RouterError
from router.journal import FIRST
from router.journal.database import Database, opened, roll_back
from router.journal.dig import Row, dig, page_size
from router.journal.private import append_to
from router.journal.report import CheckReport, Damage, Repair
from router.journal.salvage import Lost, is_malformed, salvage

ASIDE = "journal.aside.jsonl"
_SPARSE = 1 << 40
"""Bytes that a file may lack; with more, its header is no header."""


def malformed(path: Path) -> bool:
    """Say whether SQLite finds anything wrong with the file; reads all of it."""
    try:
        roll_back(path)
        with closing(opened(path, "ro")) as sql:
            whole = sql.execute("PRAGMA quick_check(1)").fetchone()[0]
            index = sql.execute("PRAGMA integrity_check(parked)").fetchone()[0]  # the one table with an index
            return bool((whole, index) != ("ok", "ok"))
    except sqlite3.Error as error:
        if not is_malformed(error):
            raise
        return True


def missing(path: Path) -> int:
    """Return how many bytes the file lacks of those that its header speaks of, which SQLite does not open then.

    The header has the number of pages at offset 28 (sqlite.org/fileformat2.html, section 1.3).
    """
    with path.open("rb") as file:
        header = file.read(100)
        lacking = int.from_bytes(header[28:32]) * page_size(header) - file.seek(0, os.SEEK_END)
        return lacking if 0 < lacking < _SPARSE else 0


def unopenable(path: Path) -> CheckReport:
    """Say why SQLite does not even open a file."""
    said = f"the file is cut off, its last {missing(path)} bytes are missing" if missing(path) else ""
    said = said or "the file does not begin as SQLite's do"
    damage = Damage(0, 0, f"{said}; a repair keeps what can be read", repairable=True)
    return CheckReport(events=0, damage=(damage,), set_aside=0, renamed=0)


def survey(sql: sqlite3.Connection) -> CheckReport:
    """Say what can be read and what cannot."""
    events = 0

    def count(table: str, rows: Sequence[Sequence[Any]]) -> None:
        nonlocal events
        events += sum(row[1] for row in rows if isinstance(row[1], int)) if table == "batches" else 0

    damage = tuple(damage_of(lost) for lost in salvage(sql, count))
    said = Damage(0, 0, "SQLite calls the file malformed; a repair keeps what can be read", repairable=True)
    return CheckReport(events=events, damage=(said, *damage), set_aside=0, renamed=0)


def rebuild(path: Path) -> Repair:
    """Put a new file in the place of a malformed one; needs as much free space. Returns what is lost.

    That is noted in `journal.aside.jsonl`, too. Raises `RouterError` if nothing can be read.
    """
    if lacking := missing(path):
        os.truncate(path, path.stat().st_size + lacking)  # with zeros, so that SQLite opens it
    fresh = path.with_name(f"{path.name}.rebuilt")
    _remove(fresh)
    try:
        with closing(Database(fresh)) as new:
            new.rush()
            lost = list(_filled(path, new))
            _refuse_nothing(path, new)
            new.settle()
        _sync(fresh)
    except BaseException:
        with suppress(OSError):
            _remove(fresh)  # or it keeps a full disk full
        raise
    _note(path.with_name(ASIDE), lost)
    _exchange(path, fresh)
    return Repair(1, tuple(damage_of(one) for one in lost))


def _refuse_nothing(path: Path, new: Database) -> None:
    """Leave a file alone that may be none of ours."""
    if not any(new.holds(table) for table in ("batches", "progress", "parked", "dead", "seen", "spans")):
        raise RouterError(f"{path}: nothing of a journal can be read in it (move it away to begin anew)")


def _filled(path: Path, new: Database) -> Iterator[Lost]:
    """Fill the new file with what SQLite can read of the old one, then with what lies where it cannot."""
    lost: list[Lost] = []
    odd: list[Lost] = []

    def insert(table: str, rows: Sequence[Sequence[Any]]) -> None:
        if count := new.insert(table, rows):
            odd.append(Lost(table, "", -1, None, f"{count} rows are none of it, or there twice"))

    with closing(opened(path, "rw")) as old:
        lost += salvage(old, insert)
        try:
            busy, *_ = old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            if not is_malformed(error):
                raise
        else:
            if busy:
                raise RouterError(f"{path}: another process reads it (try again when it has ended)")
    _dig(path, new, {one.table for one in lost})
    yield from odd
    known = new.records.progress()
    for one in lost:
        if one.table == "batches":
            yield from _holes(new, one)
        elif one.table != "progress" or one.name not in known:
            yield replace(one, said="only rows that are found without SQLite's help are kept")


def _dig(path: Path, new: Database, tables: set[str]) -> None:
    """Add what is found of these tables; of two places of a subscription or its sink the farther one."""
    if not tables:
        return
    small: list[tuple[str, Row]] = []
    for table, row in dig(path):
        if table not in tables:
            continue
        if table in ("progress", "marks"):
            small.append((table, row))
        elif table != "batches" or new.batches.has_room(row):
            new.insert(table, [row])
    for table, row in sorted(small, key=_place, reverse=True):
        new.insert(table, [row])


def _place(found: tuple[str, Row]) -> int:
    table, row = found
    place = row[1 if table == "progress" else 2]
    return place if isinstance(place, int) else 0


def _holes(new: Database, lost: Lost) -> Iterator[Lost]:
    """Say what is still lost of a stretch of events after digging."""
    place = FIRST if lost.above < 0 else lost.above
    for first, end in new.batches.extents(lost.above, lost.below):
        if first > place:
            yield Lost("batches", "", place - 1, first, "nothing is found here; lost, or deleted before")
        place = end
    if lost.below is None:
        yield Lost("batches", "", place - 1, None, "nothing is found here, if anything was,")


def _exchange(path: Path, fresh: Path) -> None:
    """Put the new file in the old one's place, which is kept; what is left of its WAL must not meet the new one."""
    kept = path.with_name(f"{path.name}.malformed-{time.time_ns()}")
    os.link(path, kept)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        wal.rename(kept.with_name(f"{kept.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    _sync(path.parent)
    fresh.rename(path)
    _sync(path.parent)  # before anything is written beside it that would not fit the old one


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Remove a database that is not open."""
    for end in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def damage_of(lost: Lost) -> Damage:
    """Say what is lost."""
    named = f"{lost.name}: " if lost.name else ""
    if lost.table == "progress":
        whose = named or "subscriptions whose names cannot be read, too: "
        return Damage(0, 0, f"{whose}how far it was cannot be read, it would begin anew", repairable=True)
    last = lost.above + 1 if lost.below is None else lost.below - 1
    on = " and all behind" if lost.below is None else ""
    return Damage(lost.above + 1, last, f"{named}{lost.table}: {lost.said}{on}", repairable=True)


def _note(path: Path, lost: Sequence[Lost]) -> None:
    if lost:
        now = time.time()
        with append_to(path) as file:
            for one in lost:
                line = {"at": now, **msgspec.structs.asdict(one), "problem": "malformed"}
                file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
