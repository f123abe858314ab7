"""Watching the config: every way in which a file is changed is noticed, and what is broken changes nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from servers.daemon import Daemon, post, running

from router.cli.watching import watch
from router.config.files import files

pytestmark = pytest.mark.anyio

SECONDS = 15


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def watched(config: Path) -> AsyncGenerator[Callable[[], int]]:
    """Yield what counts the changes that were noticed."""
    noticed: list[None] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, config, {}, lambda: noticed.append(None))
        await anyio.sleep(0.5)  # the system's watch begins in a thread of its own
        yield lambda: len(noticed)
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(SECONDS):
        while not condition():
            await anyio.sleep(0.05)


def write_over(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    """As editors do: write another file, and rename it."""
    other = path.with_name(".other.swp")
    other.write_text(text)
    other.rename(path)


@pytest.mark.parametrize("change", [write_over, replace])
async def test_a_file_that_is_written_or_replaced_is_noticed_again_and_again(
    tmp_path: Path, change: Callable[[Path, str], None]
) -> None:
    config = tmp_path / "router.yaml"
    config.write_text("a: 1")
    async with watched(config) as noticed:
        for count in (1, 2, 3):
            change(config, f"a: {count + 1}")
            await until(lambda count=count: noticed() >= count)  # type: ignore[misc]


async def test_a_mounted_config_is_noticed_although_only_a_link_in_its_folder_changes(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "router.yaml").write_text(f"a: {version}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "router.yaml").symlink_to("..data/router.yaml")
    async with watched(tmp_path / "router.yaml") as noticed:
        (tmp_path / "..next").symlink_to("2")
        (tmp_path / "..next").replace(tmp_path / "..data")
        await until(lambda: noticed() == 1)


async def test_the_file_of_a_secret_counts_and_what_lies_beside_does_not(tmp_path: Path) -> None:
    config, secret = tmp_path / "router.yaml", tmp_path / "secrets" / "mns"
    secret.parent.mkdir()
    secret.write_text("one")
    config.write_text("sources: {a: {key: {file: secrets/mns}}}")
    async with watched(config) as noticed:
        (tmp_path / "beside.yaml").write_text("b: 1")
        config.touch()
        await anyio.sleep(1)
        assert noticed() == 0
        secret.write_text("two")
        await until(lambda: noticed() == 1)


def test_the_files_of_a_config_are_its_own_and_those_of_its_secrets(tmp_path: Path) -> None:
    config = tmp_path / "router.yaml"
    config.write_text("a: [{file: x}, {b: {file: '${DIR}/y'}}, {type: file, path: z}]\nc: {file: x}")
    assert files(config, {"DIR": "d"}) == (config, tmp_path / "x", tmp_path / "d" / "y")
    config.write_text("a: [")
    assert files(config, {}) == (config,)


async def test_the_daemon_reloads_by_itself_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """P8, and issue 4 item 9: the mistake is said with its line; the good config that follows is taken."""

    def subscriptions(daemon: Daemon) -> list[str]:
        return list(daemon.status()["subscriptions"])

    departments = '  a:\n    accounts: ["*"]\n    subscriptions:\n      one: {to: {type: file, path: "{out}/1"}}\n'
    with running(tmp_path, departments, top="watch: true") as daemon:
        good = daemon.config.read_text().rstrip("\n")
        log = tmp_path / "router.log"
        replace(daemon.config, good.replace("accounts", "acounts"))
        await until(lambda: "acounts" in log.read_text())
        line = next(n for n, text in enumerate(good.splitlines(), 1) if "accounts" in text)
        assert f"router.yaml:{line}:" in log.read_text()
        assert subscriptions(daemon) == ["a/one"]
        replace(daemon.config, f"{good}\n      two: {{to: {{type: file, path: {tmp_path}/2}}}}\n")
        await until(lambda: subscriptions(daemon) == ["a/one", "a/two"])
        await post(daemon.url, range(3), {})
        await anyio.to_thread.run_sync(daemon.wait_settled)
    assert (tmp_path / "2").read_bytes().count(b"\n") == 3
