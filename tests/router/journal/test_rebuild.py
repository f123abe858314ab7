"""A file that SQLite calls malformed: what can be read of it is kept, and at no moment is there no journal."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from fakes.spoilt import JOURNAL, PAGE, append, check, copied, events, harm, untouched
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import Retry, RouterError
from router.event import UNDECODABLE, Event
from router.journal import FIRST
from router.journal.conformance import restore
from router.journal.database import Database
from router.journal.salvage import SMALL, TABLES

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_every_table_is_saved_or_made_anew(whole: Path) -> None:
    """Whoever adds a table must say which."""
    sql = sqlite3.connect(whole / "journal.db")
    tables = {name for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    sql.close()
    assert tables == {*(table.name for table in TABLES), *SMALL, "prints", "secret"}


spoils = st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(["zero", "noise", "head"])), max_size=3)


@settings(max_examples=25, deadline=None)
@given(damage=spoils, cut=st.sampled_from([1.0, 1.0, 0.9, 0.4]))
def test_a_repair_keeps_all_that_can_be_read(whole: Path, damage: list[tuple[int, str]], cut: float) -> None:
    """Every position is still there, each with its event or with one that says that it is damaged."""
    before = events(whole)
    with tempfile.TemporaryDirectory() as folder:
        state = copied(whole, Path(folder))
        harm(state, damage, cut)
        report = check(state)
        spoilt = (state / "journal.db").read_bytes()
        lost = JOURNAL.repair(state).lost if report.damage else ()
        after = events(state)
        left = [one for one in check(state).damage if one.repairable]
        head = anyio.run(append, state)
    assert not left
    known = not any("how far it was" in one.problem for one in lost)
    assert head == len(before) + 2 if known else FIRST < head <= len(before) + 2
    assert list(after) == list(range(min(after, default=1), max(after, default=0) + 1))
    same = [p for p in after if after[p].type != UNDECODABLE]
    assert all((after[p].id, bytes(after[p].raw)) == (before[p].id, bytes(before[p].raw)) for p in same)
    assert set(same) >= untouched(whole, spoilt)
    assert lost or list(after) == list(before)
    if not damage and cut == 1.0:
        assert not report.damage
        assert same == list(before)


async def test_a_row_that_sqlite_cannot_read_is_served_as_damaged_and_the_rest_as_it_is(
    whole: Path, tmp_path: Path
) -> None:
    """The daemon goes on over a page that is torn."""
    state = copied(whole, tmp_path)
    before = events(whole)
    sql = sqlite3.connect(state / "journal.db")
    (first, count) = sql.execute(
        "SELECT first, count FROM batches WHERE length(body) > 40000 AND first > 50 LIMIT 1"
    ).fetchone()
    body: bytes = sql.execute("SELECT body FROM batches WHERE first = ?", (first,)).fetchone()[0]
    sql.close()
    path = state / "journal.db"
    data = bytearray(path.read_bytes())
    unique = body.index(b".10x")
    start = data.index(body[unique - 2 : unique + 20]) // PAGE * PAGE + PAGE
    data[start : start + PAGE] = b"\xff" * PAGE
    path.write_bytes(data)
    async with JOURNAL.open(state, restore) as partition:
        found: list[Event] = []
        position = FIRST
        while position < partition.head:
            segment = await partition.read(position, 64)
            assert segment.first == position
            found += segment.events
            position = segment.end
    damaged = range(first, first + count)
    assert [e.type == UNDECODABLE for e in found] == [p in damaged for p in before]
    whole_ids = [e.id for p, e in before.items() if p not in damaged]
    assert [e.id for p, e in enumerate(found, FIRST) if p not in damaged] == whole_ids
    JOURNAL.repair(state)
    after = events(state)
    assert [e.type == UNDECODABLE for e in after.values()] == [p in damaged for p in before]
    assert [e.id for p, e in after.items() if p not in damaged] == whole_ids


async def test_what_cannot_be_read_at_all_is_told_in_a_line(whole: Path, tmp_path: Path) -> None:
    """By the daemon at its start, and when a part of it cannot be read later."""
    state = copied(whole, tmp_path)
    async with JOURNAL.open(state, restore) as partition:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("router.journal.batches.Batches.read", _malformed)
            with pytest.raises(Retry, match=r"cannot be read: database disk image is malformed .see `router journal"):
                await partition.read(FIRST, 10)
    for page in range(1, 30):
        harm(state, [(page, "noise")])
    with pytest.raises(RouterError, match=r"malformed \(see `router journal check`\)"):
        async with JOURNAL.open(state, restore):
            pass


def _malformed(*_: object) -> None:
    raise sqlite3.DatabaseError("database disk image is malformed")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (Database, "insert"),
        (Database, "settle"),
        (os, "fsync"),
        (os, "link"),
        (Path, "rename"),
        (Path, "unlink"),
    ],
)
async def test_a_rebuilding_that_is_broken_off_leaves_a_file_that_the_next_one_mends(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """Killed before any of its steps."""
    state = copied(whole, tmp_path)
    harm(state, [(45, "noise"), (90, "noise"), (200, "zero")])
    real: Callable[..., Any] = getattr(module, name)
    calls: list[object] = []

    def killed(*arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        if name == "unlink" and len(calls) <= 3:  # those before it begins
            return real(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(KeyboardInterrupt):
            JOURNAL.repair(state)
    assert calls
    assert (state / "journal.db").stat().st_size > PAGE * 50
    if check(state).damage:
        JOURNAL.repair(state)
    assert not [one for one in check(state).damage if one.repairable]
    assert await append(state) == len(events(whole)) + 2
    assert not list(state.glob("*.rebuilt*"))


def limited(bytes_: int) -> Callable[[], None]:
    """Let no file of a process grow beyond so many bytes: that is what a full disk looks like to it."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))


def router(folder: Path, *arguments: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    path = folder / "router.yaml"
    path.write_text(
        f"state: {folder / 'state'}\njournal: {{type: sqlite, retention: 0s}}\n"
        "sources: {push: {type: mns_push, listen: 127.0.0.1:0, verify: false}}\n"
        "departments: {a: {accounts: ['*'], subscriptions: {x: {to: {type: stdout}}}}}\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "router", "journal", *arguments[:1], str(path), *arguments[1:]],
        capture_output=True, text=True, check=False, timeout=60, preexec_fn=limited(limit) if limit else None,
    )  # fmt: skip


def test_without_room_for_a_new_file_a_repair_changes_nothing(whole: Path, tmp_path: Path) -> None:
    state = copied(whole, tmp_path)
    harm(state, [(45, "noise"), (200, "zero")])
    before = (state / "journal.db").read_bytes()
    done = router(tmp_path, "check", "--repair", limit=200_000)
    assert (done.returncode, done.stderr.startswith("router: "), "Traceback" in done.stderr) == (1, True, False)
    assert (state / "journal.db").read_bytes() == before
    done = router(tmp_path, "check", "--repair")
    assert "rows were set aside now" in done.stdout
    assert (state / "journal.aside.jsonl").exists()
    assert [path.stat().st_size for path in state.glob("journal.db.malformed-*")] == [len(before)]


def test_without_room_compacting_loses_nothing_and_works_later(whole: Path, tmp_path: Path) -> None:
    state = copied(whole, tmp_path)
    before = events(whole)
    sql = sqlite3.connect(state / "journal.db")
    with sql:
        sql.execute("UPDATE progress SET position = 300")
    sql.close()
    done = router(tmp_path, "compact", limit=100_000)
    assert (done.returncode, done.stderr.startswith("router: "), "Traceback" in done.stderr) == (1, True, False)
    after = events(state)
    assert {p: e.id for p, e in after.items()} == {p: before[p].id for p in after}
    assert set(after) >= set(range(300, len(before) + 1))
    assert router(tmp_path, "compact").returncode == 0
    assert max(events(state)) == len(before)


def test_a_folder_that_may_not_be_read_is_told_in_a_line(whole: Path, tmp_path: Path) -> None:
    state = copied(whole, tmp_path)
    (state / "journal.db").unlink()
    (state / "journal.db").mkdir()
    for command in ("check", "cat", "compact"):
        done = router(tmp_path, command)
        assert (done.returncode, done.stderr.startswith("router: "), "Traceback" in done.stderr) == (1, True, False)
