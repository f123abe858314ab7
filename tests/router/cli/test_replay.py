"""What is past is delivered again: by an operator, beside what is new, across kills, reloads and pauses."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from servers.daemon import Daemon, post, running
from servers.hook import hook

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def departments(url: str) -> str:
    return f"""
  a:
    accounts: ["*"]
    subscriptions:
      hook: {{to: {{type: webhook, url: "{url}"}}, delivery: {{retry_min: 10ms, retry_max: 50ms}}}}
      file: {{to: {{type: file, path: "{{out}}/all.jsonl"}}}}
"""


async def told(daemon: Daemon, *arguments: str, name: str = "a/hook") -> tuple[int, str]:
    done = await anyio.to_thread.run_sync(lambda: daemon.cli("replay", str(daemon.config), name, *arguments))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


async def replays(daemon: Daemon, name: str = "a/hook") -> list[dict[str, Any]]:
    code, said = await told(daemon, "--json", name=name)
    assert code == 0, said
    return [json.loads(line)["replay"] for line in said.splitlines()]


async def until_over(daemon: Daemon, name: str = "a/hook") -> list[dict[str, Any]]:
    with anyio.fail_after(40):
        while True:
            found = await replays(daemon, name)
            if all(one["state"] != "running" for one in found):
                return found
            await anyio.sleep(0.1)


async def filled(daemon: Daemon, count: int) -> None:
    await post(daemon.url, range(count), {})
    await anyio.to_thread.run_sync(daemon.wait_settled)


async def test_a_range_is_delivered_again_under_the_same_ids_and_the_books_balance(tmp_path: Path) -> None:
    """Through an extra match; a file gets it appended."""
    async with hook() as destination:
        with running(tmp_path, departments(destination.url)) as daemon:
            await filled(daemon, 30)
            code, said = await told(daemon, "--since", "1h", "--match", "{env_id: [3, 5, 7]}", "--wait")
            assert code == 0, said
            (done,) = await replays(daemon)
            assert (done["state"], done["delivered"], done["filtered"]) == ("done", 3, 27)
            again = destination.ids[30:]
            assert sorted(destination.got[30:]) == ["3", "5", "7"]
            assert set(again) <= set(destination.ids[:30])
            assert (await told(daemon, "--since", "1h", name="a/file"))[0] == 0
            await until_over(daemon, "a/file")
            assert Counter(Counter(line["env_id"] for line in daemon.lines("all.jsonl")).values()) == {2: 30}
            status = daemon.status()["subscriptions"]["a/hook"]
            assert (status["journalled"], status["delivered"], status["pending"]) == (33, 33, 0)
            assert daemon.verify()["ok"]


async def test_a_dry_run_counts_and_shows_by_the_config_of_the_file_and_sends_nothing(tmp_path: Path) -> None:
    async with hook() as destination:
        with running(tmp_path, departments(destination.url)) as daemon:
            await filled(daemon, 10)
            text = daemon.config.read_text()
            daemon.config.write_text(text.replace("hook: {to:", "hook: {match: {env_id: {range: [0, 4]}}, to:"))
            code, said = await told(daemon, "--since", "1h", "--dry-run", "--match", "{env_id: {not: 2}}", "--json")
            found = json.loads(said)
            assert (code, found["events"], found["filtered"], found["first"], found["end"]) == (0, 4, 6, 1, 11)
            assert [sample["env_id"] for sample in found["samples"]] == ["0", "1", "3"]
            code, said = await told(daemon, "--since", "1h", "--dry-run", "--match", "{env_id: {not: 2}}")
            assert "4 events would go out" in said
            assert await replays(daemon) == []
            assert len(destination.got) == 10


async def test_a_replay_goes_on_after_kills_and_loses_nothing(tmp_path: Path) -> None:
    """With kill -9, at whatever it is doing; what was under way may come once more."""
    async with hook() as destination:
        with running(tmp_path, departments(destination.url)) as daemon:
            await filled(daemon, 200)
            destination.got.clear()
            assert (await told(daemon, "--since", "1h", "--per-second", "40"))[0] == 0
            for lap in range(3):
                await anyio.sleep(0.4)
                await anyio.to_thread.run_sync(daemon.kill)
                assert lap or len(set(destination.got)) < 200
                await anyio.to_thread.run_sync(daemon.start)
            (done,) = await until_over(daemon)
            assert done["delivered"] == 200
            assert set(destination.got) == {str(n) for n in range(200)}
            assert (await anyio.to_thread.run_sync(daemon.verify))["ok"]


async def test_while_a_replay_goes_into_a_file_kills_double_no_new_event_and_few_that_are_replayed(
    tmp_path: Path,
) -> None:
    """No more than what was handed out at once, a quarter of a second's worth, for each kill."""
    with running(tmp_path, departments("http://127.0.0.1:1/")) as daemon:
        await post(daemon.url, range(300), {})
        await anyio.to_thread.run_sync(daemon.wait_settled, "a/file")
        assert (await told(daemon, "--since", "1h", "--per-second", "200", name="a/file"))[0] == 0
        for lap in range(3):
            answered: dict[int, int] = {}
            await post(daemon.url, range(1000 + 50 * lap, 1050 + 50 * lap), answered)
            assert set(answered.values()) == {204}
            await anyio.to_thread.run_sync(daemon.kill)
            await anyio.to_thread.run_sync(daemon.start)
        await until_over(daemon, "a/file")
        await anyio.to_thread.run_sync(daemon.wait_settled, "a/file")
        counts = Counter(line["env_id"] for line in daemon.lines("all.jsonl"))
        assert {n for n, count in counts.items() if count == 1} == {str(n) for n in range(1000, 1150)}
        assert {n for n, count in counts.items() if count > 1} == {str(n) for n in range(300)}
        assert sum(counts[str(n)] - 2 for n in range(300)) <= 3 * 50
        assert daemon.verify()["ok"]


async def test_a_reload_a_pause_and_a_stop_while_a_replay_runs(tmp_path: Path) -> None:
    async with hook() as destination:
        with running(tmp_path, departments(destination.url)) as daemon:
            await filled(daemon, 100)
            config = str(daemon.config)
            daemon.cli("pause", config, "a/hook")
            await told(daemon, "--since", "1h", "--per-second", "2")
            await told(daemon, "--since", "1h", "--per-second", "1000", "--match", "{env_id: 1}")
            code, said = await told(daemon, "--json")
            assert "the subscription is paused" in said
            assert "behind replay 1" in said
            daemon.config.write_text(daemon.config.read_text().replace("retry_max: 50ms", "retry_max: 60ms"))
            done = await anyio.to_thread.run_sync(lambda: daemon.cli("reload", config))
            assert "changed: a/hook" in done.stdout
            daemon.cli("resume", config, "a/hook")
            await anyio.sleep(0.3)
            code, said = await told(daemon, "--stop", "--number", "1")
            assert (code, (await replays(daemon))[0]["state"]) == (0, "stopped")
            code, said = await told(daemon, "--stop", "--number", "1")
            assert (code, said) == (1, "router: replay 1 is stopped already\n")
            assert (await told(daemon, "--resume", "--per-second", "1000", "--wait"))[0] == 0
            first, second = await replays(daemon)
            assert (first["delivered"], second["delivered"]) == (100, 1)
            assert (await anyio.to_thread.run_sync(daemon.verify))["ok"]


async def test_dead_letters_of_the_range_get_another_life_and_a_destination_that_is_down_is_waited_for(
    tmp_path: Path,
) -> None:
    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, departments(destination.url)) as daemon:
            await filled(daemon, 20)
            assert daemon.status()["subscriptions"]["a/hook"]["dead"] == 20
            destination.status = 503
            await told(daemon, "--since", "1h", "--per-second", "1000")
            await anyio.sleep(1)
            assert (await replays(daemon))[0]["delivered"] == 0
            destination.status = 204
            assert len(await until_over(daemon)) == 1
            with anyio.fail_after(20):
                while daemon.status()["subscriptions"]["a/hook"]["delivered"] < 20:
                    await anyio.sleep(0.1)
            status = daemon.status()["subscriptions"]["a/hook"]
            assert (status["journalled"], status["delivered"], status["dead"]) == (20, 20, 0)
            assert daemon.verify()["ok"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--since", "1h", "--match", "{regoin: x}"), 1, "did you mean `region`"),
        (("--since", "1h", "--match", "["), 2, "no valid YAML"),
        (("--since", "soon"), 2, "2026-11-24T08:00Z"),
        (("--since", "1h", "--until", "2h"), 1, "`until` is not after `since`"),
        (("--since", "2001-01-01", "--until", "2001-01-02"), 1, "is past nothing that was stored within that time"),
        (("--since", "1h", "--per-second", "0"), 2, "0.001"),
        (("--since", "1h", "--stop"), 2, "one of --since"),
        (("--until", "1h"), 2, "go with --since"),
        (("--stop",), 1, "no replay of a/hook is running"),
        (("--resume",), 1, "no replay of a/hook was stopped"),
        (("--stop", "--number", "7"), 1, "no replay 7"),
    ],
)
async def test_a_mistake_is_a_line_with_the_likely_fix(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    with running(tmp_path, departments("http://127.0.0.1:1/")) as daemon:
        found, text = await told(daemon, *arguments)
        assert (await told(daemon, "--since", "1h", name="a/hok"))[1].endswith("(did you mean `a/hook`?)\n")
    assert found == code, text
    assert said in text
