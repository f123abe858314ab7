"""What an operator does to a running daemon: dead letters, pause, resume, reload; and who may not."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import aiohttp
import anyio
import pytest
from servers.daemon import Daemon, post, running
from servers.hook import hook

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def departments(url: str, more: str = "") -> str:
    return f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook: {{to: {{type: webhook, url: "{url}"}}, delivery: {{retry_min: 10ms, retry_max: 50ms}}}}
{more}
"""


async def told(daemon: Daemon, *arguments: str) -> tuple[int, str]:
    """Type a command of the form `router COMMAND CONFIG ...`."""
    command, *rest = arguments
    done = await anyio.to_thread.run_sync(lambda: daemon.cli(*command.split(), str(daemon.config), *rest))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


async def until(daemon: Daemon, **wanted: int | str) -> None:
    with anyio.fail_after(20):
        while True:
            status = (await anyio.to_thread.run_sync(daemon.status))["subscriptions"]["a/hook"]
            if all(status[key] == value for key, value in wanted.items()):
                return
            await anyio.sleep(0.05)


async def test_dead_letters_are_listed_replayed_and_discarded(tmp_path: Path) -> None:
    """The way of an operator after a destination refused everything for a while."""
    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, departments(destination.url)) as daemon:
            await post(daemon.url, range(5), {})
            await until(daemon, dead=5, pending=0)
            _, listed = await told(daemon, "dead list", "a/hook", "--json")
            letters = [json.loads(line) for line in listed.splitlines()]
            assert sorted(letter["event"]["env_id"] for letter in letters) == ["0", "1", "2", "3", "4"]
            assert {(d["kind"], d["status"], d["attempts"]) for d in letters} == {("refused", 400, 1)}
            assert "refused" in (await told(daemon, "dead list", "a/hook"))[1]
            assert await told(daemon, "dead replay", "a/hook", "--kind", "exhausted") == (
                0, "0 dead letters are due again, 100 a second\n",
            )  # fmt: skip
            destination.status = 204
            assert (await told(daemon, "dead replay", "a/hook"))[1].startswith("5 dead letters")
            await until(daemon, delivered=5, dead=0, parked=0)
            assert sorted(destination.got) == ["0", "1", "2", "3", "4"]
            destination.status = 400
            await post(daemon.url, range(10, 12), {})
            await until(daemon, dead=2)
            assert (await told(daemon, "dead discard", "a/hook"))[1] == "2 dead letters discarded\n"
            assert (await told(daemon, "dead list", "a/hook", "--json"))[1] == ""
            assert daemon.verify()["ok"]


async def test_a_replay_goes_on_after_a_kill(tmp_path: Path) -> None:
    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, departments(destination.url)) as daemon:
            await post(daemon.url, range(20), {})
            await until(daemon, dead=20, pending=0)
            destination.status = 204
            await told(daemon, "dead replay", "a/hook", "--per-second", "10")
            await anyio.sleep(0.7)
            await anyio.to_thread.run_sync(daemon.kill)
            assert len(destination.got) < 20
            await anyio.to_thread.run_sync(daemon.start)
            await until(daemon, dead=0, parked=0, delivered=20)
            assert set(destination.got) == {str(n) for n in range(20)}
            assert daemon.verify()["ok"]


async def test_a_paused_subscription_waits_also_over_a_restart_and_goes_on_when_resumed(tmp_path: Path) -> None:
    async with hook() as destination:
        with running(tmp_path, departments(destination.url)) as daemon:
            assert (await told(daemon, "pause", "a/hook"))[0] == 0
            await post(daemon.url, range(3), {})
            await anyio.to_thread.run_sync(daemon.stop)
            await anyio.to_thread.run_sync(daemon.start)
            await until(daemon, state="paused", pending=3)
            assert not destination.got
            assert (await told(daemon, "resume", "a/hook"))[0] == 0
            await until(daemon, state="active", delivered=3)


async def test_a_destination_that_refuses_everything_is_held_shown_and_asked_again(tmp_path: Path) -> None:
    """An expired token: no dead letter, an alarm, intake goes on; and `resume` does not wait for the next probe."""
    async with hook() as destination:
        destination.status = 401
        with running(tmp_path, departments(destination.url)) as daemon:
            await post(daemon.url, range(200), {})
            await until(daemon, state="held", alarm=True)
            await anyio.to_thread.run_sync(daemon.stop)
            await anyio.to_thread.run_sync(daemon.start)
            await post(daemon.url, range(200, 210), {})
            await until(daemon, state="held", dead=0, delivered=0, parked=0)
            status = await anyio.to_thread.run_sync(daemon.status)
            hooked = status["subscriptions"]["a/hook"]
            assert status["ready"]
            assert set(hooked["failures_by"]) == {"401"}
            assert hooked["failures"] == hooked["failures_by"]["401"] > 0
            assert "answered 401" in hooked["last_error"]
            assert hooked["last_error_at"] > 1e9
            destination.status = 204
            assert await told(daemon, "resume", "a/hook") == (0, "a/hook delivers\n")
            await until(daemon, state="active", delivered=210, dead=0, last_error="", last_error_at=0, alarm=False)
            assert daemon.verify()["ok"]
    log = (tmp_path / "router.log").read_text()
    assert (log.count("held:"), log.count("released:")) in {(1, 0), (1, 1), (2, 0)}


async def test_resuming_says_what_waits_and_until_when(tmp_path: Path) -> None:
    """For what was parked has its time."""
    async with hook() as destination:
        destination.status = 503
        options = "delivery: {tries: 1, retry_min: 10ms, schedule: [1h]}"
        hooked = departments(destination.url).replace("delivery: {retry_min: 10ms, retry_max: 50ms}", options)
        with running(tmp_path, hooked) as daemon:
            await post(daemon.url, range(1), {})
            await until(daemon, parked=1)
            said = (await told(daemon, "resume", "a/hook"))[1]
    assert said.startswith("a/hook delivers; 1 parked event waits, the next is due 20")


async def test_a_destination_that_is_gone_stops_its_subscription_until_resumed(tmp_path: Path) -> None:
    async with hook() as destination:
        destination.status = 410
        with running(tmp_path, departments(destination.url)) as daemon:
            await post(daemon.url, range(3), {})
            await until(daemon, state="gone", pending=3, dead=0)
            destination.status = 204
            await told(daemon, "resume", "a/hook")
            await until(daemon, state="active", delivered=3)


async def test_reload_says_what_changes_and_a_mistake_changes_nothing(tmp_path: Path) -> None:
    async with hook() as destination:
        with running(tmp_path, departments(destination.url)) as daemon:
            good = daemon.config.read_text()
            more = f"      new: {{to: {{type: file, path: {tmp_path}/new.jsonl}}}}\n"
            daemon.config.write_text(good.rstrip("\n") + "\n" + more)
            assert (await told(daemon, "reload", "--plan"))[1] == "added: a/new; 2 unchanged\n"
            assert list(daemon.status()["subscriptions"]) == ["a/hook"]
            assert (await told(daemon, "reload"))[1] == "added: a/new; 2 unchanged\n"
            await post(daemon.url, range(4), {})
            await anyio.to_thread.run_sync(daemon.wait_settled)
            assert (tmp_path / "new.jsonl").read_bytes().count(b"\n") == 4
            assert len(destination.got) == 4


async def test_a_hangup_reloads_and_a_bad_file_is_logged_with_its_line(tmp_path: Path) -> None:
    """P8: the one that runs goes on."""
    async with hook() as destination:
        with running(tmp_path, departments(destination.url)) as daemon:
            assert daemon.process
            good = daemon.config.read_text()
            daemon.config.write_text(good.replace("accounts", "acounts"))
            daemon.process.send_signal(signal.SIGHUP)
            with anyio.fail_after(10):
                while "acounts" not in (tmp_path / "router.log").read_text():
                    await anyio.sleep(0.05)
            await post(daemon.url, range(3), {})
            await until(daemon, delivered=3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pause", "a/hok"), "`a/hook`"),
        (("dead list", "b/hook"), "no subscription"),
        (("dead replay", "a/hook", "--per-second", "0"), "0.001"),
    ],
)
async def test_a_mistake_is_a_line_with_the_likely_fix(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    with running(tmp_path, departments("http://127.0.0.1:1/")) as daemon:
        code, text = await told(daemon, *arguments)
    assert code in {1, 2}
    assert said in text


async def test_a_web_page_elsewhere_cannot_change_anything(tmp_path: Path) -> None:
    """No form can send JSON, and a name that was made to point here shows in Host."""
    with running(tmp_path, departments("http://127.0.0.1:1/")) as daemon:
        url = f"http://127.0.0.1:{daemon.admin}/pause/a/hook"
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data="{}", headers={"Content-Type": "text/plain"}) as response:
                assert response.status == 403
            async with session.post(url, json={}, headers={"Host": "evil.example"}) as response:
                assert response.status == 403
            async with session.post(url.replace("pause", "reload"), json={"drp": True}) as response:
                assert response.status in {400, 404}
        assert daemon.status()["subscriptions"]["a/hook"]["state"] == "active"
