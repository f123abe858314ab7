"""Whatever is typed, and wherever the output goes, a command ends with a line and an exit code, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from servers.daemon import Daemon, post, text

from router.cli.app import execute

DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      files: {to: {type: file, path: "{out}/x.jsonl"}}
      hook: {to: {type: webhook, url: "http://127.0.0.1:9/"}, delivery: {tries: 1, schedule: []}}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = Daemon(tmp_path_factory.mktemp("output"), DEPARTMENTS)
    made.start()
    anyio.run(post, made.url, range(3), dict[int, int]())
    (made.folder / "message").write_bytes(text(1) + b"\n")
    yield made
    made.kill()


PRINTING = (
    "--help", "--version", "check CONFIG", "status CONFIG", "status CONFIG --json", "verify CONFIG",
    "verify CONFIG --json", "explain CONFIG r1@example.net", "explain CONFIG r1@example.net --json",
    "journal cat CONFIG", "journal cat CONFIG --raw",
    "journal check CONFIG", "dead list CONFIG a/hook", "dead list CONFIG a/hook --json", "dead show CONFIG a/hook 1",
    "replay CONFIG", "replay CONFIG a/files --since 2h --dry-run", "test CONFIG", "pause CONFIG a/files",
    "resume CONFIG a/files", "reload CONFIG --plan", "decode MESSAGE",
)  # fmt: skip


def typed(daemon: Daemon, command: str) -> list[str]:
    places = {"CONFIG": str(daemon.config), "MESSAGE": str(daemon.folder / "message")}
    return [sys.executable, "-m", "router", *(places.get(word, word) for word in command.split())]


@pytest.mark.parametrize("command", PRINTING)
def test_a_full_disk_is_a_line_and_an_exit_code(daemon: Daemon, command: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(typed(daemon, command), stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert done.stderr == b"router: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("command", ["--help", "status CONFIG", "journal cat CONFIG", "decode MESSAGE", "test CONFIG"])
def test_a_reader_that_is_gone_is_told_nothing(daemon: Daemon, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(typed(daemon, command), stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.parametrize("command", ["status CONFIG", "decode MESSAGE", "journal cat CONFIG"])
def test_a_closed_output_is_no_traceback(daemon: Daemon, command: str) -> None:
    shell = " ".join(typed(daemon, command)) + " >&-"
    done = subprocess.run(shell, shell=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stderr == b""


def test_what_the_terminals_encoding_has_not_is_written_as_an_escape(daemon: Daemon) -> None:
    done = subprocess.run(
        typed(daemon, "explain CONFIG 用户@例.cn"),
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"nothing found" in done.stdout
    assert b"Traceback" not in done.stderr


MISTAKES = [
    ("run --log-level verbose CONFIG", 2, "'debug', 'info', 'warning', 'error'"),
    ("run --log-level  CONFIG", 2, ""),
    ("pauze CONFIG a/files", 2, "Did you mean 'pause'"),
    ("dead lst CONFIG a/files", 2, "Did you mean 'list'"),
    ("status --jsn", 2, "--json"),
    ("dead list CONFIG a/hook --after 100000000000000000000", 2, "--after"),
    ("dead list CONFIG a/hook --after DIGITS", 2, "--after"),
    ("dead list CONFIG a/hook --after -1", 2, "--after"),
    ("dead list CONFIG a/hook --limit 0", 2, "--limit"),
    ("dead list CONFIG a/hook --limit 1e3", 2, "--limit"),
    ("dead list CONFIG a/hook --position DIGITS", 2, "--position"),
    ("dead list CONFIG a/hook --kind other", 2, "--kind"),
    ("dead list CONFIG a/hook --since yesterday", 2, "2h"),
    ("dead list CONFIG a/hook --since DIGITS", 2, "2h"),
    ("dead list CONFIG a/hook --match NESTED", 2, "nested more than"),
    ("dead list CONFIG a/hook --match {", 2, "--match"),
    ("dead show CONFIG a/hook DIGITS", 2, "position"),
    ("dead show CONFIG a/hook 0", 2, "position"),
    ("dead replay CONFIG a/hook --per-second 0", 2, "--per-second"),
    ("dead replay CONFIG a/hook --per-second DIGITS", 1, "per_second"),
    ("dead replay CONFIG a/hook --per-second nan", 2, "--per-second"),
    ("replay CONFIG a/files --since 2h --per-second inf", 1, "per_second"),
    ("replay CONFIG a/files --stop --number DIGITS", 2, "--number"),
    ("replay CONFIG a/files --since 2h --match NESTED", 2, "nested more than"),
    ("explain CONFIG x --limit DIGITS", 2, "--limit"),
    ("explain CONFIG x --limit -1", 2, "--limit"),
    ("explain CONFIG BYTES", 1, ""),
    ("explain CONFIG DIGITS", 1, ""),
    ("journal cat CONFIG --from DIGITS", 2, "--from"),
    ("journal cat CONFIG --to -5", 2, "--to"),
    ("journal cat CONFIG --match NESTED", 2, "nested more than"),
    ("journal cat CONFIG --match {region:BYTES}", 2, ""),
    ("journal export CONFIG /dev/null", 1, "there already"),
    ("journal export CONFIG /nowhere/file", 1, "No such file"),
    ("reload CONFIG --drain DIGITS", 2, "--drain"),
    ("reload CONFIG --drain -1s", 2, "--drain"),
    ("decode --timezone DIGITS", 78, "timezone"),
    ("decode --timezone +99:99", 78, "timezone"),
    ("decode --timezone ../../etc/passwd", 78, "timezone"),
    ("decode --decoder BYTES", 78, ""),
    ("decode BYTES", 1, "No such file"),
    ("decode .", 1, "directory"),
    ("check BYTES", 78, "cannot be read"),
    ("check .", 78, "cannot be read"),
    ("test BYTES", 78, "cannot be read"),
    ("status --admin BYTES", 1, "HOST:PORT"),
    ("pause CONFIG BYTES", 1, "no subscription"),
    ("emulator --listen 127.0.0.1:DIGITS", 2, "--listen"),
    ("emulator queue list --at 127.0.0.1:DIGITS", 1, ""),
    ("emulator queue list --at BYTES", 1, ""),
    ("demo --results DIGITS", 2, "--results"),
]
WORDS = {"DIGITS": "9" * 5000, "NESTED": "{not: " * 500 + "{}" + "}" * 500, "BYTES": "\udcff\udc80", "": ""}


@pytest.mark.parametrize(("command", "code", "said"), MISTAKES)
def test_a_mistake_is_a_line_and_an_exit_code(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], command: str, code: int, said: str
) -> None:
    words = WORDS | {"CONFIG": str(daemon.config)}
    arguments: list[str] = []
    for word in command.split(" "):
        for name, value in words.items():
            word = word.replace(name, value) if name else word  # noqa: PLW2901
        arguments.append(word)
    assert execute(arguments) == code
    told = capsys.readouterr()
    assert said in told.err
    assert len(told.err.splitlines()) <= 1
    assert len(told.err) < 12_000


def test_an_interrupt_ends_a_command_without_a_word(daemon: Daemon) -> None:
    command = [sys.executable, "-m", "router", "decode"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    process.stdin.write(text(1) + b"\n")
    process.stdin.flush()
    status = Path(f"/proc/{process.pid}/wchan")
    deadline = time.monotonic() + 30
    while "pipe" not in status.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)  # it reads
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == b""
