"""Signals in the first second of the daemon: a SIGHUP does not end it, a SIGTERM is not lost, also as PID 1."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers.daemon import Daemon

DEPARTMENTS = '  a:\n    accounts: ["*"]\n    subscriptions:\n      all: {to: {type: file, path: "{out}/all.jsonl"}}\n'
HELD = """
import os, sys, time
class Held:
    def find_spec(self, name, *_):
        if name == "router.cli.app":
            open({mark!r}, "w").close()
            time.sleep(0.5)
sys.meta_path.insert(0, Held())
sys.argv = ["router", "run", {config!r}]
from router.cli import main
main()
"""
"""The command, with a moment before the heavy part of it is imported."""


@contextmanager
def started(folder: Path, *before: str) -> Iterator[tuple[Daemon, subprocess.Popen[bytes]]]:
    """Start a daemon, and wait until it has begun, but not to import what it needs."""
    daemon = Daemon(folder, DEPARTMENTS)
    mark = folder / "mark"
    code = HELD.format(mark=str(mark), config=str(daemon.config))
    process = subprocess.Popen([*before, sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=os.environ)
    try:
        deadline = time.monotonic() + 20
        while not mark.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield daemon, process
    finally:
        process.kill()
        process.wait()


def is_ready(daemon: Daemon) -> bool:
    try:
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin}/ready", timeout=5).status == 204)
    except (urllib.error.URLError, OSError):
        return False


def test_a_hangup_does_not_end_it(tmp_path: Path) -> None:
    with started(tmp_path) as (daemon, process):
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while not is_ready(daemon):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 0


def test_a_termination_ends_it_as_soon_as_it_can_without_a_word_of_failure(tmp_path: Path) -> None:
    with started(tmp_path) as (_, process):
        process.terminate()
        assert process.wait(30) == 0
        assert not (tmp_path / "state").exists()


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode != 0,
    reason="needs a namespace of processes",
)
def test_as_the_first_process_of_a_container_it_does_not_lose_a_termination(tmp_path: Path) -> None:
    """The kernel drops a signal to PID 1 that has no handler."""
    with started(tmp_path, "unshare", "--pid", "--fork", "--kill-child") as (_, process):
        (child,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        os.kill(child, signal.SIGTERM)
        assert process.wait(30) == 0
