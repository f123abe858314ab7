"""Measure the duplicate window in this process, whose memory is what is asked: `seen.py window|small|set|start IDS`.

`window` adds ids in groups of 128, as commits do, until as many are remembered and a fifth more have come, then looks
up new ids; `small` does so with ten thousand ids in groups of 64; `start` opens a journal whose rows have as many ids
inside the window, first with nothing but the ids, then with what was sealed and stored, as at any later start; `set`
is a Python set. Prints the figures as JSON, by name.
"""

from __future__ import annotations

import json
import os
import resource
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


def window(ids: int, group: int = GROUP) -> list[float]:
    """Return MiB, at last and at most, the longest add and seal in ms, and us an event to add, seal and look up."""
    before = resident()
    seen = DuplicateWindow(float(ids), keyed(os.urandom(16)))
    adding = longest = sealing = longest_seal = 0.0
    for first in range(1, ids * 6 // 5, group):
        new = [os.urandom(16) for _ in range(group)]
        started = time.perf_counter()
        seen.add(first, new, float(first))
        took = time.perf_counter() - started
        adding += took
        longest = max(longest, took)
        while seen.closed:
            started = time.perf_counter()
            seen.keep(seen.seal())
            took = time.perf_counter() - started
            sealing += took
            longest_seal = max(longest_seal, took)
        seen.stored(seen.owed(1))
    used, most = resident() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    groups = [[os.urandom(16) for _ in range(group)] for _ in range(200_000 // group)]
    started = time.perf_counter()
    matches = sum(len(seen.find(one).doubtful) for one in groups)
    finding = time.perf_counter() - started
    assert matches < len(groups) * group / 10_000
    added = ids * 6 / 5
    pauses = [longest * 1e3, longest_seal * 1e3]
    return [used, most, *pauses, adding / added * 1e6, sealing / added * 1e6, finding / 0.2]


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


WINDOW = (
    "MiB",
    "MiB at most",
    "longest add ms",
    "longest seal ms",
    "us to add an id",
    "us to seal an id",
    "us to look one up",
)
TITLES = {
    "window": WINDOW,
    "small": WINDOW,
    "set": ("MiB", "us to add an id", "us to look one up"),
    "start": ("s from ids alone", "s until all is stored", "s with what is stored"),
}


def main() -> None:
    name, ids = sys.argv[1], int(sys.argv[2])
    if name == "window":
        figures = window(ids)
    elif name == "small":
        figures = window(10_000, 64)
    elif name == "set":
        figures = plain_set(ids)
    else:
        with tempfile.TemporaryDirectory() as folder:
            filled(Path(folder), ids)
            figures = start(Path(folder), ids)
    json.dump(dict(zip(TITLES[name], figures, strict=True)), sys.stdout)


if __name__ == "__main__":
    main()
