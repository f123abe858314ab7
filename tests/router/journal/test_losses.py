"""What a kill -9 or a power cut leaves is no damage, wherever it comes; what damage leaves is."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from fakes.spoilt import JOURNAL, check, events

from router.errors import ConfigError, RouterError
from router.event import UNDECODABLE
from router.journal import FIRST, Progress, headfile
from router.journal.conformance import event, restore
from router.journal.headfile import Known
from router.journal.losses import Finding, look
from router.journal.sqlite import SqliteJournal
from router.journal.wal import FRAME, HEADER

pytestmark = pytest.mark.anyio

SECTOR = 512
NAMES = ("journal.db", "journal.db-wal", "journal.head")

Files = Mapping[str, bytes]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def read(state: Path) -> Files:
    return {name: (state / name).read_bytes() for name in NAMES}


def looked(folder: Path, files: Files) -> Finding:
    """Look at files as they might lie there; and see that this changes none of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    found = look(folder / "journal.db")
    assert {name: (folder / name).read_bytes() for name in files} == files
    return found


async def written(state: Path, sizes: list[int]) -> AsyncIterator[tuple[int, Files]]:
    """Journal batches of one event of these sizes; yield the head and the files after each."""
    async with JOURNAL.open(state, restore) as partition:
        for number, size in enumerate(sizes):
            await partition.append([event(b"%d." % number + os.urandom(1) * size)])
            yield partition.head, read(state)


def torn(before: bytes, after: bytes, chance: random.Random) -> bytes:
    """Leave some sectors as they were before a transaction was written, and the file perhaps shorter.

    A header is on disk before a frame of its round is written: it is torn alone, if it is.
    """
    data = bytearray(after)
    if before[:HEADER] != after[:HEADER]:
        if chance.random() < 0.5:
            place = chance.randrange(HEADER)
            return after[:place] + before[place:]
        before = after[:HEADER] + before[HEADER:]
    for at in range(0, len(after), SECTOR):
        if after[at : at + SECTOR] != before[at : at + SECTOR] and chance.random() < 0.5:
            data[at : at + SECTOR] = before[at : at + SECTOR].ljust(min(SECTOR, len(after) - at), b"\0")
    return bytes(data[: chance.choice([len(data), chance.randint(min(len(before), len(data)), len(data))])])


async def test_no_power_cut_passes_for_damage(tmp_path: Path) -> None:
    """In the midst of any transaction, also where the WAL begins anew; the note beside it may be as old as it likes."""
    chance = random.Random(11)
    sizes = [chance.choice((10, 5_000, 400_000)) for _ in range(60)]
    before: Files | None = None
    head, rounds, notes = FIRST, set[bytes](), [b""]
    async for now, files in written(tmp_path / "state", sizes):
        rounds.add(files["journal.db-wal"][16:24])
        for _ in range(2 if before and before["journal.db-wal"][:HEADER] == files["journal.db-wal"][:HEADER] else 20):
            if not before:
                break
            left = torn(before["journal.db-wal"], files["journal.db-wal"], chance)
            note = chance.choice([notes[-1], notes[-1], *notes])
            found = looked(tmp_path / "cut", {**before, "journal.db-wal": left, "journal.head": note})
            assert (found.problem, found.gone) == ("", False)
            assert found.head in (head, now)
        before, head = files, now
        notes.append(files["journal.head"])
    assert len(rounds) > 1


async def test_a_wal_that_is_cut_at_any_byte_of_its_last_transaction_is_whole(tmp_path: Path) -> None:
    found = [files async for _, files in written(tmp_path / "state", [300] * 6)]
    before, after = found[-2], found[-1]
    start, end = len(before["journal.db-wal"]), len(after["journal.db-wal"])
    for place in [*range(start, end, 97), *range(start, start + 40), end - 1]:
        left = {**before, "journal.db-wal": after["journal.db-wal"][:place]}
        for files in (left, {**left, "journal.head": b""}):
            finding = looked(tmp_path / "cut", files)
            assert (finding.problem, finding.head) == ("", 6), place


WRITER = """
import anyio, os, sys
from pathlib import Path
from router.journal.conformance import event, restore
from router.journal.sqlite import SqliteJournal
from router.journal.wal import FRAME, HEADER

async def main():
    async with SqliteJournal(retention=0.0).open(Path(sys.argv[1]), restore) as partition:
        async def one(name):
            while True:
                await partition.append([event(os.urandom(30) * size) for size in (1, 10, 300)])
        async with anyio.create_task_group() as tasks:
            for name in range(4):
                tasks.start_soon(one, name)
            print("begun", flush=True)
anyio.run(main)
"""


def test_no_kill_passes_for_damage(tmp_path: Path) -> None:
    """Over and over on the same journal, while checkpoints and new rounds of the WAL are under way."""
    chance = random.Random(3)
    state = tmp_path / "state"
    head = FIRST
    for _ in range(int(os.environ.get("KILLS", "8"))):
        command = [sys.executable, "-c", WRITER, str(state)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"begun\n"
            time.sleep(chance.random() * 0.3)
            process.kill()
            process.wait()
            assert process.stderr
            assert process.stderr.read() == b""
        found = look(state / "journal.db")
        assert (found.problem, found.gone) == ("", False)
        assert found.head >= head
        assert found.known
        assert found.known.head <= found.head
        head = found.head
    assert head > FIRST
    assert not (state / "journal.lost.jsonl").exists()


async def test_what_a_transaction_left_that_was_taken_back_is_no_damage(tmp_path: Path) -> None:
    """A disk that was full leaves frames of the present round behind the last commit, also of a commit."""
    found = [files async for _, files in written(tmp_path / "state", [300] * 8)]
    files = found[3]
    data = files["journal.db-wal"]
    left = {**files, "journal.db-wal": data + found[7]["journal.db-wal"][len(data) + FRAME + 4096 :]}
    assert looked(tmp_path / "left", left).problem == ""
    assert looked(tmp_path / "left", {**left, "journal.head": found[7]["journal.head"]}).problem


async def test_a_journal_of_which_all_was_delivered_and_forgotten_is_not_taken_for_an_emptied_one(
    tmp_path: Path,
) -> None:
    """Nor are its positions given again, when the last subscription went, too."""
    journal = SqliteJournal(retention=0.0, duplicates=0.0)
    async with journal.open(tmp_path, restore) as partition:
        await partition.append([event(b"a"), event(b"b")])
        partition.activate(["d/s"])
        partition.commit("d/s", Progress(position=3, since=1, pattern="", delivered=2))
        await partition.flush()
    assert journal.compact(tmp_path, ["d/s"])
    async with journal.open(tmp_path, restore) as partition:
        partition.forget("d/s")
        await partition.flush()
    async with journal.open(tmp_path, restore) as partition:
        assert (partition.head, partition.tail) == (3, 3)
        await partition.append([event(b"c")])
        assert partition.head == 4
    assert not check(tmp_path).damage


async def test_what_is_lost_has_its_positions_and_is_bothered_nobody_with(tmp_path: Path) -> None:
    """Its row has no contents; the log does not speak of it at each read."""
    found = [files async for _, files in written(tmp_path / "state", [300] * 4)]
    state = tmp_path / "cut"
    looked(state, {**found[1], "journal.head": found[3]["journal.head"]})
    async with JOURNAL.open(state, restore) as partition:
        assert partition.head == 5
        assert partition.statistics().lost == 2
        assert [one.type for one in (await partition.read(FIRST, 10)).events] == ["note"] * 2 + [UNDECODABLE] * 2
    assert list(events(state)) == [1, 2, 3, 4]
    assert [(one.first, one.last) for one in check(state).lost] == [(3, 4)]
    assert not check(state).damage
    assert [(one.first, one.last) for one in JOURNAL.repair(state).lost] == [(3, 4)]
    assert not check(state).lost


async def test_a_start_that_is_broken_off_reports_a_loss_once(tmp_path: Path) -> None:
    """Killed after it was written down, and before it was made good."""
    found = [files async for _, files in written(tmp_path / "state", [300] * 4)]
    state = tmp_path / "cut"
    looked(state, {**found[1], "journal.head": found[3]["journal.head"]})
    shutil.copytree(state, tmp_path / "again")
    async with JOURNAL.open(state, restore):
        pass
    shutil.copy(state / "journal.lost.jsonl", tmp_path / "again")
    async with JOURNAL.open(tmp_path / "again", restore) as partition:
        assert partition.statistics().lost == 2


async def test_a_wal_whose_header_was_torn_when_it_began_anew_is_no_damage(tmp_path: Path) -> None:
    """Everything that it had is in the database then."""
    (files,) = [files async for head, files in written(tmp_path / "state", [300] * 4) if head == 5]
    path = tmp_path / "cut"
    looked(path, files)
    with closing(sqlite3.connect(path / "journal.db")) as sql:
        sql.execute("PRAGMA wal_checkpoint(FULL)")
        left = read(path)
    data = bytearray(left["journal.db-wal"])
    data[12:24] = bytes(12)
    assert looked(tmp_path / "torn", {**left, "journal.db-wal": bytes(data)}).problem == ""
    assert looked(tmp_path / "torn", {**files, "journal.db-wal": bytes(data)}).gone


@pytest.mark.parametrize("whose", [b"", b"0123456789abcdef"])
async def test_another_journals_database_with_fewer_events_is_not_begun_with(tmp_path: Path, whose: bytes) -> None:
    async with JOURNAL.open(tmp_path, restore) as partition:
        await partition.append([event(b"a")])
    headfile.write(tmp_path, Known(head=10, at=1.0, journal=whose))
    if whose:
        with pytest.raises(ConfigError, match="another journal's"):
            async with JOURNAL.open(tmp_path, restore):
                pass
        JOURNAL.accept_loss(tmp_path)
    async with JOURNAL.open(tmp_path, restore) as partition:
        assert partition.head == 10


async def test_nobody_looks_into_an_emptied_database_since_that_would_delete_its_wal(tmp_path: Path) -> None:
    found = [files async for _, files in written(tmp_path / "state", [300] * 4)]
    looked(tmp_path / "left", {**found[-1], "journal.db": b""})
    state = tmp_path / "left"
    with pytest.raises(RouterError, match="no journal at"), JOURNAL.inspect(state, restore):
        pass
    assert check(state).damage
    with pytest.raises(RouterError):
        JOURNAL.repair(state)
    with pytest.raises(RouterError):
        JOURNAL.compact(state, [])
    assert (state / "journal.db-wal").read_bytes() == found[-1]["journal.db-wal"]


async def test_progress_that_was_cut_off_is_said_and_loses_no_event(tmp_path: Path) -> None:
    """What was delivered since is delivered again."""
    state = tmp_path / "state"
    async with JOURNAL.open(state, restore) as partition:
        await partition.append([event(b"a"), event(b"b")])
        await partition.flush()
        before = read(state)
        partition.commit("d/s", Progress(position=3, since=1, pattern="", delivered=2))
        await partition.flush()
        after = read(state)
    cut = {**after, "journal.db-wal": after["journal.db-wal"][: len(before["journal.db-wal"])]}
    finding = looked(tmp_path / "cut", cut)
    assert finding.damage
    assert (finding.damage.first, finding.damage.last) == (0, 0)
    assert "no event is lost" in finding.damage.problem
    async with JOURNAL.open(tmp_path / "cut", restore) as partition:
        assert (partition.head, partition.statistics().lost) == (3, 0)
    assert [(one.first, one.last) for one in check(tmp_path / "cut").lost] == [(0, 0)]
