"""Measure the duplicate window in this process, whose memory is what is asked: `python seen.py window|set|start IDS`.

`window` adds ids in groups of 128, as commits do, until as many are remembered and a fifth more have come, then looks
up new ids; `start` opens a journal whose rows have as many ids inside the window, first with nothing but the ids, then
with the stored tables, as at any later start; `set` is a Python set. Prints the figures as JSON, by name.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import time
import zlib
from pathlib import Path

import anyio

from router.journal.conformance import restore
from router.journal.duplicates import DuplicateWindow, keyed
from router.journal.sqlite import SqliteJournal

GROUP = 128
MIB = 2**20


def resident() -> float:
    """Return the memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def window(ids: int) -> list[float]:
    """Return MiB, the longest pause of an add in ms, and us an event for adding and for looking up."""
    before = resident()
    seen = DuplicateWindow(float(ids), keyed(os.urandom(16)))
    adding = longest = 0.0
    for first in range(1, ids * 6 // 5, GROUP):
        new = os.urandom(16 * GROUP)
        started = time.perf_counter()
        seen.add(first, new, float(first))
        took = time.perf_counter() - started
        adding += took
        longest = max(longest, took)
        while part := seen.owed():
            seen.stored(part)
    groups = [[os.urandom(16) for _ in range(GROUP)] for _ in range(2000)]
    used = resident() - before - len(groups) * GROUP * 57 / MIB
    started = time.perf_counter()
    matches = sum(len(seen.find(group).doubtful) for group in groups)
    finding = time.perf_counter() - started
    assert not matches
    assert len(seen) >= ids
    return [used, longest * 1e3, adding / (ids * 6 / 5) * 1e6, finding / len(groups) / GROUP * 1e6]


def plain_set(ids: int) -> list[float]:
    """Return MiB, and us an event for adding and for looking up, of a set."""
    before = resident()
    seen: set[bytes] = set()
    adding = 0.0
    for _ in range(0, ids, GROUP):
        new = [os.urandom(16) for _ in range(GROUP)]
        started = time.perf_counter()
        seen.update(new)
        adding += time.perf_counter() - started
    used = resident() - before
    new = [os.urandom(16) for _ in range(200_000)]
    started = time.perf_counter()
    assert not sum(key in seen for key in new)
    return [used, adding / ids * 1e6, (time.perf_counter() - started) / len(new) * 1e6]


def start(state: Path, ids: int) -> list[float]:
    """Return the seconds to open a journal from the ids alone, to store its tables, and to open it again."""
    journal = SqliteJournal()

    async def opened(wait: float) -> tuple[float, float]:
        started = time.perf_counter()
        async with journal.open(state, restore) as partition:
            took = time.perf_counter() - started
            assert partition.head == ids + 1
            started = time.perf_counter()
            commits = -1
            while wait and partition.statistics().commits > commits:
                commits = partition.statistics().commits
                await anyio.sleep(wait)
            return took, time.perf_counter() - started

    async def both() -> list[float]:
        first, storing = await opened(1.0)
        again, _ = await opened(0.0)
        return [first, storing, again]

    return anyio.run(both)


def filled(state: Path, ids: int) -> None:
    """Make a journal of rows that have ids and no bodies."""

    async def created() -> None:
        async with SqliteJournal().open(state, restore):
            pass

    anyio.run(created)
    now = time.time()
    with sqlite3.connect(state / "journal.db") as sql:
        for first in range(1, ids + 1, GROUP):
            some = os.urandom(16 * min(GROUP, ids + 1 - first))
            row = (first, len(some) // 16, now, zlib.crc32(some), some, b"")
            sql.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", row)
    sql.close()


TITLES = {
    "window": ("MiB", "longest add ms", "us to add an id", "us to look one up"),
    "set": ("MiB", "us to add an id", "us to look one up"),
    "start": ("s from ids alone", "s until tables are stored", "s with stored tables"),
}


def main() -> None:
    name, ids = sys.argv[1], int(sys.argv[2])
    if name == "window":
        figures = window(ids)
    elif name == "set":
        figures = plain_set(ids)
    else:
        with tempfile.TemporaryDirectory() as folder:
            filled(Path(folder), ids)
            figures = start(Path(folder), ids)
    json.dump(dict(zip(TITLES[name], figures, strict=True)), sys.stdout)


if __name__ == "__main__":
    main()
