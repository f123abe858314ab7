"""The README's section about the emulator is true: its commands and its program run as they stand there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from router_plugins.emulator.command import emulator
from router_plugins.emulator.faults import Faults

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "README.md").read_text().split("\n## The emulator alone\n", 1)[1].split("\n## ", 1)[0]
WRITTEN = "127.0.0.1:6060"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
    return str(found)


def words(line: str) -> list[str]:
    router, command, *arguments = shlex.split(line)
    assert (router, command) == ("router", "emulator")
    return arguments


def ask(line: str, at: str) -> str:
    result = CliRunner().invoke(emulator, [*words(line), "--at", at], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def at() -> Generator[str]:
    """Start the emulator as written, but on a free port; give its address."""
    line = block("sh").splitlines()[0].removesuffix(" &").replace(WRITTEN, "127.0.0.1:0")
    command = [sys.executable, "-m", "router", "emulator", *words(line)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rpartition("//")[2]
        process.terminate()


def test_the_commands_and_the_program_receive_every_result_of_the_campaign(at: str) -> None:
    for line in block("sh").splitlines()[1:]:
        shown = ask(line, at)
    assert len(shown.splitlines()) == 3
    program = block("python")
    assert WRITTEN in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace(WRITTEN, at)], capture_output=True, text=True, check=True, timeout=60
    )
    assert len(set(done.stdout.splitlines())) == 100
    assert ask("router emulator peek results", at) == ""


def test_the_help_has_an_example_with_the_official_sdk_and_names_every_subcommand() -> None:
    shown = CliRunner().invoke(emulator, ["--help"]).stdout
    assert "from mns.account import Account" in shown
    assert "router emulator send results" in shown
    subcommands = {"rule", "queue", "topic", "subscription", "status", "peek", "receive", "send", "publish", "pushes"}
    assert subcommands | {"campaign", "ledger", "faults", "bus"} <= set(re.findall(r"^│ (\w+) ", shown, re.MULTILINE))


def test_no_text_of_the_help_is_taken_for_a_picture() -> None:
    """`:SECRET:` is one to the library that shows it."""
    shown = CliRunner().invoke(emulator, ["--help"]).stdout
    assert "ID:SECRET" in shown
    assert all(ord(character) < 0x3000 for character in shown)


def test_the_program_in_the_help_receives_what_the_command_in_it_sends(at: str) -> None:
    lines = [line.strip() for line in CliRunner().invoke(emulator, ["--help"]).stdout.splitlines()]
    program = "\n".join(lines[lines.index("from mns.account import Account") :][:5]).replace(WRITTEN, at)
    for line in (line for line in lines if line.startswith(("router emulator queue", "router emulator send"))):
        ask(line, at)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "env_id=1&rcpt=a@b.example&status=0\n"


def test_every_fault_is_named() -> None:
    assert all(f"`{name}`" in SECTION for name in Faults.__struct_fields__)
