"""A log that nobody reads, or that cannot be written, ends nothing and holds nothing up; what is dropped is counted."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers.daemon import Daemon, free_port
from servers.patience import answers, push, wait

MANY = 60


@contextmanager
def logging_to(folder: Path, stderr: int | None, *, push: str = "") -> Iterator[Daemon]:
    """Run a daemon whose every subscription has something to say; without a descriptor standard error is closed."""
    names = "".join(
        f'      s{i}: {{to: {{type: webhook, url: "http://127.0.0.1:{free_port()}/{"x" * 200}"}}}}\n'
        for i in range(MANY)
    )
    file = '      file: {to: {type: file, path: "{out}/all.jsonl"}}\n'
    daemon = Daemon(folder, f'  a:\n    accounts: ["*"]\n    subscriptions:\n{file}{names}', push=push)
    close = "" if stderr is not None else " 2>&-"
    daemon.process = subprocess.Popen(
        ["sh", "-c", f'exec "$0" -m router run "$1"{close}', sys.executable, str(daemon.config)],
        stderr=stderr,
    )
    try:
        wait(lambda: answers(daemon), daemon)
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.wait()


def works_and_drops(daemon: Daemon) -> None:
    """Results are taken and delivered, lines are dropped and counted, and SIGTERM ends it as ever."""
    push(daemon, range(5))
    wait(lambda: len(daemon.lines("all.jsonl")) == 5, daemon)
    wait(lambda: daemon.status()["log_dropped"] > 0, daemon)
    push(daemon, range(5, 10))
    wait(lambda: len(daemon.lines("all.jsonl")) == 10, daemon)
    assert daemon.process
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(30) == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_the_reader_of_the_log_may_go(tmp_path: Path, workers: int) -> None:
    reader, writer = os.pipe()
    with logging_to(tmp_path, writer, push=f"workers: {workers}") as daemon:
        os.close(writer)
        os.close(reader)
        works_and_drops(daemon)


def test_standard_error_may_be_closed(tmp_path: Path) -> None:
    with logging_to(tmp_path, None) as daemon:
        works_and_drops(daemon)


def test_the_disk_of_the_log_may_be_full(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full, logging_to(tmp_path, full.fileno()) as daemon:
        works_and_drops(daemon)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pipe_that_nobody_drains_holds_nothing_up_also_not_the_end(tmp_path: Path, workers: int) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with logging_to(tmp_path, writer, push=f"workers: {workers}") as daemon:
        os.close(writer)
        push(daemon, range(200))
        wait(lambda: len(daemon.lines("all.jsonl")) == 200, daemon)
        assert daemon.process
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(30) == 0
    os.close(reader)


@pytest.mark.parametrize("stderr", ["/dev/full", "closed", "gone"])
def test_a_command_whose_errors_cannot_be_written_ends_with_its_own_code(tmp_path: Path, stderr: str) -> None:
    config = tmp_path / "router.yaml"
    config.write_text("sourcse: {}\n")
    reader, writer = os.pipe()
    os.close(reader)
    redirect = {"/dev/full": "2>/dev/full", "closed": "2>&-", "gone": ""}[stderr]
    command = ["sh", "-c", f'exec "$0" -m router check "$1" {redirect}', sys.executable, str(config)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stdout) == (78, b"")


WRONG = """
import asyncio, gc, logging, sys, threading, warnings
import structlog
from router.cli.logs import configure, secure_streams, take_all
secure_streams(); configure("info"); take_all()
async def main():
    async def fails(): raise KeyError("never retrieved")
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(main())
class Odd:
    def __del__(self): raise KeyError("in a finalizer")
Odd()
thread = threading.Thread(target=lambda: 1 / 0, name="mine"); thread.start(); thread.join()
warnings.warn("careful")
logging.getLogger("lib").warning("it took %s s", 3)
structlog.get_logger().error("odd", text="half \\udcff", big=10**30, other=object)
print("printed", file=sys.stderr)
"""


def test_whatever_python_has_to_say_goes_the_way_of_the_log() -> None:
    """A blocked pipe would stop the loop otherwise: errors nobody retrieved, finalizers, threads, warnings, prints."""
    ended = subprocess.run([sys.executable, "-c", WRONG], stderr=subprocess.PIPE, check=True)
    *lines, printed = ended.stderr.decode().splitlines()
    assert printed == "printed"
    said = [json.loads(line) for line in lines]
    texts = " ".join(map(str, said))
    for part in ("never retrieved", "in a finalizer", "division by zero", "careful", "it took 3 s", "\\udcff"):
        assert part in texts, texts
    assert {one["level"] for one in said} <= {"warning", "error"}
