"""What the duplicate window costs: memory, time an event, and the start of a journal that holds ten million ids.

Each round is a process of its own. `window` adds ids in groups of 128, as commits do, until as many are remembered
and a fifth more have come, then looks up new ids; `start` opens a journal whose rows have as many ids inside the
window, first with nothing but the ids, then with the stored tables, as at any later start; `set` is a Python set.

    python benchmarks/seen.py [--ids 10000000] [--rounds 3] [--set]
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import anyio
from machine import describe, spread

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


def one_round(name: str, ids: int) -> list[float]:
    """Measure in this process."""
    if name == "window":
        return window(ids)
    if name == "set":
        return plain_set(ids)
    with tempfile.TemporaryDirectory() as folder:
        filled(Path(folder), ids)
        return start(Path(folder), ids)


TITLES = {
    "window": (
        "window: MiB",
        "window: longest add, ms",
        "window: us an event to add",
        "window: us an event to look up",
    ),
    "set": ("set: MiB", "set: us to add one", "set: us to look one up"),
    "start": ("start: s from ids alone", "start: s until all tables are stored", "start: s with stored tables"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(*one_round(given.one, given.ids))
        return
    print(describe())
    print(f"{given.ids:,} ids, {given.rounds} rounds: median (range)")
    for name in ("window", "start", *(["set"] if given.set else [])):
        command = [sys.executable, __file__, "--one", name, "--ids", str(given.ids)]
        outputs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(given.rounds)]
        figures = [[float(word) for word in output.stdout.split()] for output in outputs]
        for title, column in zip(TITLES[name], zip(*figures, strict=True), strict=True):
            print(f"{title:40} {spread(column, 2)}")


if __name__ == "__main__":
    main()
