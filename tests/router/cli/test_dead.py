"""Dead letters chosen by cause, time, match and position; and the token that guards what shows or changes things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import anyio
import pytest
from servers.daemon import Daemon, post, running
from servers.hook import hook

pytestmark = pytest.mark.anyio

TOKEN = "0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def departments(url: str) -> str:
    return f'  a: {{accounts: ["*"], subscriptions: {{hook: {{to: {{type: webhook, url: "{url}"}}}}}}}}'


async def cli(daemon: Daemon, words: str, *more: str) -> tuple[int, str]:
    group, _, command = words.partition(" ")
    parts = [group, command] if command else [group]
    done = await anyio.to_thread.run_sync(lambda: daemon.cli(*parts, str(daemon.config), "a/hook", *more))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


async def listed(daemon: Daemon, *more: str) -> list[str]:
    code, said = await cli(daemon, "dead list", "--json", *more)
    assert code == 0, said
    return sorted(json.loads(line)["event"]["env_id"] for line in said.splitlines())


async def until_dead(daemon: Daemon, count: int) -> None:
    with anyio.fail_after(20):
        while (await anyio.to_thread.run_sync(daemon.status))["subscriptions"]["a/hook"]["dead"] != count:
            await anyio.sleep(0.05)


@pytest.mark.parametrize("command", ["dead list", "dead show", "dead replay", "dead discard", "explain", "pause"])
def test_every_command_has_help_with_its_own_example(tmp_path: Path, command: str) -> None:
    done = Daemon(tmp_path, departments("")).cli(*command.split(), "--help")
    assert done.returncode == 0
    assert f"router {command} config/full.yaml" in done.stdout


async def test_dead_letters_are_chosen_by_match_time_cause_and_position(tmp_path: Path) -> None:
    async with hook() as destination:
        destination.status = 400
        with running(tmp_path, departments(destination.url)) as daemon:
            await post(daemon.url, range(4), {})
            await until_dead(daemon, 4)
            assert await listed(daemon, "--match", "{env_id: [1, 2]}") == ["1", "2"]
            assert await listed(daemon, "--kind", "exhausted") == []
            assert await listed(daemon, "--since", "1h") == ["0", "1", "2", "3"]
            assert await listed(daemon, "--until", "1h") == []
            soon = datetime.now(UTC) + timedelta(hours=1)
            beijing = soon + timedelta(hours=8)  # the zone of the config's decoder
            assert await listed(daemon, "--until", f"{beijing:%Y-%m-%dT%H:%M}") == ["0", "1", "2", "3"]
            assert await listed(daemon, "--until", f"{soon:%Y-%m-%dT%H:%M}") == []
            assert await listed(daemon, "--until", f"{soon:%Y-%m-%dT%H:%M}Z") == ["0", "1", "2", "3"]
            assert await listed(daemon, "--match", "{env_id: 3}", "--limit", "1") == ["3"]
            assert await listed(daemon, "--position", "2", "--position", "3", "--position", "99") == ["1", "2"]
            code, said = await cli(daemon, "dead show", "2")
            assert (code, json.loads(said)["position"]) == (0, 2)
            assert (await cli(daemon, "dead discard", "--position", "2"))[1] == "1 dead letters discarded\n"
            assert len(await listed(daemon)) == 3
            code, said = await cli(daemon, "dead show", "2")
            assert (code, said) == (1, "router: a/hook has no dead letter at position 2\n")
            code, said = await cli(daemon, "dead discard", "--match", "{env_id: 3}", "--json")
            assert json.loads(said)["count"] == 1
            code, said = await cli(daemon, "dead replay", "--wait", "--per-second", "1000")
            assert code == 0
            assert "0 parked" in said
            assert len(await listed(daemon)) == 2
            assert daemon.verify()["ok"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--match", "{env: 1}"), 1, "unknown field"),
        (("--match", "[1]"), 2, "mapping"),
        (("--match", "{"), 2, "no valid YAML"),
        (("--since", "yesterday"), 2, "2026-11-24T08:00Z"),
    ],
)
async def test_a_choice_that_means_nothing_is_a_line(
    tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    with running(tmp_path, departments("http://127.0.0.1:1/")) as daemon:
        found, text = await cli(daemon, "dead list", *options)
    assert found == code, text
    assert said in text


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path, departments("http://127.0.0.1:1/")) as daemon:
        daemon.stop()
        text = daemon.config.read_text().replace("admin: {", f"admin: {{token: {TOKEN}, ")
        daemon.config.write_text(text)
        daemon.start()
        yield daemon


async def test_with_a_token_only_figures_are_open(guarded: Daemon) -> None:
    """The commands take it from the config."""
    url = f"http://127.0.0.1:{guarded.admin}"
    wrong = {"Authorization": f"Bearer {TOKEN}x"}
    async with aiohttp.ClientSession() as session:
        for path in ("/health", "/ready", "/status", "/metrics"):
            async with session.get(url + path) as response:
                assert response.status in {200, 204}
        for path in ("/explain?key=x", "/dead/a/hook", "/dead/a/hook/1"):
            for headers in ({}, wrong, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}):
                async with session.get(url + path, headers=headers) as response:
                    assert response.status == 401
                    assert response.headers["WWW-Authenticate"] == "Bearer"
        async with session.post(f"{url}/pause/a/hook", json={}) as response:
            assert response.status == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        async with session.post(f"{url}/pause/a/hook", data="{}", headers=right) as response:
            assert response.status == 403
    assert guarded.status()["subscriptions"]["a/hook"]["state"] == "active"
    assert (await cli(guarded, "pause"))[0] == 0
    assert guarded.status()["subscriptions"]["a/hook"]["state"] == "paused"
    code, said = await cli(guarded, "resume", "--json")
    assert (code, json.loads(said)["text"]) == (0, "a/hook delivers")


async def test_without_a_token_mails_are_shown_only_to_who_names_a_loopback_address(tmp_path: Path) -> None:
    with running(tmp_path, departments("http://127.0.0.1:1/")) as daemon:
        url = f"http://127.0.0.1:{daemon.admin}/explain?key=x"
        async with aiohttp.ClientSession() as session:
            async with session.get(url, headers={"Host": "evil.example"}) as response:
                assert response.status == 403
            async with session.get(url) as response:
                assert response.status == 200


@pytest.mark.parametrize(
    ("admin", "code", "said"),
    [
        ("{listen: 0.0.0.0:0}", 78, "without a token"),
        ("{listen: '[::]:0'}", 78, "without a token"),
        ("{listen: router.internal:0}", 78, "without a token"),
        ("{listen: 0.0.0.0:0, token: short}", 78, "guessed"),
        (f"{{listen: 0.0.0.0:0, token: {TOKEN}}}", 0, "good"),
        ("{listen: '[::1]:0'}", 0, "good"),
        ("{listen: localhost:0}", 0, "good"),
    ],
)
def test_beyond_loopback_the_admin_api_wants_a_token(tmp_path: Path, admin: str, code: int, said: str) -> None:
    """P8: a config without one never runs."""
    daemon = Daemon(tmp_path, departments("http://127.0.0.1:1/"))
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace(f"admin: {{listen: 127.0.0.1:{daemon.admin}}}", f"admin: {admin}"))
    done = daemon.cli("check", str(daemon.config))
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert TOKEN not in done.stderr
