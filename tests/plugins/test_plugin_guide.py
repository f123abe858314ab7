"""The plugin guide is true: the package that it builds is installed, tested, checked and run, as it says."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from servers.daemon import free_port

GUIDE = Path(__file__).parents[2] / "plugins" / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
FILES = {
    named[1]: text for language, text in BLOCKS if language != "sh" and (named := re.match(r"# (\S+\.\w+)\n", text))
}
PROGRAMS = [text for language, text in BLOCKS if language == "python" and text not in FILES.values()]
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]
ADMIN, LINES = "127.0.0.1:9464", "127.0.0.1:7070"
TOKEN = "the-token-of-the-guide"


class Environment:
    """A virtual environment with the package in it, and all that this one has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", with_pip=False)
        self.bin = folder / "venv" / "bin"
        outer = [path for path in sys.path if path.endswith("site-packages")]
        (inner,) = (folder / "venv").glob("lib/python*/site-packages")
        (inner / "outer.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in outer))
        (self.bin / "router").write_text(f"#!{self.bin}/python\nfrom router.cli import main\nmain()\n")
        (self.bin / "router").chmod(0o755)
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    @property
    def environ(self) -> Mapping[str, str]:
        """Its commands first, and nothing from the network."""
        return {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's word for: there is none
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "LINES_TOKEN": TOKEN,
        }

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("guide"))
    made.run(COMMANDS[0])
    return made


class Answers(socketserver.StreamRequestHandler):
    """The server of the guide: `later` once, `no` to one recipient, `ok` to all others."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, LineServer)
        assert self.rfile.readline().strip().decode() == TOKEN
        for line in self.rfile:
            event = json.loads(line)
            if event["rcpt"] == "refused@net.example":
                answer = "no such customer"
            elif not server.busy_once.is_set():
                server.busy_once.set()
                answer = "later"
            else:
                server.taken.append(event)
                answer = "ok"
            self.wfile.write(f"{answer}\n".encode())


class LineServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.taken: list[dict[str, Any]] = []
        self.busy_once = threading.Event()


@pytest.fixture
def lines() -> Iterator[LineServer]:
    with LineServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def bounce(folder: Path, number: int, reply: str, rcpt: str = "") -> None:
    said = {
        "at": "2026-03-01T09:00:00+08:00",
        "sender": "news@shop.example.com",
        "rcpt": rcpt or f"r{number}@net.example",
        "reply": reply,
    }
    part = folder / f"{number}.part"
    part.write_text(json.dumps(said))
    part.rename(folder / f"{number}.json")


def wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_the_guide_says_how_to_install_check_run_and_test() -> None:
    assert [command.split()[:3] for command in COMMANDS] == [
        ["python", "-m", "pip"],
        ["router", "check", "bounces.yaml"],
        ["router", "run", "bounces.yaml"],
        ["python", "-m", "pytest"],
    ]
    assert len(BLOCKS) == len(FILES) + len(PROGRAMS) + 2  # each block is run by one of the tests below


def test_the_package_passes_its_own_tests_and_the_suites(environment: Environment) -> None:
    shown = environment.run(f"{COMMANDS[3]} -p no:cacheprovider -W error")
    assert (found := re.search(r"(\d+) passed", shown)), shown
    assert int(found[1]) > 20
    assert "skipped" not in shown


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_run(program: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_the_plugins_are_found_and_their_mistakes_are_told_with_their_lines(environment: Environment) -> None:
    assert "good: sources spool; 2 departments, 2 subscriptions" in environment.run(COMMANDS[1])
    bad = FILES["bounces.yaml"].replace(LINES, "crm").replace("200ms", "0s").replace("path: ledger", "pth: ledger")
    (environment.folder / "bad.yaml").write_text(bad)
    shown = environment.run("router check bad.yaml || test $? = 78")
    expected = [
        (": sources.spool.look: must be more than 0 (such as 1s)", "200ms"),
        (".to.server: `crm` is no HOST:PORT (such as crm.internal:7070)", LINES),
        (".to.pth: unknown key (did you mean `path`?)", "path: ledger"),
    ]
    written = FILES["bounces.yaml"].splitlines()
    for text, place in expected:
        line = next(number for number, one in enumerate(written, 1) if place in one)
        assert re.search(rf"bad\.yaml:{line}:\d+: [\w.]+", shown), shown
        assert text in shown
    assert TOKEN not in shown


def test_the_decoder_can_be_tried_alone(environment: Environment) -> None:
    bounce(environment.folder, 0, "550 unknown")
    shown = json.loads(environment.run("router decode --decoder bounce 0.json"))
    assert (shown["type"], shown["code"]) == ("Bounce:Hard", 550)
    refused = environment.run("router decode --decoder bounce --timezone Asia/Shanghai 0.json || test $? = 1")
    assert refused.startswith("router: the decoder `bounce` cannot be had like this: ")
    assert "timezone" in refused


def test_the_router_runs_with_the_plugins_and_their_results_arrive(environment: Environment, lines: LineServer) -> None:
    """A reply in capitals, one refused, one later; domains in the ledger, each once, also after a kill -9."""
    admin = free_port()
    text = FILES["bounces.yaml"].replace(ADMIN, f"127.0.0.1:{admin}")
    text = text.replace(LINES, f"127.0.0.1:{lines.server_address[1]}")
    (environment.folder / "bounces.yaml").write_text(text)
    spool = environment.folder / "spool"
    spool.mkdir()
    for number in range(20):
        bounce(spool, number, "550 unknown" if number % 2 else "450 full")
    bounce(spool, 20, "550 unknown", "refused@net.example")
    (spool / "21.json").write_text("{}")
    (spool / "22.json").write_text("x" * 70_000)

    def status() -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/status", timeout=10) as answer:
            return json.load(answer)

    def settled() -> bool:
        subscriptions = status()["subscriptions"].values()
        return not list(spool.glob("*.json")) and not any(one["pending"] + one["parked"] for one in subscriptions)

    def committed() -> bool:
        shown = json.loads(environment.run("router verify bounces.yaml --json"))
        assert shown["ok"]
        return not any(one["pending"] for one in shown["subscriptions"])

    with daemon(environment, admin) as process:
        wait(settled, "not everything arrives")
        told = status()
        assert told["sources"]["spool"]["counts"] == {"too_large": 1}
        assert told["undecodable"] == 1
        assert "no such customer" in environment.run("router dead list bounces.yaml sales/hard")
        wait(committed, "it is not committed")
        process.kill()
    with daemon(environment, admin):
        bounce(spool, 23, "550 unknown")
        wait(lambda: settled() and len(lines.taken) >= 11, "not everything arrives after the crash")
    hard = {event["rcpt"]: event["reply"] for event in lines.taken}
    assert hard == {f"r{number}@net.example": "550 UNKNOWN" for number in (*range(1, 20, 2), 23)}
    ledger = [json.loads(line) for line in (environment.folder / "ledger.jsonl").read_bytes().splitlines()]
    assert [event["rcpt"] for event in ledger] == ["net.example"] * 22
    assert len({event["id"] for event in ledger}) == 22
    assert (spool / "22.refused").exists()
    assert committed()


class daemon:  # noqa: N801 - used as a function
    """The daemon of the guide, until the block ends."""

    def __init__(self, environment: Environment, admin: int) -> None:
        self._environment = environment
        self._admin = admin

    def __enter__(self) -> subprocess.Popen[bytes]:
        command = ["bash", "-c", f"exec {COMMANDS[2]}"]
        folder = self._environment.folder
        self._log = (folder / "router.log").open("ab")
        self._process = subprocess.Popen(
            command, cwd=folder, env=self._environment.environ, stdout=self._log, stderr=self._log
        )
        wait(self._answers, "the daemon does not start")
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._log.close()

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._environment.folder / "router.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self._admin), 1).close()
        except OSError:
            return False
        return True
