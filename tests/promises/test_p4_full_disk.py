"""P4. A disk that is really full: what does not fit is refused, nothing that was answered is lost, and it goes on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import anyio
import pytest
from servers.daemon import post, running, text

pytestmark = pytest.mark.anyio

ALL = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount eight mebibytes of memory where the state folder will be."""
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(state)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a file system cannot be mounted here (a limit on files' sizes stands for it, in another test)")
    yield state
    subprocess.run(["umount", "-l", str(state)], check=True)


def room(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


async def test_a_full_disk_refuses_with_503_and_intake_goes_on_when_there_is_room(tmp_path: Path, disk: Path) -> None:
    answered: dict[int, int] = {}
    ballast = disk / "ballast"
    with running(tmp_path, ALL) as daemon:
        await post(daemon.url, range(50), answered)
        ballast.write_bytes(bytes(room(disk) - 100_000))
        await post(daemon.url, range(100, 2000), answered)
        async with aiohttp.ClientSession() as session:
            async with session.post(daemon.url, data=text(5000)) as response:
                refused = (response.status, response.headers.get("Retry-After"))
            async with session.get(f"http://127.0.0.1:{daemon.admin}/ready") as response:
                ready = response.status
        ballast.unlink()
        with anyio.fail_after(60):
            while not (await anyio.to_thread.run_sync(daemon.status))["ready"]:
                await anyio.sleep(0.1)
        again: dict[int, int] = {}
        await post(daemon.url, range(6000, 6050), again)
        daemon.kill()
        await anyio.to_thread.run_sync(daemon.start)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        lines = [int(line["env_id"]) for line in daemon.lines("all.jsonl")]
        verified = daemon.verify()["ok"]
        checked = daemon.cli("journal", "check", str(daemon.config))
    assert set(answered.values()) == {204, 503}
    assert (refused[0], refused[1] is not None, ready) == (503, True, 503)
    assert set(again.values()) == {204}
    assert sorted(lines) == sorted(number for number, status in {**answered, **again}.items() if status == 204)
    assert verified
    assert checked.returncode == 0, checked.stdout
