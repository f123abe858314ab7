"""P1. The state folder, or a file of the journal, goes away under the daemon: it says so, and answers no more."""

from __future__ import annotations

import itertools
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from servers.daemon import Daemon, running, text

ALL = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""
NAMES = ("journal.db", "journal.db-wal", "journal.db-shm", "lock")


def pushed(daemon: Daemon, number: int) -> int:
    return asked(urllib.request.Request(daemon.url, data=text(number)))


def ready(daemon: Daemon) -> int:
    return asked(urllib.request.Request(f"http://127.0.0.1:{daemon.admin}/ready"))


def asked(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def until(met: Callable[[], bool], seconds: float = 20) -> float:
    """Wait; returns how many seconds it took."""
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < seconds, "it did not come to it"
        time.sleep(0.02)
    return time.monotonic() - began


def said(daemon: Daemon, words: str = "") -> str:
    """Return the log, once the words stand in it: a thread writes it."""
    log = daemon.folder / "router.log"
    deadline = time.monotonic() + 5
    while words not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    return log.read_text()


def unlink(name: str) -> Callable[[Path], object]:
    return lambda state: (state / name).unlink()


def exchange(name: str) -> Callable[[Path], object]:
    def done(state: Path) -> None:
        shutil.copy(state / name, state / "new")
        (state / "new").rename(state / name)

    return done


def rename(state: Path) -> None:
    state.rename(state.with_name("elsewhere"))


def rename_and_make_anew(state: Path) -> None:
    rename(state)
    state.mkdir()


def rename_parent(state: Path) -> None:
    state.parent.rename(state.parent.with_name("elsewhere"))


LOSSES = [
    *(pytest.param(unlink(name), id=f"{name} unlinked") for name in NAMES),
    *(pytest.param(exchange(name), id=f"{name} exchanged") for name in NAMES),
    pytest.param(shutil.rmtree, id="folder removed"),
    pytest.param(rename, id="folder renamed"),
    pytest.param(rename_and_make_anew, id="folder renamed, another in its place"),
]


@pytest.mark.parametrize("lose", LOSSES)
def test_nothing_is_answered_any_more_once_the_files_are_gone(tmp_path: Path, lose: Callable[[Path], object]) -> None:
    """Not the next push either; it is said once in the log, and it is not ready; and no second router starts."""
    with running(tmp_path, ALL) as daemon:
        assert [pushed(daemon, number) for number in range(5)] == [204] * 5
        daemon.wait_settled()
        lose(tmp_path / "state")
        codes = [pushed(daemon, number) for number in range(10, 13)]
        assert codes == [503] * 3
        assert ready(daemon) == 503
        assert said(daemon, "the journal's files are gone").count("the journal's files are gone") == 1
        assert "put them back" in said(daemon, "put them back")
        second = daemon.cli("run", str(daemon.config))
        assert second.returncode == 78
        assert "another router is running" in second.stderr
        assert str(tmp_path / "state") in second.stderr
        assert [pushed(daemon, number) for number in range(10, 13)] == [503] * 3
        daemon.stop()
        assert daemon.process
        assert daemon.process.returncode == 1
        assert "Traceback" not in said(daemon)


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
def test_nothing_is_answered_any_more_soon_after_a_file_was_emptied(tmp_path: Path, name: str) -> None:
    """And what is written since, which makes it longer again, does not mend it."""
    with running(tmp_path, ALL) as daemon:
        assert [pushed(daemon, number) for number in range(5)] == [204] * 5
        os.truncate(tmp_path / "state" / name, 0)
        numbers = itertools.count(10)
        assert until(lambda: pushed(daemon, next(numbers)) == 503) < 3
        time.sleep(1.2)
        assert (pushed(daemon, next(numbers)), ready(daemon)) == (503, 503)
        assert f"{name} was cut" in said(daemon, f"{name} was cut")


def test_it_is_noticed_within_a_second_when_nothing_comes_in(tmp_path: Path) -> None:
    with running(tmp_path, ALL) as daemon:
        assert pushed(daemon, 1) == 204
        assert ready(daemon) == 204
        daemon.wait_settled()
        time.sleep(0.3)  # until what was committed since is written: the folder is at rest
        (tmp_path / "state" / "journal.db-wal").unlink()
        assert until(lambda: ready(daemon) == 503) < 3  # a second, and what a busy machine takes
        assert "the journal's files are gone" in said(daemon, "the journal's files are gone")


def test_a_folder_that_is_put_back_goes_on_and_nothing_is_lost(tmp_path: Path) -> None:
    """What was refused meanwhile is taken when it comes again, and delivered once."""
    with running(tmp_path, ALL) as daemon:
        assert [pushed(daemon, number) for number in range(5)] == [204] * 5
        (tmp_path / "state").rename(tmp_path / "elsewhere")
        assert [pushed(daemon, number) for number in range(5, 8)] == [503] * 3
        (tmp_path / "elsewhere").rename(tmp_path / "state")
        until(lambda: ready(daemon) == 204)
        assert [pushed(daemon, number) for number in range(10)] == [204] * 10
        daemon.kill()
        daemon.start()
        daemon.wait_settled()
        lines = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
        assert sorted(lines) == list(range(10))
        assert daemon.cli("journal", "check", str(daemon.config)).returncode == 0


@pytest.mark.parametrize("name", ["journal.db-wal", "journal.db-shm", "lock"])
@pytest.mark.parametrize("kill", [True, False])
def test_what_was_answered_outlives_the_loss_of_any_file_but_the_database(
    tmp_path: Path, name: str, *, kill: bool
) -> None:
    """While the WAL is open what is in it can be put into the database."""
    with running(tmp_path, ALL) as daemon:
        assert [pushed(daemon, number) for number in range(50)] == [204] * 50
        (tmp_path / "state" / name).unlink()
        assert pushed(daemon, 100) == 503
        until(lambda: "the journal's files are gone" in said(daemon))
        time.sleep(0.3)
        if kill:
            daemon.kill()
        else:
            daemon.stop()
        daemon.start()
        assert pushed(daemon, 100) == 204
        daemon.wait_settled()
        lines = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
        assert sorted(lines) == [*range(50), 100]
        assert daemon.status()["journal"]["lost"] == 0


def test_the_end_of_a_router_whose_folder_is_gone_leaves_another_one_in_its_place_alone(tmp_path: Path) -> None:
    """What an operator puts there from a backup, WAL and all, is not deleted by who ends."""
    with running(tmp_path, ALL) as daemon:
        assert [pushed(daemon, number) for number in range(5)] == [204] * 5
        state = tmp_path / "state"
        shutil.copytree(state, tmp_path / "backup")
        state.rename(tmp_path / "elsewhere")
        (tmp_path / "backup").rename(state)
        before = (state / "journal.db-wal").read_bytes()
        until(lambda: ready(daemon) == 503)
        daemon.stop()
        assert (state / "journal.db-wal").read_bytes() == before
        daemon.start()
        assert daemon.status()["journal"]["head"] == 6
        assert daemon.status()["journal"]["lost"] == 0
