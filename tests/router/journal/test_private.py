"""The journal is its owner's alone: folder and files, whatever the umask, whatever they were before."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from servers.daemon import Daemon, post

from router.journal.database import Database, opened
from router.journal.place import hold
from router.journal.private import append_to, touch

pytestmark = pytest.mark.anyio

DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      file: {to: {type: file, path: "{out}/all.jsonl"}}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}


def test_a_folder_and_its_files_are_made_for_the_owner_alone(tmp_path: Path, umask: int) -> None:
    state = tmp_path / "state"
    with hold(state), closing(Database(state / "journal.db")) as writes, closing(opened(state / "journal.db", "ro")):
        writes.batches.insert(1, 0.0, b"\1" * 16, b"")
        with append_to(state / "journal.lost.jsonl") as file:
            file.write(b"x")
        touch(state / "journal.db.damaged-1")
        found = modes(state)
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "lock", "journal.lost.jsonl"} <= found.keys()
    assert found.pop("state") == 0o700, oct(umask)
    assert set(found.values()) <= {0o600, 0o600 & ~umask}


def test_what_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(0o777)
    state.chmod(0o2755)
    for name in ("journal.db", "journal.db-wal", "journal.head", "journal.db.damaged-20260101", "admin.json"):
        (state / name).touch()
        (state / name).chmod(0o664)
    with hold(state):
        found = modes(state)
    assert found.pop("state") == 0o2700
    assert set(found.values()) == {0o600}


def test_a_folder_with_other_things_in_it_stays_as_it_is_and_our_files_in_it_do_not(tmp_path: Path) -> None:
    """Nobody is locked out of a folder that is not for the journal alone, such as /tmp."""
    tmp_path.chmod(0o1777)
    for name in ("router.yaml", "journal.db"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    with hold(tmp_path):
        found = modes(tmp_path)
    assert (found[tmp_path.name], found["router.yaml"]) == (0o1777, 0o644)
    assert (found["journal.db"], found["lock"]) == (0o600, 0o600)


async def test_nobody_else_may_read_what_a_daemon_keeps(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        daemon = Daemon(tmp_path, DEPARTMENTS)
        daemon.start()
    finally:
        os.umask(before)
    try:
        await post(daemon.url, range(5), {})
        found = modes(tmp_path / "state")
    finally:
        daemon.kill()
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "journal.head", "lock"} <= found.keys()
    assert found.pop("state") == 0o700
    assert set(found.values()) == {0o600}
    daemon.start()
    assert await anyio.to_thread.run_sync(daemon.stop) == 0
    assert set(modes(tmp_path / "state").values()) == {0o700, 0o600}
