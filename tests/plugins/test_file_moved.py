"""The file sink while somebody moves, removes or cuts its files: no line twice, whenever the router crashes."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from router import Event, Marks
from router.testing import make_events
from router_plugins import append
from router_plugins.file import File

pytestmark = pytest.mark.anyio

Rotate: TypeAlias = Callable[[Path], None]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Kept(Marks):
    """Positions as the engine keeps them: what is asked to be kept outlives a crash, with all that is delivered."""

    def __init__(self, marks: Mapping[str, int], committed: dict[str, int], settle: Callable[[], None]) -> None:
        super().__init__(marks)
        self._committed = committed
        self._settle = settle

    async def keep(self, marks: Mapping[str, int]) -> None:
        self._settle()
        self._committed.update(marks)


class Router:
    """Delivers events in order to one file, and crashes; what was not committed comes again."""

    def __init__(self, path: Path, events: Sequence[Event]) -> None:
        self.path = path
        self.events = list(events)
        self.delivered = 0
        self._came = 0
        self.committed = 0
        self._marks: dict[str, int] = {}
        self._pending: dict[str, int] = {}

    def commit(self) -> None:
        self.committed = self.delivered
        self._marks.update(self._pending)
        self._pending = {}

    def _receive(self, end: int) -> None:
        """Let events come in just now that were not delivered before."""
        for number in range(self._came, end):
            event = self.events[number]
            self.events[number] = replace(event, message=replace(event.message, received=time.time()), encoded=None)
        self._came = max(self._came, end)

    async def run(self, *steps: int | Rotate) -> None:
        """Deliver so many events, or do something to the file, one step after the other; then crash."""
        self.delivered, self._pending = self.committed, {}
        marks = Kept(dict(self._marks), self._marks, self.commit)
        async with File(path=str(self.path)).resume(marks) as place:
            for step in steps:
                if callable(step):
                    step(self.path)
                    continue
                end = min(self.delivered + step, len(self.events))
                self._receive(end)
                changed = await place(self.events[self.delivered : end])
                self._pending.update(changed)
                self.delivered = end


def moved(path: Path) -> None:
    """As logrotate does: the newest is .1."""
    for number in range(99, 0, -1):
        if (old := path.with_name(f"{path.name}.{number}")).exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    if path.exists():
        path.rename(path.with_name(f"{path.name}.1"))


def moved_below(path: Path) -> None:
    (path.parent / "old").mkdir(exist_ok=True)
    path.rename(path.parent / "old" / f"{path.name}-{random.random()}")


def moved_and_made(path: Path) -> None:
    moved(path)
    path.touch()


def copied_and_cut(path: Path) -> None:
    shutil.copy(path, path.with_name(f"{path.name}-20261130"))
    os.truncate(path, 0)


def removed(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def nothing(path: Path) -> None:
    pass


ALL: Sequence[Rotate] = (moved, moved_below, moved_and_made, copied_and_cut, removed, cut)
KEEP: Sequence[Rotate] = (moved, moved_below, moved_and_made, copied_and_cut)
"""Those after which every line is still there."""


def ids(folder: Path) -> list[str]:
    lines = [line for path in folder.rglob("log*") if path.is_file() for line in path.read_bytes().splitlines()]
    return [json.loads(line)["id"] for line in lines]


def twice(folder: Path) -> list[str]:
    return [id_ for id_, times in Counter(ids(folder)).items() if times > 1]


def wanted(events: Sequence[Event]) -> set[str]:
    return {event.id for event in events}


@pytest.mark.parametrize("rotate", ALL)
async def test_what_came_before_a_file_went_does_not_come_again(tmp_path: Path, rotate: Rotate) -> None:
    """Nothing was committed but what the sink asked for."""
    router = Router(tmp_path / "log", make_events(101))
    await router.run(50, rotate, 50)
    assert router.committed == 50
    await router.run(51)
    assert twice(tmp_path) == []
    assert wanted(router.events[50:]) <= set(ids(tmp_path))


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("rotate", KEEP)
async def test_a_file_that_went_after_the_last_line_is_found_again(
    tmp_path: Path, rotate: Rotate, *, committed: bool
) -> None:
    """Or while the router was down: its lines are not written to the new one again."""
    router = Router(tmp_path / "log", make_events(30))
    await router.run(10)
    if committed:
        router.commit()
    await router.run(10, rotate)
    await router.run(5)
    await router.run(3)
    router.commit()
    await router.run(30)
    assert twice(tmp_path) == []
    assert set(ids(tmp_path)) == wanted(router.events)


async def test_a_file_that_went_twice_is_found_again(tmp_path: Path) -> None:
    router = Router(tmp_path / "log", make_events(40))
    await router.run(10, moved, 10, moved, 10, moved)
    await router.run(40)
    assert twice(tmp_path) == []
    assert set(ids(tmp_path)) == wanted(router.events)


async def test_what_was_removed_comes_again_and_what_is_there_does_not(tmp_path: Path) -> None:
    router = Router(tmp_path / "log", make_events(40))
    await router.run(10)
    router.commit()
    await router.run(10, removed)
    await router.run(30)
    assert ids(tmp_path) == [event.id for event in router.events[10:]]


async def test_a_new_file_of_the_same_length_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    router = Router(tmp_path / "log", make_events(100, start=100))
    await router.run(50)
    router.commit()
    await router.run(nothing, moved, 50)
    assert (tmp_path / "log").stat().st_size == (tmp_path / "log.1").stat().st_size
    await router.run(50)
    assert twice(tmp_path) == []


async def test_another_subscriptions_file_with_the_same_lines_counts_for_nothing(tmp_path: Path) -> None:
    """It may even be further; only a file that is known by its inode, or is a copy by its name, is looked at."""
    router, other = Router(tmp_path / "log", make_events(20)), Router(tmp_path / "log.all", make_events(20))
    await other.run(20)
    await router.run(10, removed)
    await router.run(20)
    assert len(ids(tmp_path)) == 40


@pytest.mark.parametrize(
    ("rotate", "says"), [(moved, "file was moved"), (removed, "file was removed"), (cut, "file was cut")]
)
async def test_the_log_names_a_file_that_went(tmp_path: Path, rotate: Rotate, says: str) -> None:
    router = Router(tmp_path / "log", make_events(20))
    with capture_logs() as logs:
        await router.run(10, rotate, 10)
    assert [(one["event"], one["path"]) for one in logs] == [(says, str(tmp_path / "log"))]


async def test_the_log_names_a_file_that_went_while_the_router_was_down(tmp_path: Path) -> None:
    router = Router(tmp_path / "log", make_events(20))
    await router.run(10)
    moved(tmp_path / "log")
    with capture_logs() as logs:
        await router.run(20)
    assert [(one["event"], one["now"]) for one in logs] == [("file was moved or removed", str(tmp_path / "log.1"))]


@pytest.mark.parametrize("seed", range(40))
async def test_crashes_commits_and_rotations_at_random_lose_nothing_and_write_nothing_twice(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    router = Router(tmp_path / "log", make_events(200))
    while router.committed < len(router.events):
        steps: list[int | Rotate] = []
        for _ in range(chance.randint(0, 4)):
            if chance.random() < 0.3:
                steps.append(chance.choice((moved, moved_and_made)))
            else:
                steps.append(chance.randint(1, 12))
            if chance.random() < 0.3:
                steps.append(lambda _: router.commit())
        await router.run(*steps)
        if chance.random() < 0.2:
            moved(tmp_path / "log")
    assert twice(tmp_path) == []
    assert set(ids(tmp_path)) == wanted(router.events)


async def test_which_file_it_is_is_noted_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since the journal forgets what did not change for long."""
    monkeypatch.setattr(append, "REMINDER", 0.0)
    kept: list[dict[str, int]] = []

    class Noting(Marks):
        async def keep(self, marks: Mapping[str, int]) -> None:
            kept.append(dict(marks))
            monkeypatch.setattr(append, "REMINDER", 60.0)

    async with File(path=f"{tmp_path}/log").resume(Noting()) as place:
        await place(make_events(1))
        monkeypatch.setattr(append, "REMINDER", 0.0)
        await place(make_events(1, start=1))
    name = f"{(tmp_path / 'log').stat().st_ino}/{tmp_path}/log/"
    assert kept == [{name: -1, f"{tmp_path}/log": 0}, {name: -1}]
