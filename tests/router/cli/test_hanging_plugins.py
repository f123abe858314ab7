"""Plugins that hang or hold the loop: they are named, and neither a stop nor a reload waits for them for ever."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.daemon import Daemon, text
from servers.patience import answers, push, wait

STUCK = """
import time
from contextlib import asynccontextmanager
import anyio
import anyio.to_thread
from router import Sink

class Stuck(Sink, frozen=True, kw_only=True):
    how: str = "deliver"

    @asynccontextmanager
    async def open(self):
        try:
            yield self.deliver
        finally:
            while self.how == "close":
                try:
                    await anyio.sleep(1)
                except BaseException:
                    pass

    async def deliver(self, batch):
        if self.how == "thread":
            await anyio.to_thread.run_sync(time.sleep, 600, abandon_on_cancel=True)
        while self.how == "deliver":
            try:
                await anyio.sleep(1)
            except BaseException:
                pass
"""
HOLDS = """
import re, time
from router import Step

class Holds(Step, frozen=True, kw_only=True):
    how: str

    def apply(self, event):
        if self.how == "sleep":
            time.sleep(600)
        elif self.how == "a while":
            time.sleep(0.4)
        elif self.how == "loop":
            while True:
                pass
        elif self.how == "regex":
            re.match("(a+)+$", "a" * 60 + "b")
        return event
"""
CLINGS = """
import anyio
from router import Source

class Clings(Source, frozen=True, kw_only=True):
    async def run(self, emit, ready, count):
        ready()
        while True:
            try:
                await anyio.sleep(1)
            except BaseException:
                pass
"""
FILE = '      file: {to: {type: file, path: "{out}/all.jsonl"}}\n'


@contextmanager
def daemon_with(folder: Path, odd: str, *, source: str = "", push: str = "") -> Iterator[Daemon]:
    plugins = folder / "plugins"
    plugins.mkdir()
    for name, code in (("stuck", STUCK), ("holds", HOLDS), ("clings", CLINGS)):
        (plugins / f"{name}.py").write_text(code)
    departments = f'  a:\n    accounts: ["*"]\n    subscriptions:\n{FILE}{odd}'
    daemon = Daemon(folder, departments, top=f"plugins: [{plugins}]\ngrace: 1s", push=push)
    daemon.config.write_text(daemon.config.read_text().replace("sources:\n", f"sources:\n{source}"))
    with (folder / "router.log").open("ab") as log:
        daemon.process = subprocess.Popen(
            [sys.executable, "-m", "router", "run", str(daemon.config)], stdout=log, stderr=log
        )
    try:
        wait(lambda: answers(daemon), daemon)
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.wait()


def said(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    lines = (daemon.folder / "router.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if event in line["event"]]


def signalled(daemon: Daemon, times: int) -> tuple[int, float]:
    """Send so many SIGTERM; return the exit code, and the seconds that it took."""
    assert daemon.process
    began = time.monotonic()
    for _ in range(times):
        daemon.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    return daemon.process.wait(60), time.monotonic() - began


def stuck(how: str) -> str:
    return f"      odd: {{to: {{type: stuck, how: {how}}}}}\n"


def holding(how: str) -> str:
    return f'      odd: {{steps: [{{type: holds, how: {how}}}], to: {{type: file, path: "{{out}}/odd.jsonl"}}}}\n'


@pytest.mark.parametrize(
    ("how", "times"), [pytest.param("deliver", 1, marks=pytest.mark.slow), ("deliver", 2), ("close", 2), ("thread", 1)]
)
def test_a_sink_that_swallows_its_cancellation_does_not_keep_the_daemon(tmp_path: Path, how: str, times: int) -> None:
    """Neither of two signals, nor one after the grace; what was delivered is committed, and it is named."""
    with daemon_with(tmp_path, stuck(how)) as daemon:
        push(daemon, range(20))
        wait(lambda: len(daemon.lines("all.jsonl")) == 20, daemon)
        code, seconds = signalled(daemon, times)
        assert code == 70
        assert seconds < (30 if times == 1 else 10)
        assert said(daemon, "something does not end")
        if (how, times) == ("deliver", 1):
            [line] = said(daemon, "left behind")
            assert (line["subscription"], line["plugin"]) == ("a/odd", "Stuck")
        verified = daemon.verify()
        assert verified["ok"]
        assert (
            verified["subscriptions"]["a/file"]["delivered"] == 20
            if isinstance(verified["subscriptions"], dict)
            else True
        )


@pytest.mark.parametrize("how", ["sleep", "loop", "regex"])
def test_a_second_signal_ends_a_daemon_whose_loop_a_step_holds_for_ever(tmp_path: Path, how: str) -> None:
    with daemon_with(tmp_path, holding(how)) as daemon:
        push_and_leave(daemon)
        code, seconds = signalled(daemon, 2)
        assert (code, seconds < 10) == (70, True)
        [line] = said(daemon, "something does not end")
        assert (line["plugin"], line["subscription"]) == ("Holds.apply", "a/odd")
        assert "holds.py" in line["place"]
        assert "in apply" in line["stack"]


def push_and_leave(daemon: Daemon) -> None:
    """Send a result that holds the loop, perhaps before it is answered."""
    body = text(1)
    with socket.create_connection(("127.0.0.1", daemon.push), 5) as client:
        client.sendall(b"POST /n HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        time.sleep(2)


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_source_that_swallows_its_cancellation_does_not_keep_the_daemon(tmp_path: Path, times: int) -> None:
    with daemon_with(tmp_path, "", source="  odd: {type: clings}\n") as daemon:
        push(daemon, range(5))
        wait(lambda: len(daemon.lines("all.jsonl")) == 5, daemon)
        code, seconds = signalled(daemon, times)
        assert (code, seconds < (45 if times == 1 else 10)) == (70, True)
        assert daemon.verify()["ok"]


def test_a_reload_that_removes_a_hanging_sink_ends_and_others_go_on(tmp_path: Path) -> None:
    with daemon_with(tmp_path, stuck("deliver")) as daemon:
        push(daemon, range(5))
        wait(lambda: len(daemon.lines("all.jsonl")) == 5, daemon)
        daemon.config.write_text(daemon.config.read_text().replace(stuck("deliver"), ""))
        reloaded = daemon.cli("reload", str(daemon.config), "--drop")
        assert reloaded.returncode == 0, reloaded.stderr
        assert list(daemon.status()["subscriptions"]) == ["a/file"]
        push(daemon, range(5, 10))
        wait(lambda: len(daemon.lines("all.jsonl")) == 10, daemon)
        assert [line["plugin"] for line in said(daemon, "left behind")] == ["Stuck"]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_watchdog_names_who_held_the_loop(tmp_path: Path, workers: int) -> None:
    with daemon_with(tmp_path, holding("a while"), push=f"workers: {workers}") as daemon:
        push(daemon, [1])
        wait(lambda: len(daemon.lines("odd.jsonl")) == 1, daemon)
        wait(lambda: bool(said(daemon, "holds up the loop")), daemon)
        [line] = said(daemon, "holds up the loop")
        assert (line["plugin"], line["subscription"], line["level"]) == ("Holds.apply", "a/odd", "warning")
        assert line["seconds"] >= 0.1
        assert "time.sleep(0.4)" in line["stack"]


def test_a_daemon_that_was_stopped_for_a_while_blames_nobody(tmp_path: Path) -> None:
    with daemon_with(tmp_path, holding("not")) as daemon:
        assert daemon.process
        for number in range(5):
            push(daemon, [number])
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            daemon.process.send_signal(signal.SIGCONT)
        wait(lambda: len(daemon.lines("odd.jsonl")) == 5, daemon)
        assert not said(daemon, "holds up the loop")


def test_a_front_whose_loop_is_held_ends_with_the_daemon(tmp_path: Path) -> None:
    source = "  odd: {type: clings, workers: 1}\n"
    with daemon_with(tmp_path, "") as daemon:
        clings = tmp_path / "plugins" / "clings.py"
        clings.write_text(
            CLINGS.replace("import anyio", "import anyio, time")
            .replace("    async def run(", "    parallel = True\n\n    async def run(")
            .replace("        ready()\n", "        ready()\n        await anyio.sleep(0.5)\n        time.sleep(600)\n")
            .replace("from router import Source", "from typing import ClassVar\nfrom router import Source")
            .replace("    parallel = True", "    parallel: ClassVar[bool] = True")
        )
        daemon.config.write_text(daemon.config.read_text().replace("sources:\n", f"sources:\n{source}"))
        reloaded = daemon.cli("reload", str(daemon.config))
        assert reloaded.returncode == 0, reloaded.stderr
        wait(lambda: daemon.status()["sources"]["odd"]["ready"], daemon)
        [front] = daemon.status()["sources"]["odd"]["workers"]
        time.sleep(1)
        daemon.kill()
        deadline = time.monotonic() + 20
        while runs(front["pid"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


ONCE = """
import asyncio, re, sys
from router.cli import force
force.ABOUT = force.BACKSTOP = 1.0
async def main():
    ending = force.Force()
    with ending.watching():
        print("ready", flush=True)
        await asyncio.sleep(0.2)
        if sys.argv[1] == "loop":
            while True:
                pass
        re.match("(a+)+$", "a" * 60 + "b")
asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "code"), [("loop", 70), ("regex", 1)])
def test_one_signal_ends_a_held_loop_after_the_grace_also_where_no_other_thread_can_run(how: str, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", ONCE, how], stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout as told:
        assert told.readline() == b"ready\n"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == code
