"""P1, P4. A damaged, cut or emptied WAL or database does not pass as sound: it is said which positions are lost.

The daemon is killed, its files are harmed, and then it is asked what a check and a start say of them.
"""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.daemon import Daemon, text

ALL = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""
EVENTS = 120
HEADER, FRAME = 32, 24 + 4096


def pushed(daemon: Daemon, number: int) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(daemon.url, data=text(number)), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have a daemon take events one by one, deliver them, and be killed; the WAL has all of them."""
    folder = tmp_path_factory.mktemp("killed")
    daemon = Daemon(folder, ALL)
    daemon.start()
    try:
        assert {pushed(daemon, number) for number in range(EVENTS)} == {204}
        daemon.wait_settled()
    finally:
        daemon.kill()
    return folder


@pytest.fixture
def daemon(tmp_path: Path, killed: Path) -> Iterator[Daemon]:
    shutil.copytree(killed / "state", tmp_path / "state")
    shutil.copytree(killed / "out", tmp_path / "out")
    daemon = Daemon(tmp_path, ALL)
    yield daemon
    if daemon.process and daemon.process.poll() is None:
        daemon.kill()


def wal(daemon: Daemon) -> Path:
    return daemon.folder / "state" / "journal.db-wal"


def commits(data: bytes) -> list[int]:
    """Return where in a WAL its transactions end."""
    ends = range(HEADER + FRAME, len(data) + 1, FRAME)
    return [end for end in ends if any(data[end - FRAME + 4 : end - FRAME + 8])]


def flip(place: Callable[[bytes], int]) -> Callable[[Path], None]:
    def done(state: Path) -> None:
        path = state / "journal.db-wal"
        data = bytearray(path.read_bytes())
        data[place(bytes(data))] ^= 4
        path.write_bytes(data)

    return done


def cut(place: Callable[[bytes], int]) -> Callable[[Path], None]:
    def done(state: Path) -> None:
        path = state / "journal.db-wal"
        path.write_bytes(path.read_bytes()[: place(path.read_bytes())])

    return done


def half(data: bytes) -> int:
    """Return where a transaction ends in the middle of a WAL."""
    ends = commits(data)
    return ends[len(ends) // 2]


BROKEN = [
    pytest.param(flip(lambda data: half(data) + 2), id="flipped in a frame's page number"),
    pytest.param(flip(lambda data: half(data) + 6), id="flipped in a frame's commit mark"),
    pytest.param(flip(lambda data: half(data) + 9), id="flipped in a frame's salt"),
    pytest.param(flip(lambda data: half(data) + 18), id="flipped in a frame's checksum"),
    pytest.param(flip(lambda data: half(data) + 24 + 3000), id="flipped in a page"),
    pytest.param(flip(lambda data: commits(data)[-1] - 700), id="flipped in the last page"),
    pytest.param(flip(lambda data: commits(data)[-2] - 700), id="flipped in the last page but one"),
    pytest.param(cut(half), id="cut between two transactions"),
    pytest.param(cut(lambda data: half(data) + 1000), id="cut in a frame"),
    pytest.param(cut(lambda data: commits(data)[-1] - 1), id="cut in the last transaction"),
]
EMPTIED = [
    pytest.param(flip(lambda _: 1), id="flipped in the WAL's magic"),
    pytest.param(flip(lambda _: 10), id="flipped in the WAL's page size"),
    pytest.param(flip(lambda _: 17), id="flipped in the WAL's salt"),
    pytest.param(flip(lambda _: 29), id="flipped in the WAL's checksum"),
    pytest.param(flip(lambda _: HEADER + 2000), id="flipped in the first frame"),
    pytest.param(cut(lambda _: 0), id="WAL emptied"),
    pytest.param(cut(lambda _: 20), id="WAL cut in its header"),
    pytest.param(cut(lambda _: HEADER), id="WAL cut behind its header"),
    pytest.param(lambda state: (state / "journal.db-wal").unlink(), id="WAL removed"),
    pytest.param(lambda state: (state / "journal.db").write_bytes(b""), id="database emptied"),
    pytest.param(lambda state: (state / "journal.db").unlink(), id="database removed"),
    pytest.param(
        lambda state: [path.unlink() for path in state.glob("journal.db*")], id="database, WAL and index removed"
    ),
]


def checked(daemon: Daemon) -> tuple[int, Any]:
    done = daemon.cli("journal", "check", str(daemon.config), "--json")
    assert not (found := "Traceback" in done.stderr), found
    return done.returncode, json.loads(done.stdout)


def files(state: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in state.iterdir() if not path.name.endswith("-shm")}


@pytest.mark.parametrize("harm", BROKEN)
def test_a_broken_wal_is_reported_with_its_range_and_the_rest_is_served(
    daemon: Daemon, harm: Callable[[Path], None]
) -> None:
    state = daemon.folder / "state"
    harm(state)
    harmed = wal(daemon).read_bytes()
    before = files(state)
    code, found = checked(daemon)
    (damage,) = found["report"]["damage"]
    first = damage["first"]
    assert (code, found["ok"], damage["last"]) == (1, False, EVENTS)
    assert 1 < first <= EVENTS
    assert found["report"]["events"] == first - 1
    assert daemon.cli("verify", str(daemon.config)).returncode == 0
    assert files(state) == before
    daemon.start()
    assert [path.read_bytes() for path in state.glob("journal.db-wal.damaged-*")] == [harmed]
    log = (daemon.folder / "router.log").read_text()
    assert f"positions {first} to {EVENTS}" in log
    assert log.count("the journal is damaged") == 1
    journal = daemon.status()["journal"]
    assert (journal["head"], journal["lost"]) == (EVENTS + 1, EVENTS + 1 - first)
    assert pushed(daemon, 1000) == 204
    daemon.wait_settled()
    lines = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
    assert sorted(lines) == [*range(EVENTS), 1000]
    assert daemon.verify()["ok"]
    assert checked(daemon)[0] == 1
    daemon.kill()
    daemon.start()
    assert len(list(state.glob("*.damaged-*"))) == 1
    assert daemon.status()["journal"]["lost"] == EVENTS + 1 - first
    assert daemon.stop() == 0
    assert daemon.cli("journal", "check", str(daemon.config), "--repair").returncode == 1
    assert checked(daemon)[0] == 0


@pytest.mark.parametrize("harm", EMPTIED)
def test_an_emptied_journal_does_not_start_unless_it_is_told_to(daemon: Daemon, harm: Callable[[Path], None]) -> None:
    """And then no position is given twice, and what is left of the old one is kept."""
    state = daemon.folder / "state"
    harm(state)
    before = files(state)
    code, found = checked(daemon)
    (damage,) = found["report"]["damage"]
    assert (code, damage["first"], damage["last"]) == (1, 1, EVENTS)
    for _ in range(2):
        done = daemon.cli("run", str(daemon.config))
        assert done.returncode == 78, done
        assert str(state / "journal.db") in done.stderr
        assert f"{EVENTS} events" in done.stderr
        assert "--accept-loss" in done.stderr
        assert "Traceback" not in done.stderr
    assert {name: data for name, data in files(state).items() if name in before and name != "lock"} == {
        name: data for name, data in before.items() if name != "lock"
    }
    daemon.start(accept_loss=True)
    kept = [path.read_bytes() for path in state.glob("*.damaged-*")]
    assert sorted(kept) == sorted(
        data for name, data in before.items() if name in ("journal.db", "journal.db-wal") and data
    )
    journal = daemon.status()["journal"]
    assert (journal["head"], journal["lost"]) == (EVENTS + 1, EVENTS)
    assert pushed(daemon, 1000) == 204
    daemon.wait_settled()
    assert [int(line["env_id"]) for line in daemon.lines("all.jsonl")] == [*range(EVENTS), 1000]
    daemon.kill()
    daemon.start()
    assert daemon.status()["journal"]["head"] == EVENTS + 2
    assert daemon.verify()["ok"]


def test_a_journal_that_is_well_starts_as_it_is_with_accept_loss_too(daemon: Daemon) -> None:
    daemon.start(accept_loss=True)
    assert daemon.status()["journal"]["head"] == EVENTS + 1
    assert daemon.status()["journal"]["lost"] == 0
    assert checked(daemon)[0] == 0


def test_a_wal_that_lost_its_end_without_a_note_beside_it_is_known_by_what_follows_the_damage(daemon: Daemon) -> None:
    """As far as the pages say it."""
    state = daemon.folder / "state"
    flip(lambda data: half(data) + 24 + 3000)(state)
    (state / "journal.head").unlink()
    code, found = checked(daemon)
    (damage,) = found["report"]["damage"]
    assert (code, damage["last"]) == (1, EVENTS)
    daemon.start()
    assert daemon.status()["journal"]["head"] == EVENTS + 1


def test_an_older_copy_of_the_database_is_no_newer_journal(daemon: Daemon, tmp_path: Path) -> None:
    """What was answered since is reported as lost, and its positions are not given again."""
    state = daemon.folder / "state"
    daemon.start()
    assert daemon.stop() == 0
    shutil.copy(state / "journal.db", tmp_path / "older.db")
    daemon.start()
    assert {pushed(daemon, number) for number in range(1000, 1020)} == {204}
    daemon.wait_settled()
    daemon.kill()
    for path in state.glob("journal.db*"):
        path.unlink()
    shutil.copy(tmp_path / "older.db", state / "journal.db")
    code, found = checked(daemon)
    (damage,) = found["report"]["damage"]
    assert (code, damage["first"], damage["last"]) == (1, EVENTS + 1, EVENTS + 20)
    daemon.start()
    assert daemon.status()["journal"]["head"] == EVENTS + 21
    assert daemon.status()["journal"]["lost"] == 20
