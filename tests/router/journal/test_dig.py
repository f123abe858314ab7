"""Files whose trees, header, free list or index are gone: what lies on their pages is found all the same."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from fakes.spoilt import JOURNAL, PAGE, append, check, copied, events, folded

from router.errors import RouterError
from router.event import UNDECODABLE
from router.journal.batches import Sweep
from router.journal.conformance import event, restore
from router.journal.database import Database, Write
from router.journal.dig import dig
from router.journal.ledger import Unwritten

pytestmark = pytest.mark.anyio

Spoil = Callable[[Path], None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def header(path: Path) -> None:
    write(path, 0, bytes(100))


def first_page(path: Path) -> None:
    write(path, 0, os.urandom(PAGE))


def root_of(name: str) -> Spoil:
    def spoil(path: Path) -> None:
        with closing(sqlite3.connect(path)) as sql:
            (page,) = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        write(path, (page - 1) * PAGE, os.urandom(PAGE))

    return spoil


def free_list(path: Path) -> None:
    write(path, 32, (5).to_bytes(4) + (3).to_bytes(4))


def index_entry(path: Path) -> None:
    """Take a parked event out of the index alone."""
    with closing(sqlite3.connect(path)) as sql:
        (index,) = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = 'parked_by_due'").fetchone()
    at = (index - 1) * PAGE
    count = int.from_bytes(path.read_bytes()[at + 3 : at + 5])
    write(path, at + 3, (count - 1).to_bytes(2))


def contents(state: Path) -> dict[str, set[tuple[object, ...]]]:
    tables = ("batches", "progress", "parked", "dead", "marks")
    with closing(sqlite3.connect(state / "journal.db")) as sql:
        return {table: set(sql.execute(f"SELECT * FROM {table}").fetchall()) for table in tables}


def test_all_rows_of_a_file_are_found_by_its_pages_alone(whole: Path) -> None:
    found: dict[str, set[tuple[object, ...]]] = {}
    for table, row in dig(whole / "journal.db"):
        found.setdefault(table, set()).add(row)
    before = contents(whole)
    assert {table: found[table] for table in before} == before


@pytest.mark.parametrize(
    "spoil",
    [header, first_page, root_of("batches"), root_of("parked_by_due"), root_of("spans"), free_list, index_entry],
)
def test_what_is_only_the_way_to_the_rows_costs_none_of_them(whole: Path, tmp_path: Path, spoil: Spoil) -> None:
    """The header, inner pages of trees, the list of free pages, an index."""
    state = copied(whole, tmp_path)
    spoil(state / "journal.db")
    spoilt = (state / "journal.db").read_bytes()
    assert check(state).damage
    JOURNAL.repair(state)
    assert contents(state) == contents(whole)
    assert not check(state).damage
    (kept,) = [path for path in state.glob("journal.db.malformed-*") if not path.name.endswith("-wal")]
    assert kept.read_bytes() == spoilt
    assert anyio.run(append, state) == len(events(whole)) + 2


async def test_what_cannot_be_found_is_named(whole: Path, tmp_path: Path) -> None:
    """A page with rows on it, and how far a subscription was."""
    state = copied(whole, tmp_path)
    path = state / "journal.db"
    with closing(sqlite3.connect(path)) as sql:
        rows = "SELECT first, count, ids FROM batches WHERE length(body) < 500 AND first BETWEEN 50 AND 400"
        first, count, ids = sql.execute(rows).fetchone()
    data = path.read_bytes()
    write(path, data.index(ids) // PAGE * PAGE, bytes(PAGE))
    root_of("progress")(path)
    lost = JOURNAL.repair(state).lost
    assert any(one.first <= first and one.last >= first + count - 1 and "batches" in one.problem for one in lost)
    assert any("a/x" in one.problem and "how far it was" in one.problem for one in lost)
    assert len((state / "journal.aside.jsonl").read_text().splitlines()) == len(lost)


@pytest.mark.parametrize("content", [b"hello, world\n" * 3000, os.urandom(50_000), b"SQLite format 3\0"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    assert check(tmp_path).damage
    with pytest.raises(RouterError, match=r"nothing of a journal can be read in it .move it away"):
        JOURNAL.repair(tmp_path)
    assert path.read_bytes() == content
    assert not list(tmp_path.glob("*.rebuilt*"))


def test_a_name_that_is_no_text_any_more_does_not_keep_a_repair_busy_for_ever(whole: Path, tmp_path: Path) -> None:
    state = copied(whole, tmp_path)
    with closing(sqlite3.connect(state / "journal.db", isolation_level=None)) as sql:
        sql.execute("UPDATE dead SET name = cast(x'61ff' AS TEXT)")
    folded(state)
    root_of("spans")(state / "journal.db")
    JOURNAL.repair(state)
    with closing(sqlite3.connect(state / "journal.db")) as sql:
        assert sql.execute("SELECT count(*) FROM dead").fetchone() == (60,)


def torn(state: Path) -> tuple[int, int]:
    """Spoil a page that the row of a large batch overflows to; returns the batch's positions."""
    path = state / "journal.db"
    with closing(sqlite3.connect(path)) as sql:
        rows = "SELECT first, count, body FROM batches WHERE length(body) > 40000 LIMIT 1"
        first, count, body = sql.execute(rows).fetchone()
    data = path.read_bytes()
    unique = body.index(b".10x")
    at = data.index(body[unique - 2 : unique + 20]) // PAGE * PAGE
    write(path, at + PAGE, b"\xff" * PAGE)
    return first, first + count


def test_a_row_that_cannot_be_deleted_does_not_end_the_commits(whole: Path, tmp_path: Path) -> None:
    """The sweep comes with a commit, which is made without it then."""
    state = copied(whole, tmp_path)
    _, end = torn(state)
    sweep = Sweep(settled=end, keep_from=2e10, excess=0, seen_from=2e10, limit=2**30)
    with closing(Database(state / "journal.db")) as database:
        head = database.head()
        for number in range(2):
            ids = bytes.fromhex(event(b"new%d" % number).id)
            write_ = Write(head + number, 1.0, ids, b"\x90", Unwritten(), (), sweep)
            assert not database.write(write_)
        assert database.head() == head + 2
        assert database.tail() == 1


async def test_a_torn_row_costs_no_second_read_of_those_before_it(whole: Path, tmp_path: Path) -> None:
    """What was read before it is given out, in one go."""
    state = copied(whole, tmp_path)
    first, end = torn(state)
    async with JOURNAL.open(state, restore) as partition:
        segment = await partition.read(1, 4096)
        assert 1 < segment.end <= first
        (damaged, *_) = (await partition.read(first, 1)).events
        assert damaged.type == UNDECODABLE
        assert (await partition.read(end, 1)).first == end
