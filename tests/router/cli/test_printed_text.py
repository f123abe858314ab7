"""What receivers answer reaches an operator's terminal as text alone: no escape, no direction, no row of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import anyio
import pytest
from aiohttp import web
from servers.daemon import Daemon, text
from servers.hook import answering

from router.cli.logs import show_harmless
from router.cli.tables import show, table

ROOT = Path(__file__).parents[3]
HOSTILE = (
    "550 \x1b[2J\x1b]0;mine\x07 \x9b31m \u202edaed \u2028 \x7f \x08\x08 [bold]x[/bold] [/no] :bomb: "
    + " " * 200
    + "position 7, received 2026-03-01 by push  status=0"
)
DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      files: {to: {type: file, path: "{out}/x.jsonl"}}
      hook: {to: {type: webhook, url: "URL"}, delivery: {tries: 1, schedule: []}}
"""


async def _refuse(_: web.Request) -> web.Response:
    return web.Response(status=400, text=HOSTILE)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Run a daemon that has an event with a hostile answer, and a dead letter with another."""
    with anyio.from_thread.start_blocking_portal() as portal:
        with portal.wrap_async_context_manager(answering(_refuse)) as url:
            made = Daemon(tmp_path_factory.mktemp("hostile"), DEPARTMENTS.replace("URL", url))
            made.start()
            assert portal.call(_post, made.url) == 204
            made.wait_settled()
        yield made
        made.kill()


async def _post(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=text(1, err_msg=HOSTILE)) as answer:
        return answer.status


def on_terminal(*arguments: str) -> str:
    """Type a command on a terminal; return what it is sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "router", *arguments], stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    sent = b""
    with suppress(OSError):  # the end of a terminal is an error
        while part := os.read(ours, 65_536):
            sent += part
    os.close(ours)
    assert process.wait(30) == 0, sent
    return sent.decode()


STYLE = re.compile(r"\x1b\[[0-9;]*m")
"""The only escapes that a table itself has."""
HARMFUL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")

COMMANDS = (
    "explain CONFIG r1@example.net",
    "explain CONFIG r1@example.net --json",
    "dead list CONFIG a/hook",
    "dead list CONFIG a/hook --json",
    "dead show CONFIG a/hook 1",
    "status CONFIG",
    "status CONFIG --json",
    "verify CONFIG",
    "journal cat CONFIG",
    "journal cat CONFIG --raw",
    "replay CONFIG a/files --since 2h --dry-run",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_a_receiver_wrote_acts_on_the_terminal(daemon: Daemon, command: str) -> None:
    arguments = command.replace("CONFIG", str(daemon.config)).split()
    for sent in (on_terminal(*arguments), daemon.cli(*arguments).stdout):
        if "--raw" in arguments and "\r\n" not in sent:
            continue  # as it came, for a file
        assert not HARMFUL.search(STYLE.sub("", sent)), ascii(HARMFUL.findall(sent))
        assert not re.search(r"^ ?position 7", sent, re.MULTILINE)
        if "explain" in command or "cat" in command:
            assert "[bold]x[/bold] [/no] :bomb:" in sent


def test_json_keeps_its_value_and_raw_bytes_for_a_file_theirs(daemon: Daemon) -> None:
    config = str(daemon.config)
    assert json.loads(daemon.cli("journal", "cat", config).stdout)["err_msg"] == HOSTILE
    (found,) = json.loads(daemon.cli("explain", config, "r1@example.net", "--json").stdout)["found"]
    assert found["event"]["err_msg"] == HOSTILE
    raw = subprocess.run(
        [sys.executable, "-m", "router", "journal", "cat", config, "--raw"], capture_output=True, check=True
    )
    assert raw.stdout == text(1, err_msg=HOSTILE) + b"\n"


def test_a_cell_is_text_and_no_markup_whoever_adds_it(capsys: pytest.CaptureFixture[str]) -> None:
    made = table("name", "text")
    made.add_row("a\x1b[1m", "[red]b[/red] [/x]\ny")
    show(made)
    assert r"a\x1b[1m" in (out := capsys.readouterr().out)
    assert r"[red]b[/red] [/x]\ny" in out


def test_a_line_of_the_log_on_a_terminal_is_one_line_and_its_fields_are_its_own() -> None:
    fields = show_harmless(
        None, "error", {"event": "x\ny", "error": "a\x1b[2J\n2026 [info] ok=1", "exception": "T\n\x1bE"}
    )
    assert fields == {"event": r"x\ny", "error": r'"a\x1b[2J\n2026 [info] ok=1"', "exception": "  T\n  \\x1bE"}


PRINTED = re.compile(r"(?<![\w.])(?:print|(?:typer\.|click\.)?echo)\((?!harmless)|std(?:out|err)\.write\((?!harmless)")


def test_commands_print_by_the_functions_that_make_text_harmless_alone() -> None:
    """`dead replay` has one line of counts that it writes over again and again."""
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "router" / "cli").glob("*.py"))
        for line in path.read_text().splitlines()
        if PRINTED.search(line)
    ]
    assert found == [
        "dead.py: print(said.ljust(60), file=sys.stderr, end=end, flush=True)",
    ]
