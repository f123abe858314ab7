"""Journal files that are spoilt: a whole one to begin with, what spoils it, and what is in it afterwards."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from router.event import Event, Message
from router.journal import Change, DeadLetter, Parked, Progress
from router.journal.conformance import event, restore
from router.journal.report import CheckReport
from router.journal.sqlite import SqliteJournal

JOURNAL = SqliteJournal()
PAGE = 4096


async def fill(state: Path) -> None:
    sizes = random.Random(7)
    kept: dict[str, Any] = {"reason": "no", "status": 400, "attempts": 1, "first_try": 1.0, "last_try": 2.0}
    async with JOURNAL.open(state, restore) as partition:
        for number in range(60):
            batch = range(sizes.choice((1, 3, 20)))
            await partition.append([event(b"%d.%d" % (number, i) + b"x" * sizes.choice((9, 300, 5000))) for i in batch])
        parked = [Parked(due=9.0, times=1, position=p, event=event(b"p%d" % p), **kept) for p in range(1, 60)]
        dead = [DeadLetter(kind="refused", position=p, event=event(b"d%d" % p), **kept) for p in range(60, 120)]
        head = partition.head
        progress = Progress(position=head, since=1, pattern="p", delivered=head - 120, parked=59, dead=60)
        partition.commit("a/x", progress, Change(parked=parked, dead=dead, marks={"f": 1}))


def folded(state: Path) -> None:
    """Have all that is in the WAL in the file itself."""
    with closing(sqlite3.connect(state / "journal.db")) as sql:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copied(whole: Path, folder: Path) -> Path:
    return Path(shutil.copytree(whole, folder / "state"))


def identify(message: Message, _: str) -> str:
    return event(bytes(message.body)).id


def check(state: Path) -> CheckReport:
    return JOURNAL.examine(state, identify)


def events(state: Path) -> dict[int, Event]:
    with JOURNAL.inspect(state, restore) as found:
        return {p: e for segment in found.segments() for p, e in enumerate(segment.events, segment.first)}


async def append(state: Path) -> int:
    async with JOURNAL.open(state, restore) as partition:
        await partition.append([event(os.urandom(8))])
        return partition.head


def harm(state: Path, damage: list[tuple[int, str]], cut: float = 1.0) -> None:
    """Spoil pages, by their numbers from 0 on; then leave only a share of the file."""
    path = state / "journal.db"
    data = bytearray(path.read_bytes())
    pages = len(data) // PAGE
    for number, how in damage:
        start = number % pages * PAGE
        spoilt = {"zero": bytes(PAGE), "noise": random.Random(number).randbytes(PAGE), "head": bytes(16)}[how]
        data[start : start + len(spoilt)] = spoilt
    path.write_bytes(data[: max(int(len(data) * cut), 512)])


def untouched(whole: Path, spoilt: bytes) -> set[int]:
    """Return the positions of events that lie on one page that is as it was."""
    found: set[int] = set()
    pristine = (whole / "journal.db").read_bytes()
    with closing(sqlite3.connect(whole / "journal.db")) as sql:
        for first, count, ids, body in sql.execute("SELECT first, count, ids, body FROM batches").fetchall():
            page = pristine.index(ids + body[:64]) // PAGE * PAGE
            if len(ids + body) < 3000 and pristine[page : page + PAGE] == spoilt[page : page + PAGE]:
                found |= {*range(first, first + count)}
    return found
