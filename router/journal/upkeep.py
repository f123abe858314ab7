"""Upkeep of the SQLite journal: its check, which may run beside the daemon, and repair and compaction, which may not.

A check goes through every row. A repair sets what is damaged aside, in `journal.aside.jsonl` beside the file (one
object a line: what was wrong and the bytes in base64), and leaves a sound row without contents in its place: positions
and ids stay, and the events are served as damaged ones, so that no subscription loses count.
"""

from __future__ import annotations

import base64
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from router.errors import RouterError
from router.event import Message
from router.journal import FIRST, Progress
from router.journal.batches import Row, Sweep
from router.journal.database import Database
from router.journal.private import append_to
from router.journal.rebuild import ASIDE, survey
from router.journal.report import CheckReport, Damage
from router.journal.salvage import NoRowError, is_malformed

ID = 16
"""Bytes of an id."""
HOLE = 1_000_000
"""Positions without a row that a repair fills with a row without contents; with more, a position is wrong."""
AT_ONCE = 64 * 2**20
"""Bytes that are deleted in one transaction at most."""

Identify: TypeAlias = Callable[[Message, str], str]
"""Return the id that the decoder of today gives to the message of a source."""

_Table: TypeAlias = Literal["batches", "parked", "dead"]

_unpack = msgspec.msgpack.Decoder(list[Row]).decode
_unpack_row = msgspec.msgpack.Decoder(Row).decode
_EMPTY_ROW = msgspec.msgpack.encode(("journal", 0.0, {}, b""))
"""What stands for the message of a parked event or a dead letter that was set aside."""


class _Batch(msgspec.Struct, frozen=True):
    """A row of `batches` as it lies there."""

    first: int
    count: int
    crc: int
    ids: bytes
    body: bytes


class _Aside(msgspec.Struct, frozen=True):
    """One thing set aside: where it was, what was wrong, and its bytes in base64; `at` is in Unix seconds."""

    at: float
    table: _Table
    name: str
    position: int
    problem: str
    ids: str
    content: str


class Upkeep(Database):
    """The journal's file, for those who look after it."""

    def check(self, identify: Identify | None) -> CheckReport:
        """Go through all of it; where SQLite itself cannot read on, say what is lost."""
        try:
            return self._check(identify)
        except sqlite3.DatabaseError as error:
            if not is_malformed(error):
                raise RouterError(str(error)) from error
            return self.survey()

    def survey(self) -> CheckReport:
        """Say what SQLite can read of a malformed file, and what it cannot."""
        return survey(self._sql)

    def _check(self, identify: Identify | None) -> CheckReport:
        events = renamed = aside = 0
        damage: list[Damage] = []
        place: int | None = None
        for batch in self._batches():
            if place is not None and batch.first != place:
                damage.append(_hole(place, batch.first))
            place = batch.first + max(batch.count, 1)
            problem = _problem(batch)
            events += batch.count
            if problem:
                damage.append(Damage(batch.first, place - 1, problem, repairable=True))
            elif not batch.body:
                aside += batch.count
            elif identify:
                rows = zip(_unpack(batch.body), _names(batch.ids), strict=True)
                renamed += sum(identify(_message(row), row.source) != name for row, name in rows)
        damage += self._check_progress()
        self._read_others()
        damage += [
            Damage(position, position, f"{name}: {table}: its message cannot be read", repairable=True)
            for table, name, position, _, event in self._troubles_of_all()
            if not _sound_row(event)
        ]
        return CheckReport(events=events, damage=tuple(damage), set_aside=aside, renamed=renamed)

    def _check_progress(self) -> Iterator[Damage]:
        """Look at the subscriptions' books, all of one moment."""
        with self.moment():
            end = self._end() or self.head()
            progress = self.records.progress()
            rows = {table: self._counted(table) for table in ("parked", "dead")}
            for name in sorted({*rows["parked"], *rows["dead"]} - {*progress}):
                yield Damage(0, 0, f"{name}: has parked events or dead letters, but no progress", repairable=False)
            for name, one in progress.items():
                for problem in _imbalance(one, end, rows["parked"].get(name, 0), rows["dead"].get(name, 0)):
                    yield Damage(one.since, one.position, f"{name}: {problem}", repairable=False)
            for name, replays in self.records.replays().items():
                for replay in replays.values():
                    if replay.balance:
                        problem = f"{name}: the counters of replay {replay.number} are {replay.balance} off"
                        yield Damage(replay.first, replay.position, problem, repairable=False)

    def _read_others(self) -> None:
        """Read the tables that nothing else is checked of, to see whether they can be."""
        for table in ("seen", "prints", "secret", "spans", "endings", "marks"):
            for _ in self._sql.execute(f"SELECT * FROM {table}"):
                pass

    def _end(self) -> int:
        """Return the position after the last event that is kept, 0 if there is none."""
        return self._one("SELECT coalesce((SELECT first + count FROM batches ORDER BY first DESC LIMIT 1), 0)")

    def _counted(self, table: str) -> dict[str, int]:
        """Return how many parked events, or dead letters, each subscription has."""
        return dict(self._sql.execute(f"SELECT name, count(*) FROM {table} GROUP BY name"))

    def _troubles_of_all(self) -> Iterator[tuple[_Table, str, int, bytes, bytes]]:
        tables: Sequence[_Table] = ("parked", "dead")
        for table in tables:
            for row in self._sql.execute(f"SELECT name, position, id, event FROM {table} ORDER BY name, position"):
                yield table, *row

    def _batches(self) -> Iterator[_Batch]:
        """Yield every row in short reads, so that the writer's WAL does not grow meanwhile."""
        after = -1
        query = "SELECT first, count, crc, ids, body FROM batches WHERE first > ? ORDER BY first LIMIT 4"
        while rows := self._sql.execute(query, (after,)).fetchall():
            for row in rows:
                if None in row:  # where a page is missing
                    raise NoRowError("a row has no columns")
                yield _Batch(*row)
            after = rows[-1][0]

    def repair(self, state: Path) -> int:
        """Set aside what is damaged, first in the file and then in one transaction; returns how many rows."""
        now = time.time()
        batches = list(self._broken())
        letters = [row for row in self._troubles_of_all() if not _sound_row(row[-1])]
        kept = [
            _kept(now, "batches", "", old.first, problem, old.ids, old.body)
            for old, new, problem in batches
            if old.body != new.body
        ]
        kept += [_kept(now, table, name, p, "its message cannot be read", i, e) for table, name, p, i, e in letters]
        _append(state / ASIDE, kept)
        with self.transaction():
            for _, new, _ in batches:
                row = (new.first, new.count, now, new.crc, new.ids, new.body)
                self._sql.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?)", row)
            for table, name, position, _, _ in letters:
                self._sql.execute(
                    f"UPDATE {table} SET event = ? WHERE name = ? AND position = ?", (_EMPTY_ROW, name, position)
                )
        return len(batches) + len(letters)

    def _broken(self) -> Iterator[tuple[_Batch, _Batch, str]]:
        """Yield the damaged rows, and empty ones for holes, each with what goes into its place, and what was wrong."""
        found: _Batch | None = None
        for following in self._batches():
            if found is not None:
                yield from _replaced(found, following.first)
            found = following
        if found is not None:
            yield from _replaced(found, max(found.first + max(len(found.ids) // ID, 1), self.records.furthest()))

    def compact(self, settled: int, keep_from: float, seen_from: float) -> None:
        """Delete what is settled and old enough, all of it, and give the space back; times in Unix seconds."""
        sweep = Sweep(settled, keep_from, 0, seen_from, AT_ONCE)
        more = True
        while more:
            with self.transaction():
                more = self.batches.sweep(sweep)
        self._sql.execute("VACUUM")
        self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _hole(place: int, first: int) -> Damage:
    if first > place:
        return Damage(place, first - 1, "no row has these positions", repairable=first - place <= HOLE)
    return Damage(first, place - 1, "two rows have these positions", repairable=True)


def _problem(batch: _Batch) -> str:
    """Say what is wrong with a row; nothing if it is sound."""
    if zlib.crc32(batch.body, zlib.crc32(batch.ids)) != batch.crc:
        return "its checksum does not match"
    if len(batch.ids) != batch.count * ID:
        return f"it says that it has {batch.count} events, but has {len(batch.ids) / ID:g} ids"
    if not batch.body:
        return ""
    try:
        rows = len(_unpack(batch.body))
    except msgspec.DecodeError as error:
        return f"it cannot be read: {error}"
    return f"it has {rows} messages for {batch.count} ids" if rows != batch.count else ""


def _replaced(batch: _Batch, end: int) -> Iterator[tuple[_Batch, _Batch, str]]:
    """Yield what to repair of a row behind which the next one begins at `end`: itself, or a hole behind it.

    One that is damaged keeps its ids and loses its contents, unless only its count was wrong.
    """
    if end - batch.first - max(batch.count, len(batch.ids) // ID) > HOLE:
        end = batch.first + max(len(batch.ids) // ID, 1)
    room = (end - batch.first) * ID
    counted = msgspec.structs.replace(batch, count=end - batch.first)
    if not _problem(batch) and len(batch.ids) <= room:
        if len(batch.ids) < room:
            first = batch.first + batch.count
            yield _Batch(first, 0, 0, b"", b""), _emptied(first, bytes(room - len(batch.ids))), "no row is here"
    elif not _problem(counted):
        yield batch, counted, _problem(batch)
    else:
        problem = _problem(batch) or "it reaches into the next one"
        yield batch, _emptied(batch.first, batch.ids[:room].ljust(room, b"\0")), problem


def _emptied(first: int, ids: bytes) -> _Batch:
    return _Batch(first, len(ids) // ID, zlib.crc32(ids), ids, b"")


def _imbalance(progress: Progress, end: int, parked: int, dead: int) -> Iterator[str]:
    """Say what does not add up, given how many rows there are."""
    places = [progress.position, *(place for span in progress.above for place in (span.first, span.end)), end]
    if not FIRST <= progress.since <= progress.furthest or places != sorted(places):
        yield f"positions out of order: since {progress.since}, at {progress.position}, the end is {end}"
    if progress.covered != progress.counted:
        yield f"its counters add up to {progress.counted}, not {progress.covered}"
    if parked != progress.parked:
        yield f"{parked} parked events, but it counts {progress.parked}"
    if dead > progress.dead:
        yield f"{dead} dead letters, but it counts {progress.dead}"


def _sound_row(event: bytes) -> bool:
    try:
        _unpack_row(event)
    except msgspec.DecodeError:
        return False
    return True


def _names(ids: bytes) -> Iterator[str]:
    return (ids[i : i + ID].hex() for i in range(0, len(ids), ID))


def _message(row: Row) -> Message:
    return Message(row.body, row.received, row.attributes)


def _kept(at: float, table: _Table, name: str, position: int, problem: str, ids: bytes, content: bytes) -> _Aside:
    return _Aside(
        at, table, name, position, problem, base64.b64encode(ids).decode(), base64.b64encode(content).decode()
    )


def _append(path: Path, lines: Sequence[_Aside]) -> None:
    """Write the lines and wait until they are on disk."""
    if lines:
        with append_to(path) as file:
            file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
