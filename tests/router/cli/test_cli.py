"""The commands as a user types them: output, exit codes, and one line for a mistake."""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINE = (
    b"env_id=1&msg_id=2&account=a@b.cn&from=a@b.cn&rcpt=c+d@e.cn&recv_time=2017-04-14 11:44:47"
    b"&end_time=2017-04-14 11:44:48&status=%d&event=deliver&region=cn-hangzhou&err_code=550&err_msg=550 a=b&c=d"
)


def router(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "router", *arguments], input=stdin, capture_output=True, check=False, timeout=30
    )


def test_decode_prints_one_json_object_for_each_line() -> None:
    done = router("decode", stdin=LINE % 0 + b"\n\n" + LINE % 2 + b"\r\njunk\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [e["type"] for e in events] == ["Deliver:SendSuccessfully", "Deliver:SendFailed", "Undecodable"]
    assert events[0]["rcpt"] == "c+d@e.cn"
    assert events[0]["err_msg"] == "550 a=b&c=d"
    assert events[0]["time"] == "2017-04-14T11:44:48+08:00"
    assert events[2]["reason"]
    assert events[2]["body"] == "junk"


def test_decode_whole_takes_each_file_as_one_message(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LINE % 2 + b"\r\nsecond line\n")
    (tmp_path / "b").write_bytes(b'{\n "specversion": "1.0"\n}\n')
    done = router("decode", "--whole", str(tmp_path / "a"), str(tmp_path / "b"))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["type"] for e in events] == ["Deliver:SendFailed", "Undecodable"]
    assert events[0]["err_msg"] == "550 a=b&c=d\r\nsecond line"


def test_decode_takes_another_time_zone() -> None:
    done = router("decode", "--timezone", "Europe/Berlin", stdin=LINE % 0)
    assert json.loads(done.stdout)["time"] == "2017-04-14T11:44:48+02:00"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("decode", "/nowhere/at-all"), 1, "No such file"),
        (("decode", "--timezone", "Mars/Olympus"), 78, "timezone"),
        (("check", "/nowhere/at-all.yaml"), 78, "cannot be read"),
        (("run", "/nowhere/at-all.yaml"), 78, "cannot be read"),
        (("verify", "/nowhere/at-all.yaml"), 78, "cannot be read"),
        (("status", "--admin", "127.0.0.1:1"), 1, "is it running?"),
        (("demo", "--keep", "/proc/nothing"), 1, "--keep"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_a_users_mistake_is_a_line_and_an_exit_code(arguments: tuple[str, ...], code: int, said: str) -> None:
    done = router(*arguments, stdin=LINE % 0)
    assert done.returncode == code, done.stderr
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def config(folder: Path, listen: str = "127.0.0.1:0", admin: str = "127.0.0.1:0", state: str = "state") -> str:
    path = folder / "router.yaml"
    path.write_text(
        f"state: {folder / state}\nadmin: {{listen: {admin}}}\n"
        f"sources: {{push: {{type: mns_push, listen: {listen}, verify: false}}}}\n"
        "departments: {a: {accounts: ['*'], subscriptions: {x: {to: {type: stdout}}}}}\n"
    )
    return str(path)


def test_a_good_config_is_said_to_be_good(tmp_path: Path) -> None:
    done = router("check", config(tmp_path))
    assert done.returncode == 0
    assert b"good" in done.stdout


def test_verify_without_a_journal_says_so(tmp_path: Path) -> None:
    done = router("verify", config(tmp_path))
    assert done.returncode == 1
    assert b"no journal at" in done.stderr


@pytest.mark.parametrize("what", ["listen", "admin"])
def test_an_address_in_use_ends_the_daemon_with_one_line(tmp_path: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = router("run", config(tmp_path, **{what: address}))
    assert done.returncode in {1, 78}
    said = [line for line in done.stderr.decode().splitlines() if line.startswith("router: ")]
    assert len(said) == 1
    assert "in use" in said[0]
    assert b"Traceback" not in done.stderr


def test_a_state_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = router("run", config(tmp_path, state="file/state"))
    assert done.returncode == 78
    assert b"state" in done.stderr
    assert b"Traceback" not in done.stderr


def test_nothing_is_raised_inside_an_except_star() -> None:
    """CPython 3.11.2, Debian 12's, wraps it into a group: an exit would be a traceback and exit code 1."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("router", "plugins", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for tried in ast.walk(ast.parse(path.read_text()))
        if isinstance(tried, ast.TryStar)
        for caught in tried.handlers
        for node in ast.walk(caught)
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("exit"))
    ]
    assert not found


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    done = subprocess.run(
        f"yes '{(LINE % 0).decode()}' | head -5000 | {sys.executable} -m router decode | head -1",
        shell=True,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert b"Traceback" not in done.stderr
    assert json.loads(done.stdout)["type"] == "Deliver:SendSuccessfully"


@pytest.mark.parametrize("command", ["run", "check", "decode", "status", "verify", "demo", "emulator"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = router(command, "--help")
    assert done.returncode == 0
    assert b"xample" in done.stdout
