"""Kill -9 while the journal is looked after, and a WAL that a power cut tore: nothing that was answered is lost."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from fakes.spoilt import JOURNAL, PAGE, append, check, copied, events, folded

from router.event import UNDECODABLE, Event
from router.journal import FIRST, Progress
from router.journal.conformance import event, restore

pytestmark = pytest.mark.anyio

BATCHES, BATCH = 120, 20
KEPT = 2 * BATCHES * BATCH // 3
"""The position that the subscription has come to; compaction leaves everything from there on."""
_WAL_HEADER, _FRAME_HEADER = 32, 24


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journal some ten mebibytes, so that there is time to kill."""
    state = tmp_path_factory.mktemp("large")
    anyio.run(fill, state)
    folded(state)
    return state


async def fill(state: Path) -> None:
    async with JOURNAL.open(state, restore) as partition:
        for number in range(BATCHES):
            await partition.append([event(b"%d.%d" % (number, i) + b"x" * 4000) for i in range(BATCH)])
        partition.commit("a/x", Progress(position=KEPT, since=FIRST, pattern="", delivered=KEPT - FIRST))


def config(folder: Path) -> Path:
    path = folder / "router.yaml"
    path.write_text(
        f"state: {folder / 'state'}\njournal: {{type: sqlite, retention: 0s}}\n"
        "sources: {push: {type: mns_push, listen: 127.0.0.1:0, verify: false}}\n"
        "departments: {a: {accounts: ['*'], subscriptions: {x: {to: {type: stdout}}}}}\n"
    )
    return path


def killed_while(folder: Path, arguments: list[str], begun: Callable[[], bool], wait: float) -> bool:
    """Kill the command so many seconds after it has begun; returns whether it was still at it."""
    command = [sys.executable, "-m", "router", "journal", arguments[0], str(config(folder)), *arguments[1:]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not begun() and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(wait)
        process.kill()
        return process.wait() < 0


def same(found: dict[int, Event], before: dict[int, Event]) -> bool:
    return all((e.id, bytes(e.raw)) == (before[p].id, bytes(before[p].raw)) for p, e in found.items())


def test_compaction_that_is_killed_loses_nothing_and_can_be_repeated(large: Path, tmp_path: Path) -> None:
    """While it deletes, while it writes the file anew, and in between."""
    before = events(large)
    state = copied(large, tmp_path)
    wal = state / "journal.db-wal"
    at_it = 0
    for wait in (0.0, 0.01, 0.03, 0.06, 0.1):
        at_it += killed_while(tmp_path, ["compact"], lambda: wal.exists() and wal.stat().st_size > 0, wait)
        assert not check(state).damage
        found = events(state)
        assert set(found) >= set(range(KEPT, len(before) + 1))
        assert same(found, before)
    assert at_it
    JOURNAL.compact(state, ["a/x"])
    assert same(events(state), before)
    assert anyio.run(append, state) == len(before) + 2


def test_a_repair_that_is_killed_loses_nothing_and_can_be_repeated(large: Path, tmp_path: Path) -> None:
    """The old file or the new one is under the name at any moment; in the end there is what one repair saves."""
    before = events(large)
    spoilt = copied(large, tmp_path / "spoilt")
    with (spoilt / "journal.db").open("r+b") as file:
        for page in (1, 100, 500, 1500):  # the root of `batches`, and some with rows
            file.seek(page * PAGE)
            file.write(os.urandom(PAGE))
    repaired = copied(spoilt, tmp_path / "repaired")
    JOURNAL.repair(repaired)
    saved = {p for p, e in events(repaired).items() if e.type != UNDECODABLE}
    assert len(saved) > len(before) // 2
    state = copied(spoilt, tmp_path)
    at_it = 0
    for wait in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        shutil.rmtree(state)
        shutil.copytree(spoilt, state)
        began = state / "journal.db.rebuilt"
        at_it += killed_while(tmp_path, ["check", "--repair"], began.exists, wait)
        assert (state / "journal.db").stat().st_size > PAGE * 100
        if check(state).damage:
            JOURNAL.repair(state)
        found = {p: e for p, e in events(state).items() if e.type != UNDECODABLE}
        assert set(found) == saved
        assert same(found, before)
        assert not list(state.glob("*.rebuilt*"))
    assert at_it


async def wal_of(state: Path, folder: Path) -> tuple[Path, int, int]:
    """Journal three batches, and a fourth; return a copy of the files as they are then, and the WAL's lengths."""
    async with JOURNAL.open(state, restore) as partition:
        for number in range(3):
            await partition.append([event(b"%d.%d" % (number, i) + b"x" * 300) for i in range(40)])
        await partition.flush()
        answered = (state / "journal.db-wal").stat().st_size
        await partition.append([event(b"last%d" % i + b"x" * 300) for i in range(40)])
        copy = Path(shutil.copytree(state, folder))
        return copy, answered, (copy / "journal.db-wal").stat().st_size


async def test_a_torn_wal_loses_nothing_that_was_answered_before(tmp_path: Path) -> None:
    """Cut anywhere in the last commit, or with anything behind the last whole one; then it goes on."""
    whole, answered, end = await wal_of(tmp_path / "state", tmp_path / "whole")
    data = (whole / "journal.db-wal").read_bytes()
    assert answered < end
    chance = random.Random(1)
    frame = _FRAME_HEADER + PAGE
    cuts = [answered, answered + 1, answered + _FRAME_HEADER, answered + frame // 2, end - 1, end - PAGE]
    cuts += [chance.randrange(answered, end) for _ in range(6)]
    torn = [data[:cut] for cut in cuts]
    torn += [data[:answered] + chance.randbytes(size) for size in (1, 100, frame, 5 * frame + 7)]
    torn += [data[:answered] + bytes(3 * frame), data + chance.randbytes(2 * frame), data + data[_WAL_HEADER:answered]]
    torn += [data[:cut] + chance.randbytes(8) + data[cut + 8 :] for cut in cuts[-6:] if cut < end - 8]
    for number, content in enumerate(torn):
        state = Path(shutil.copytree(whole, tmp_path / str(number)))
        (state / "journal.db-wal").write_bytes(content)
        (state / "journal.db-shm").unlink()
        async with JOURNAL.open(state, restore) as partition:
            assert partition.head in ((161,) if content[:end] == data else (121, 161)), number
            segment = await partition.read(FIRST, 120)
            assert [bytes(e.raw)[:3] for e in segment.events[::40]][:3] == [b"0.0", b"1.0", b"2.0"], number
            head = partition.head
            await partition.append([event(b"more")])
            assert partition.head == head + 1
        assert not check(state).damage
        assert len(events(state)) == head


def test_what_a_kill_left_half_done_outside_a_wal_is_undone_by_who_only_reads(large: Path, tmp_path: Path) -> None:
    """A rollback journal is left where a file was just leaving WAL mode, or coming to it."""
    before = events(large)
    state = copied(large, tmp_path)
    with closing(sqlite3.connect(state / "journal.db", isolation_level=None)) as sql:
        sql.execute("PRAGMA journal_mode=DELETE")
        sql.execute("PRAGMA cache_size=10")
        sql.execute("BEGIN IMMEDIATE")
        sql.execute("UPDATE batches SET body = zeroblob(length(body))")
        left = copied(state, tmp_path / "left")
    assert (left / "journal.db-journal").stat().st_size > PAGE
    sql = sqlite3.connect(f"file:{left}/journal.db?mode=ro", uri=True)
    with closing(sql), pytest.raises(sqlite3.OperationalError, match="readonly"):
        sql.execute("PRAGMA user_version").fetchone()
    assert same(events(left), before)
    assert not check(left).damage
