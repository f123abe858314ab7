"""Both journals hold the contract; and what the one on SQLite holds beyond it."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from router.errors import ConfigError, Retry, RouterError
from router.event import UNDECODABLE
from router.journal import FIRST, Change, Journal, Partition
from router.journal.conformance import DurableJournalSuite, JournalSuite, event, restore, settled
from router.journal.conformance_replays import RUNNING, DurableReplaySuite, ReplaySuite
from router.journal.database import Database, Write
from router.journal.memory import MemoryJournal
from router.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestMemory(JournalSuite, ReplaySuite):
    def journal(self, *, small: bool = False) -> Journal:
        return MemoryJournal(limit=500) if small else MemoryJournal()


class TestSqlite(DurableJournalSuite, DurableReplaySuite):
    def journal(self, *, small: bool = False) -> Journal:
        return SqliteJournal(quota=1_000_000) if small else SqliteJournal()


async def test_a_second_daemon_on_the_same_state_is_refused(tmp_path: Path) -> None:
    async with SqliteJournal().open(tmp_path, restore):
        with pytest.raises(ConfigError, match="another router is running"):
            async with SqliteJournal().open(tmp_path, restore):
                pass


async def test_a_damaged_row_is_reported_and_the_rest_is_served(tmp_path: Path) -> None:
    """A checksum per row: one torn row costs only its own events, and their positions stay."""
    async with SqliteJournal().open(tmp_path, restore) as partition:
        for i in range(3):
            await partition.append([event(f"{i}".encode())])
    with sqlite3.connect(tmp_path / "journal.db") as sql:
        sql.execute("UPDATE batches SET body = zeroblob(length(body)) WHERE first = 2")
    sql.close()
    async with SqliteJournal().open(tmp_path, restore) as partition:
        segment = await partition.read(FIRST, 10)
    assert [e.type for e in segment.events] == ["note", UNDECODABLE, "note"]
    assert segment.events[1].id == event(b"1").id


async def test_a_failed_commit_is_told_to_all_who_wait_and_loses_nothing_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: disk full is `Retry` for the callers, who then do not ack; the journal goes on when it can."""
    async with SqliteJournal().open(tmp_path, restore) as partition:
        await partition.append([event(b"before")])
        write = Database.write
        monkeypatch.setattr(
            Database,
            "write",
            lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("database or disk is full")),
        )
        refused: list[bool] = []

        async def caller(number: int) -> None:
            with pytest.raises(Retry, match="disk is full"):
                await partition.append([event(f"{number}".encode())])
            refused.append(True)

        async with anyio.create_task_group() as tasks:
            for i in range(5):
                tasks.start_soon(caller, i)
        assert len(refused) == 5
        monkeypatch.setattr(Database, "write", write)
        await partition.append([event(b"0"), event(b"after")])
        segment = await partition.read(FIRST, 10)
    assert [bytes(e.raw) for e in segment.events] == [b"before", b"0", b"after"]


async def test_settled_events_are_kept_for_the_retention_and_then_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteJournal(retention=100.0).open(tmp_path, restore) as partition:
        await partition.append([event(b"old")])
        partition.commit("d/s", settled(partition.head))
        partition.activate(["d/s"])
        await partition.append([event(b"new")])
        assert partition.tail == FIRST
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 101)
        await partition.append([event(b"newer")])
        assert partition.tail == FIRST + 1


async def test_settled_events_go_before_their_time_when_they_take_too_much_and_no_others(tmp_path: Path) -> None:
    """The oldest first, and no more than must; what a subscription needs stays however much it is."""
    async with SqliteJournal(retention_size=200_000).open(tmp_path, restore) as partition:
        partition.commit("a/quick", settled(FIRST))
        partition.activate(["a/quick", "a/slow"])
        partition.commit("a/slow", settled(FIRST + 150))
        for number in range(200):
            await partition.append([event(b"x" * 5000, name=str(number))])
        partition.commit("a/quick", settled(partition.head))
        with anyio.fail_after(20):
            while partition.tail < FIRST + 150:
                await anyio.sleep(0.05)
        await anyio.sleep(0.5)
        assert partition.tail == FIRST + 150
        partition.commit("a/slow", settled(partition.head))
        await anyio.sleep(0.5)
        assert FIRST + 150 < partition.tail < FIRST + 190
        assert partition.statistics().bytes <= 200_000


async def test_while_nothing_can_be_written_it_says_so_and_finds_out_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody who asks: a probe is written every second."""
    async with SqliteJournal().open(tmp_path, restore) as partition:
        await partition.append([event(b"a")])
        pages = sqlite3.connect(tmp_path / "journal.db")
        monkeypatch.setattr(Database, "write", _full)
        with pytest.raises(Retry, match="full"):
            await partition.append([event(b"b")])
        assert "full" in partition.statistics().failing
        assert partition.statistics().failing_since > 0
        monkeypatch.undo()
        pages.close()
        with anyio.fail_after(20):
            while partition.statistics().failing:
                await anyio.sleep(0.05)
        assert partition.statistics().failing_since == 0.0
        assert partition.head == FIRST + 1


def _full(database: Database, write: Write) -> bool:
    """Have SQLite itself say that the disk is full."""
    database._sql.execute("PRAGMA max_page_count=1")
    try:
        database.batches.insert(write.first, write.received, bytes(16), bytes(100_000))
    finally:
        database._sql.execute("PRAGMA max_page_count=1000000000")
    return False


async def test_what_a_running_replay_has_yet_to_go_through_is_kept_beyond_the_retention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is past it, or stopped; by the daemon's sweep and by `compact`."""
    monkeypatch.setattr("router.journal.housekeeping.REST", 0.0)
    journal = SqliteJournal(retention=0.0)
    async with journal.open(tmp_path, restore) as partition:
        partition.activate(["d/s"])
        partition.commit("d/s", settled(1), Change(replays=[RUNNING]))
        for i in range(5):
            await partition.append([event(f"{i}".encode())])
        for position in (1, 3):
            partition.commit("d/s", settled(6), Change(replays=[replace(RUNNING, position=position)]))
            await partition.flush()
            await partition.flush()
            assert partition.tail == position
    journal.compact(tmp_path, ["d/s"])
    async with journal.open(tmp_path, restore) as partition:
        partition.activate(["d/s"])
        assert partition.tail == 3
        partition.commit("d/s", settled(6), Change(replays=[replace(RUNNING, position=3, state="stopped")]))
        await partition.flush()
        await partition.flush()
        assert partition.tail == 6


async def test_ids_are_forgotten_after_the_duplicate_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteJournal(duplicates=10.0).open(tmp_path, restore) as partition:
        await partition.append([event(b"a")])
        now = time.time()
        for second in range(0, 20, 2):
            monkeypatch.setattr(time, "time", lambda late=second: now + late)
            await partition.append([event(str(second).encode())])
        await partition.append([event(b"a")])
        assert partition.head == FIRST + 12


async def test_a_journal_is_inspected_while_it_is_written(tmp_path: Path) -> None:
    journal = SqliteJournal()
    async with journal.open(tmp_path, restore) as partition:
        await partition.append([event(b"a"), event(b"b")])
        partition.commit("d/s", settled(2))
        await partition.flush()
        with journal.inspect(tmp_path, restore) as found:
            assert (found.tail, found.head, found.progress["d/s"].position) == (1, 3, 2)
            assert [bytes(e.raw) for s in found.segments() for e in s.events] == [b"a", b"b"]


def test_inspecting_where_no_journal_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(RouterError, match="no journal at"), SqliteJournal().inspect(tmp_path, restore):
        pass


async def test_positions_go_on_after_everything_was_deleted_and_the_daemon_restarted(tmp_path: Path) -> None:
    """A position is never given twice, even when no event is left to count from."""
    async with SqliteJournal(retention=0.0).open(tmp_path, restore) as partition:
        await partition.append([event(b"a")])
        partition.commit("d/s", settled(partition.head))
        partition.activate(["d/s"])
        await anyio.sleep(0.01)
        await partition.flush()
    async with SqliteJournal(retention=0.0).open(tmp_path, restore) as partition:
        assert partition.head == FIRST + 1


async def test_an_append_returns_only_after_its_commit_and_a_commit_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: while the writer is held up nobody is answered; WAL with synchronous=FULL syncs before a commit returns."""
    may_write = threading.Event()
    settings: list[tuple[object, ...]] = []
    write = Database.write

    def held(database: Database, what: Write) -> None:
        settings.append(
            tuple(database._sql.execute(f"PRAGMA {key}").fetchone()[0] for key in ("journal_mode", "synchronous"))
        )
        assert may_write.wait(10)
        write(database, what)

    monkeypatch.setattr(Database, "write", held)
    answered: list[bool] = []
    async with SqliteJournal().open(tmp_path, restore) as partition:

        async def caller() -> None:
            await partition.append([event(b"a")])
            answered.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller)
            await anyio.sleep(0.2)
            before = list(answered)
            may_write.set()
    assert (before, answered) == ([], [True])
    assert set(settings) == {("wal", 2)}


async def test_a_file_of_another_version_is_refused_with_a_clear_word(tmp_path: Path) -> None:
    """Nothing was released that wrote one; and it is not changed."""
    async with SqliteJournal().open(tmp_path, restore) as partition:
        await partition.append([event(b"a")])
    with sqlite3.connect(tmp_path / "journal.db") as sql:
        sql.execute("PRAGMA user_version=6")
    sql.close()
    before = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(RouterError, match="schema 6, not 7"):
        async with SqliteJournal().open(tmp_path, restore):
            pass
    with pytest.raises(RouterError, match="another state folder"):
        Database(tmp_path / "journal.db", readonly=True)
    assert (tmp_path / "journal.db").read_bytes() == before


async def test_a_writer_that_ends_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that nobody thought of ends the journal with that fault, and does not hang its callers or its end."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    refused: list[str] = []

    async def caller(partition: Partition, name: bytes) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await partition.append([event(name)])
            except Retry as error:
                refused.append(error.reason)

    monkeypatch.setattr(Database, "write", broken)

    async def run() -> None:
        async with SqliteJournal().open(tmp_path, restore) as partition, anyio.create_task_group() as tasks:
            tasks.start_soon(caller, partition, b"a")
            tasks.start_soon(caller, partition, b"b")
            await anyio.sleep_forever()

    with anyio.fail_after(5), pytest.raises(BaseExceptionGroup) as ended:
        await run()
    assert ended.group_contains(ZeroDivisionError)
    assert refused == ["the journal's writer has ended"] * 2
