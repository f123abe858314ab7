"""P1 and P3, attacked: kill -9 at each station of an event's way; nothing answered is lost, the books balance.

The daemon ends itself at a call that the test names (`servers/deadly.py`), so each station is hit for certain. After
it was started again, what was not answered is posted again, as the service does; then every answered result must be
in the file once, and at the webhook, or be its dead letter; what came twice there has the same id.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import aiohttp
import anyio
import pytest
from aiohttp import web
from servers.daemon import Daemon, post
from servers.hook import answering

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DEADLY = Path(__file__).parents[1] / "servers" / "deadly.py"
COUNT = 80
NOTHING = ""

STATIONS = {
    "read, not appended": ("router.intake:Intake.emit", "before", 15, "-", NOTHING),  # of 20 at least, four at a time
    "in the middle of the commit": ("router.journal.database:Database._write", "before", 3, "-", NOTHING),
    "at the end of the commit": ("router.journal.database:Database._write", "after", 3, "-", NOTHING),
    "committed, not answered": ("router.journal.writer:Writer._store", "after", 5, "-", NOTHING),
    "answered, not delivered": ("router.delivery:Delivery._call", "before", 6, "-", NOTHING),
    "delivered, not noted": ("router.reckoning:Reckoning.book", "before", 6, "-", NOTHING),
    "delivered and noted, not committed": ("router.reckoning:Reckoning.book", "after", 6, "-", NOTHING),
    "before it is parked": ("router.journal.records:Records.apply", "before", 1, "parked", NOTHING),
    "while it is parked": ("router.journal.records:Records.apply", "after", 1, "parked", NOTHING),
    "taken up again from where it is parked": ("router.journal.records:Records.apply", "after", 1, "unparked", NOTHING),
    "before a dead letter": ("router.journal.records:Records.apply", "before", 1, "dead", NOTHING),
    "while a dead letter is written": ("router.journal.records:Records.apply", "after", 1, "dead", NOTHING),
    "while dead letters are replayed": ("router.tally:Tally.replay", "after", 1, "-", "replay"),
    "while the replay is written": ("router.journal.records:Records.apply", "after", 1, "undead", "replay"),
    "in the middle of a reload": ("router.roster:Roster.run", "before", 2, "-", "reload"),
    "at the end of a reload": ("router.roster:Roster.run", "after", 2, "-", "reload"),
    "in the middle of a sweep": ("router.journal.batches:Batches.sweep", "after", 2, "-", "sweep"),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Hook:
    """Fails twice with every tenth result, and refuses others until it is well; notes the ids that it took."""

    def __init__(self) -> None:
        self.well = False
        self.took: Counter[str] = Counter()
        self.ids: dict[str, set[str]] = {}
        self.url = ""
        self._failed: Counter[str] = Counter()

    async def take(self, request: web.Request) -> web.Response:
        event = json.loads(await request.read())
        number = event["env_id"]
        if not self.well and int(number) % 10 == 7:
            return web.Response(status=400)
        if int(number) % 10 == 3 and self._failed[number] < 2:
            self._failed[number] += 1
            return web.Response(status=500)
        self.took[number] += 1
        self.ids.setdefault(number, set()).add(event["id"])
        return web.Response(status=204)


@asynccontextmanager
async def hook() -> AsyncGenerator[Hook]:
    made = Hook()
    async with answering(made.take) as made.url:
        yield made


def daemon_for(folder: Path, url: str, retention: str = "10ms") -> Daemon:
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      file: {{to: {{type: file, path: "{{out}}/all.jsonl"}}}}
      hook:
        to: {{type: webhook, url: "{url}"}}
        delivery: {{tries: 1, in_flight: 4, schedule: [100ms, 100ms, 100ms], breaker: {{failures: 50, window: 100}}}}
"""
    return Daemon(folder, departments, top=f"journal: {{type: sqlite, retention: {retention}}}")


async def wait_dead(daemon: Daemon) -> None:
    process = daemon.process
    assert process
    with anyio.fail_after(15):
        while process.poll() is None:
            await anyio.sleep(0.02)
    assert process.returncode == -signal.SIGKILL


async def wait_idle(daemon: Daemon, **counts: int) -> None:
    """Wait until nothing is pending or parked, and the webhook's counters are as said."""
    with anyio.fail_after(30):
        while True:
            found = daemon.status()["subscriptions"]
            busy = [n for n, s in found.items() if s["pending"] or s["parked"]]
            if not busy and all(found["a/hook"][name] == count for name, count in counts.items()):
                return
            await anyio.sleep(0.05)


async def replay(daemon: Daemon) -> None:
    url = f"http://127.0.0.1:{daemon.admin}/dead/a/hook/replay"
    async with aiohttp.ClientSession() as session:
        with suppress(aiohttp.ClientError):  # it may die before it answers
            await session.post(url, json={"per_second": 1000})


async def act(daemon: Daemon, action: str) -> None:
    """Bring the daemon to the station, when posting alone does not."""
    if action == "replay":
        await wait_idle(daemon, dead=COUNT // 10)
        await replay(daemon)
    elif action == "sweep":
        await wait_idle(daemon)
        await anyio.sleep(1.2)  # it looks for what may go once in a second, when something is written
        await post(daemon.url, range(COUNT, COUNT + 9), {}, connections=1)
    elif action == "reload":
        text = daemon.config.read_text().rstrip("\n")
        daemon.config.write_text(f"{text}\n      more: {{to: {{type: file, path: {daemon.out}/more.jsonl}}}}\n")
        assert daemon.process
        daemon.process.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("station", STATIONS)
async def test_killed_here_nothing_answered_is_lost_and_the_books_balance(station: str, tmp_path: Path) -> None:
    place, when, count, word, action = STATIONS[station]
    answered: dict[int, int] = {}
    async with hook() as destination:
        daemon = daemon_for(tmp_path, destination.url)
        try:
            daemon.start((str(DEADLY), place, when, str(count), word))
            await post(daemon.url, range(COUNT), answered, connections=4)
            await act(daemon, action)
            await wait_dead(daemon)
            daemon.start()
            await post(daemon.url, [n for n in range(COUNT) if answered.get(n) != 204], answered, connections=4)
            await wait_idle(daemon)
            destination.well = True
            await replay(daemon)
            await wait_idle(daemon, dead=0)
            balance = daemon.verify()
            assert await anyio.to_thread.run_sync(daemon.stop) == 0
        finally:
            if daemon.process and daemon.process.poll() is None:
                daemon.kill()
        assert balance["ok"], balance
        assert set(answered.values()) == {204}
        lines = Counter(int(line["env_id"]) for line in daemon.lines("all.jsonl"))
        assert lines.keys() >= answered.keys()
        assert set(lines.values()) == {1}, "in a file each result is there once"
        assert destination.took.keys() >= {str(n) for n in range(COUNT)}
        assert {len(ids) for ids in destination.ids.values()} == {1}, "a copy has the id of the first"
        assert max(destination.took.values()) <= 2, "one kill makes one copy more at most"


def damage(journal: Path) -> None:
    """Break the oldest row, whose events are all settled, so that there is something to repair."""
    with closing(sqlite3.connect(journal)) as sql, sql:
        sql.execute("UPDATE batches SET crc = crc + 1 WHERE first = (SELECT min(first) FROM batches)")


@pytest.mark.parametrize(
    ("command", "place", "when"),
    [
        (("journal", "compact"), "router.journal.batches:Batches.sweep", "after"),
        (("journal", "compact"), "router.journal.upkeep:Upkeep.compact", "after"),
        (("journal", "check", "--repair"), "router.journal.upkeep:Upkeep.repair", "before"),
        (("journal", "check", "--repair"), "router.journal.upkeep:Upkeep.repair", "after"),
    ],
)
async def test_killed_while_the_journal_is_looked_after_nothing_is_lost(
    command: tuple[str, ...], place: str, when: str, tmp_path: Path
) -> None:
    answered: dict[int, int] = {}
    async with hook() as destination:
        daemon = daemon_for(tmp_path, destination.url, "1h")
        try:
            daemon.start()
            await post(daemon.url, range(COUNT), answered, connections=4)
            await wait_idle(daemon)
            daemon.kill()
            damage(tmp_path / "state" / "journal.db")
            deadly = [sys.executable, str(DEADLY), place, when, "1", "-", *command, str(daemon.config)]
            done = await anyio.to_thread.run_sync(
                lambda: subprocess.run(deadly, capture_output=True, text=True, check=False, timeout=30)
            )
            assert done.returncode == -signal.SIGKILL, done.stderr
            again = await anyio.to_thread.run_sync(lambda: daemon.cli(*command, str(daemon.config)))
            assert again.returncode == 0, again.stdout + again.stderr
            daemon.start()
            await post(daemon.url, range(COUNT, COUNT + 9), answered, connections=1)
            await wait_idle(daemon)
            assert daemon.verify()["ok"]
        finally:
            if daemon.process and daemon.process.poll() is None:
                daemon.kill()
        assert {int(line["env_id"]) for line in daemon.lines("all.jsonl")} == set(range(COUNT + 9))
