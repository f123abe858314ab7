"""P1, P4: whatever a reload or a restart adds, removes or renames, nothing that was answered is lost without a word."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from servers.daemon import Daemon, post, running
from servers.hook import hook

pytestmark = pytest.mark.anyio

HEAD = '  a:\n    accounts: ["*"]\n    subscriptions:\n'
ALL = HEAD + '      all: {to: {type: file, path: "{out}/all.jsonl"}}\n'


def new(name: str = "new") -> str:
    return f'      {name}: {{to: {{type: file, path: "{{out}}/{name}.jsonl"}}}}\n'


def hooked(url: str, name: str = "hook", more: str = "") -> str:
    return (
        f'      {name}: {{to: {{type: webhook, url: "{url}"}}, delivery: {{retry_min: 10ms, retry_max: 20ms{more}}}}}\n'
    )


def rewritten(daemon: Daemon, departments: str, top: str = "") -> None:
    """Give the daemon's config other departments."""
    text = daemon.config.read_text()
    head = text[: text.index("departments:")]
    daemon.config.write_text(f"{head}{top}\ndepartments:\n{departments.replace('{out}', str(daemon.out))}\n")


async def told(daemon: Daemon, *arguments: str) -> tuple[int, str]:
    command, *rest = arguments
    done = await anyio.to_thread.run_sync(lambda: daemon.cli(command, str(daemon.config), *rest))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


async def status(daemon: Daemon) -> Any:
    return await anyio.to_thread.run_sync(daemon.status)


async def until(daemon: Daemon, name: str, **wanted: object) -> None:
    with anyio.fail_after(30):
        while True:
            one = (await status(daemon))["subscriptions"][name]
            if all(one[key] == value for key, value in wanted.items()):
                return
            await anyio.sleep(0.02)


async def restart(daemon: Daemon, *, kill: bool = False) -> None:
    await anyio.to_thread.run_sync(daemon.kill if kill else daemon.stop)
    await anyio.to_thread.run_sync(daemon.start)


def numbers(daemon: Daemon, pattern: str) -> list[str]:
    return sorted((line["env_id"] for line in daemon.lines(pattern)), key=int)


async def test_what_was_answered_after_a_reload_is_there_for_what_it_added_after_a_kill(tmp_path: Path) -> None:
    """Where it begins is on disk before the reload answers, at once or not."""
    with running(tmp_path, ALL) as daemon:
        async with aiohttp.ClientSession() as session:
            departments = ALL
            for round_ in range(6):
                departments += new(f"new{round_}")
                rewritten(daemon, departments)
                answered: dict[int, int] = {}
                await post(daemon.url, [round_ * 10], answered)
                async with session.post(f"http://127.0.0.1:{daemon.admin}/reload", json={}) as response:
                    assert response.status == 200
                await post(daemon.url, [round_ * 10 + 1, round_ * 10 + 2], answered, connections=1)
                assert set(answered.values()) == {204}
                await restart(daemon, kill=True)
                await anyio.to_thread.run_sync(daemon.wait_settled)
        for round_ in range(6):
            wanted = [n for n in map(int, numbers(daemon, "all.jsonl")) if n > round_ * 10]
            assert list(map(int, numbers(daemon, f"new{round_}.jsonl"))) == wanted
        assert daemon.verify()["ok"]


@asynccontextmanager
async def unwritable(daemon: Daemon) -> AsyncGenerator[None]:
    """Let nothing be appended to the journal's files, as a disk that fails."""
    assert daemon.process
    unlimited = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1024, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)


async def test_a_reload_whose_beginnings_cannot_be_kept_changes_nothing_and_says_so(tmp_path: Path) -> None:
    with running(tmp_path, ALL) as daemon:
        rewritten(daemon, ALL + new())
        async with unwritable(daemon):
            code, said = await told(daemon, "reload")
            assert list((await status(daemon))["subscriptions"]) == ["a/all"]
        assert (code, "a/new" in said, "cannot be kept" in said) == (1, True, True)
        assert (await told(daemon, "reload"))[0] == 0
        await post(daemon.url, [1, 2], {})
        await restart(daemon, kill=True)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        assert numbers(daemon, "new.jsonl") == ["1", "2"]


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("resume", "active")])
async def test_an_operator_is_answered_only_when_it_outlives_the_process(
    tmp_path: Path, command: str, state: str
) -> None:
    with running(tmp_path, ALL) as daemon:
        if command == "resume":
            await told(daemon, "pause", "a/all")
        async with unwritable(daemon):
            code, said = await told(daemon, command, "a/all")
        assert code == 1
        assert "not on disk yet" in said
        with anyio.fail_after(20):  # it is tried again
            while (await status(daemon))["journal"]["failing"]:
                await anyio.sleep(0.05)
        for _ in range(3):
            assert (await told(daemon, command, "a/all"))[0] == 0
            await restart(daemon, kill=True)
            assert (await status(daemon))["subscriptions"]["a/all"]["state"] == state


async def test_dead_letters_are_left_and_dropped_only_when_told_and_counted(tmp_path: Path) -> None:
    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, ALL + hooked(destination.url)) as daemon:
            await post(daemon.url, range(3), {})
            await until(daemon, "a/hook", dead=3, pending=0)
            rewritten(daemon, ALL)
            code, said = await told(daemon, "reload")
            assert code == 1
            assert "a/hook (3 dead letters)" in said
            assert (await status(daemon))["subscriptions"]["a/hook"]["dead"] == 3
            code, said = await told(daemon, "reload", "--drop")
            assert (code, said.splitlines()[-1]) == (0, "dropped: a/hook: 3 dead letters")
            assert not (await status(daemon))["orphans"]


async def test_what_is_left_of_a_drain_stays_and_goes_on_when_it_is_put_back(tmp_path: Path) -> None:
    """A paused one delivers nothing however long it drains; it is kept, over a restart too."""
    async with hook() as destination:
        with running(tmp_path, ALL + hooked(destination.url)) as daemon:
            await told(daemon, "pause", "a/hook")
            await post(daemon.url, range(50), {})
            rewritten(daemon, ALL)
            code, said = await told(daemon, "reload", "--drain", "1s")
            assert code == 0
            assert "50 events" in said
            with anyio.fail_after(20):
                while "a/hook" in (await status(daemon))["subscriptions"]:
                    await anyio.sleep(0.05)
            await post(daemon.url, range(100, 110), {})
            assert (await status(daemon))["orphans"] == {"a/hook": {"pending": 50, "parked": 0, "dead": 0}}
            assert "drained for too long" in (tmp_path / "router.log").read_text()
            await restart(daemon)
            assert (await status(daemon))["orphans"] == {"a/hook": {"pending": 50, "parked": 0, "dead": 0}}
            rewritten(daemon, ALL + hooked(destination.url))
            await told(daemon, "reload")
            await told(daemon, "resume", "a/hook")
            await until(daemon, "a/hook", pending=0, delivered=60)
            assert daemon.verify()["ok"]


async def test_a_subscription_that_keeps_up_is_removed_while_results_come_in(tmp_path: Path) -> None:
    """Something is always under way; what was there at the reload is delivered, and then it is gone."""
    async with hook() as destination:
        with running(tmp_path, ALL + hooked(destination.url)) as daemon:
            answered: dict[int, int] = {}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: post(daemon.url, range(100_000), answered))
                await anyio.sleep(1)
                before = set(answered)
                rewritten(daemon, ALL)
                assert (await told(daemon, "reload"))[0] == 0
                assert before <= {int(n) for n in destination.got}
                now = await status(daemon)
                tasks.cancel_scope.cancel()
            assert "a/hook" not in now["subscriptions"]
            assert not now["orphans"]


async def test_who_is_no_longer_in_the_config_is_shown_protected_and_forgotten_by_name(tmp_path: Path) -> None:
    """A restart with a subscription removed: its events and dead letters stay, however short the retention is."""
    kept = "journal: {type: sqlite, retention: 1s}"
    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, ALL + hooked(destination.url), top=kept) as daemon:
            await post(daemon.url, range(2), {})
            await until(daemon, "a/hook", dead=2, pending=0)
            await told(daemon, "pause", "a/hook")
            await post(daemon.url, range(10, 20), {})
            await anyio.to_thread.run_sync(daemon.wait_settled, "a/all")
            await anyio.to_thread.run_sync(daemon.stop)
            rewritten(daemon, ALL)
            assert [b["name"] for b in daemon.verify()["subscriptions"] if b["orphan"]] == ["a/hook"]
            await anyio.to_thread.run_sync(daemon.start)
            await post(daemon.url, range(30, 35), {})
            await anyio.sleep(3)  # longer than the retention
            left = {"pending": 10, "parked": 0, "dead": 2}
            assert (await status(daemon))["orphans"] == {"a/hook": left}
            assert (await status(daemon))["journal"]["tail"] <= 3
            (warning,) = [
                json.loads(x) for x in (tmp_path / "router.log").read_text().splitlines() if "in the state" in x
            ]
            assert left.items() <= warning.items()
            (row,) = [b for b in daemon.verify()["subscriptions"] if b["orphan"]]
            assert (row["pending"], row["dead"], row["problem"]) == (10, 2, "")
            metrics = f"http://127.0.0.1:{daemon.admin}/metrics"
            async with aiohttp.ClientSession() as session, session.get(metrics) as response:
                assert 'router_orphan_pending{subscription="a/hook"} 10.0' in await response.text()
            listed = await anyio.to_thread.run_sync(
                lambda: daemon.cli("dead", "list", str(daemon.config), "a/hook", "--json")
            )
            assert len(listed.stdout.splitlines()) == 2
            assert "a/hook" in (await told(daemon, "status"))[1]
            assert "not in the config" in (await told(daemon, "explain", "r15@example.net"))[1]
            assert (await told(daemon, "forget-subscription", "a/all"))[0] == 1
            code, said = await told(daemon, "forget-subscription", "a/hook")
            assert code == 0
            assert "10 events, 2 dead letters" in said
            await restart(daemon, kill=True)
            assert not (await status(daemon))["orphans"]
            with anyio.fail_after(20):
                while (await status(daemon))["journal"]["tail"] < 15:
                    await anyio.sleep(0.1)


async def test_a_subscription_is_forgotten_in_a_stopped_state_too(tmp_path: Path) -> None:
    with running(tmp_path, ALL + new()) as daemon:
        await post(daemon.url, range(3), {})
        await anyio.to_thread.run_sync(daemon.stop)
        rewritten(daemon, ALL)
        assert (await told(daemon, "forget-subscription", "a/all"))[0] == 1
        assert (await told(daemon, "forget-subscription", "a/nwe"))[1].endswith("did you mean `a/new`?)\n")
        assert (await told(daemon, "forget-subscription", "a/new"))[0] == 0
        assert [b["name"] for b in daemon.verify()["subscriptions"]] == ["a/all"]


@pytest.mark.parametrize("reload", [True, False], ids=["reload", "restart"])
async def test_a_renamed_subscription_takes_its_books_along(tmp_path: Path, *, reload: bool) -> None:
    """Place, pending events, dead letters; and again and again, for the old name is gone then."""
    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, ALL + hooked(destination.url)) as daemon:
            await post(daemon.url, range(2), {})
            await until(daemon, "a/hook", dead=2, pending=0)
            await told(daemon, "pause", "a/hook")
            await post(daemon.url, range(10, 20), {})
            rewritten(daemon, ALL + hooked(destination.url, "other"), "rename: {a/hook: a/other}")
            if reload:
                code, said = await told(daemon, "reload")
                assert (code, said.splitlines()[-1]) == (0, "renamed: a/hook is a/other")
            await restart(daemon, kill=reload)
            now = await status(daemon)
            assert not now["orphans"]
            other = now["subscriptions"]["a/other"]
            assert (other["state"], other["pending"], other["dead"], other["journalled"]) == ("paused", 10, 2, 12)
            destination.status = 204
            await told(daemon, "resume", "a/other")
            assert (
                "2 dead letters"
                in (
                    await anyio.to_thread.run_sync(lambda: daemon.cli("dead", "replay", str(daemon.config), "a/other"))
                ).stdout
            )
            await until(daemon, "a/other", delivered=12, dead=0)
            assert sorted(map(int, destination.got)) == [0, 1, *range(10, 20)]
            assert daemon.verify()["ok"]


async def test_two_subscriptions_never_become_one(tmp_path: Path) -> None:
    with running(tmp_path, ALL + new() + new("old")) as daemon:
        rewritten(daemon, ALL + new(), "rename: {a/old: a/new}")
        code, said = await told(daemon, "reload")
        assert code == 1
        assert "two cannot become one" in said
        assert sorted((await status(daemon))["subscriptions"]) == ["a/all", "a/new", "a/old"]
        await anyio.to_thread.run_sync(daemon.stop)
        assert (await told(daemon, "run"))[0] == 78
        rewritten(daemon, ALL + new() + new("old"), "rename: {a/old: a/new}")
        code, said = await told(daemon, "check")
        assert code == 78
        assert "there is a subscription `a/old`" in said
