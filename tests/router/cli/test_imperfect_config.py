"""Commands need no perfect config: those that ask the daemon work on, whatever has become of its file meanwhile."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from servers.daemon import Daemon, post

from router.cli.app import execute

TOKEN = "a-token-of-some-length"
DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      files: {to: {type: file, path: "{out}/x.jsonl"}}
      hook: {to: {type: webhook, url: "http://127.0.0.1:9/"}, delivery: {tries: 1, schedule: []}}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all, with a token that is in its environment and in no other."""
    made = Daemon(tmp_path_factory.mktemp("imperfect"), DEPARTMENTS)
    made.config.write_text(made.config.read_text().replace("admin: {", "admin: {token: '${ADMIN_TOKEN}', "))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMIN_TOKEN", TOKEN)
        made.start()
    anyio.run(post, made.url, range(3), dict[int, int]())
    yield made
    if made.process and made.process.poll() is None:
        made.kill()


@pytest.fixture
def good(daemon: Daemon) -> Iterator[str]:
    """Give the text of the config, which is there again afterwards."""
    text = daemon.config.read_text()
    yield text
    if daemon.config.is_dir():
        daemon.config.rmdir()
    daemon.config.write_text(text)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("ADMIN_TOKEN", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = execute(arguments)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


MISTAKES: dict[str, Callable[[str], str | bytes | None]] = {
    "a typo of YAML in a subscription": lambda text: text.replace("hook: {", "hook: {{:"),
    "a typo of YAML at the top": lambda text: text.replace("sources:", "sources: ["),
    "a tab": lambda text: text.replace("  push:", "\tpush:"),
    "an unknown key": lambda text: text + "sorces: {}\n",
    "the variable of the token is not set": lambda text: text,
    "a variable is not set": lambda text: text.replace("{out}", "${NOWHERE}").replace("x.jsonl", "${NOWHERE}.jsonl"),
    "the file of a secret is gone": lambda text: text.replace("'${ADMIN_TOKEN}'", "{file: /nowhere/token}"),
    "a plugin that is not there": lambda text: f"plugins: [nowhere]\n{text}".replace("type: webhook", "type: carrier"),
    "an empty file": lambda _: "",
    "a list": lambda _: "- a\n- b\n",
    "no UTF-8": lambda text: text.encode().replace(b"departments", b"\xff\xfe departments"),
    "deep nesting": lambda text: text + "match: " + "[" * 3000,
    "another admin address": lambda text: text.replace("listen: 127.0.0.1", "listen: 127.0.0.2", 1),
    "nothing but conflict markers": lambda text: f"<<<<<<< ours\n{text}=======\n>>>>>>> theirs\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_commands_work_on_the_running_daemon_whatever_is_wrong_with_its_file(
    daemon: Daemon, good: str, run: Run, mistake: str
) -> None:
    made = MISTAKES[mistake](good)
    assert made is not None
    daemon.config.write_bytes(made if isinstance(made, bytes) else made.encode())
    config = str(daemon.config)
    for arguments, said in (
        (("status", config), "a/files"),
        (("pause", config, "a/files"), "a/files is paused"),
        (("resume", config, "a/files"), "a/files delivers"),
        (("explain", config, "R1@Example.NET"), "a/files"),
        (("dead", "list", config, "a/hook"), "exhausted"),
        (("dead", "show", config, "a/hook", "1"), '"position": 1'),
        (("dead", "replay", config, "a/hook", "--kind", "refused"), "0 dead letters"),
        (("replay", config, "a/files"), "number"),
        (("verify", config), "a/hook"),
        (("journal", "cat", config), "env_id"),
        (("journal", "check", config), "sound"),
    ):
        code, out, err = run(*arguments)
        assert code == 0, (arguments, out, err)
        assert said in out, (arguments, out, err)
        assert len(err.splitlines()) <= 1, (arguments, err)
    told = json.loads(run("verify", config, "--json")[1])
    assert told["ok"]
    assert {one["name"]: one["recounted"] for one in told["subscriptions"]} == {"a/files": 3, "a/hook": 3}


def test_a_reload_says_what_is_wrong_with_the_file_once(daemon: Daemon, good: str, run: Run) -> None:
    daemon.config.write_text(good.replace("hook: {", "hook: {{:"))
    code, _, err = run("reload", str(daemon.config))
    assert code == 78
    assert err.startswith(f"router: {daemon.config}:12:18: no valid YAML")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("way", ["admin", "url", "state", "admin beside a bad config", "state beside none"])
def test_no_config_is_needed_where_an_option_says_which_daemon(daemon: Daemon, good: str, run: Run, way: str) -> None:
    state = daemon.folder / "state"
    daemon.config.write_text(good.replace("hook: {", "hook: {{:"))
    options = {
        "admin": ("--admin", f"127.0.0.1:{daemon.admin}"),
        "url": ("--admin", f"http://localhost:{daemon.admin}/"),
        "state": ("--state", str(state)),
        "admin beside a bad config": (str(daemon.config), "--admin", f"127.0.0.1:{daemon.admin}"),
        "state beside none": (str(daemon.folder / "nowhere.yaml"), "--state", str(state)),
    }[way]
    with pytest.MonkeyPatch.context() as patch:
        if "admin" in way or way == "url":
            patch.setenv("ROUTER_ADMIN_TOKEN", TOKEN)
        for command, *others in (
            ("status",),
            ("pause", "a/files"),
            ("resume", "a/files"),
            ("explain", "r1@example.net"),
            ("dead list", "a/hook"),
            ("dead show", "a/hook", "1"),
            ("replay",),
            ("replay", "a/files"),
            ("verify",),
        ):
            before = [options[0]] if len(options) % 2 else []
            code, out, err = run(*command.split(), *before, *others, *options[len(before) :])
            assert code == 0, (command, err)
            assert out


def test_the_note_is_for_its_owner_alone_and_gone_with_the_daemon(tmp_path: Path, run: Run) -> None:
    made = Daemon(tmp_path, DEPARTMENTS)
    made.config.write_text(made.config.read_text().replace(f"127.0.0.1:{made.admin}", "127.0.0.1:0", 1))
    made.admin = made.push  # nobody knows the port but the note
    made.start()
    note = tmp_path / "state" / "admin.json"
    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(_until, note.exists)
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert run("status", str(made.config))[0] == 0
    stale = note.read_bytes()
    assert made.stop() == 0
    assert not note.exists()
    note.write_bytes(stale)
    code, _, err = run("pause", "--state", str(tmp_path / "state"), "a/files")
    assert code == 1
    assert "no daemon has" in err


async def _until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.02)


WRONG = [
    "files",
    "fils",
    "a/fils",
    "A/Files",
    "a/files/",
    "/a/files",
    " a/files",
    "a%2Ffiles",
    "a/files?x=1",
    "a/fil#es",
]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_subscription_is_answered_with_the_nearest(daemon: Daemon, run: Run, name: str) -> None:
    config = str(daemon.config)
    for command, *others in (
        ("pause",),
        ("resume",),
        ("forget-subscription",),
        ("replay",),
        ("replay", "--stop"),
        ("replay", "--resume"),
        ("replay", "--since", "2h"),
        ("replay", "--wait"),
        ("dead list",),
        ("dead show", "1"),
        ("dead replay",),
        ("dead discard",),
    ):
        code, out, err = run(*command.split(), config, name, *others)
        assert (code, out) == (1, ""), (command, out, err)
        assert "did you mean `a/files`?" in err, (command, err)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMIN_TOKEN", TOKEN)
        code, _, err = run("replay", config, name, "--since", "2h", "--dry-run")
    assert code == 1
    assert "did you mean `a/files`?" in err


@pytest.mark.parametrize(
    "name", ["..", ".", "%", "%00", "a/..", "../status", "用户/档", "a/\udcff", "x" * 5000, "a b/c d"]
)
def test_a_name_of_odd_characters_is_no_subscription(daemon: Daemon, run: Run, name: str) -> None:
    for command in ("pause", "replay", "dead list", "forget-subscription"):
        code, _, err = run(*command.split(), str(daemon.config), name)
        assert code == 1
        assert "no subscription" in err


@pytest.mark.parametrize(
    "address", ["", ":", "localhost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:1e3", "ftp://x:1",
                "https://127.0.0.1:1", "http://a@b:1", "[::1", "x:" + "9" * 5000]
)  # fmt: skip
def test_an_address_that_is_none_is_said_to_be_none(run: Run, address: str) -> None:
    code, _, err = run("pause", "a/files", "--admin", address)
    assert code in {1, 2}
    assert "HOST:PORT" in err or "Missing argument" in err
    assert len(err.splitlines()) == 1


def test_what_answers_but_is_no_daemon_is_said_to_be_none(run: Run) -> None:
    import http.server  # noqa: PLC0415
    import threading  # noqa: PLC0415

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>\x1b[2J" + b"[" * 100_000)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for arguments in (("status",), ("explain", "x"), ("dead", "list", "a/files"), ("replay",)):
            code, out, err = run(*arguments, "--admin", f"127.0.0.1:{server.server_address[1]}")
            assert (code, out) == (1, "")
            assert "no router's admin API" in err
            assert len(err.splitlines()) == 1
        server.shutdown()


@pytest.mark.parametrize("what", ["gone", "a folder", "empty", "no YAML"])
def test_without_a_daemon_a_file_that_says_nothing_is_the_mistake(tmp_path: Path, run: Run, what: str) -> None:
    config = tmp_path / "router.yaml"
    if what == "a folder":
        config.mkdir()
    elif what != "gone":
        config.write_text("" if what == "empty" else "admin: {listen: [\n")
    for command, *others in (("pause", "a/b"), ("dead list", "a/b"), ("status",), ("journal cat",), ("verify",)):
        code, out, err = run(*command.split(), str(config), *others)
        assert code in {1, 78}, (command, err)
        assert out == ""
        assert 1 <= len(err.splitlines()) <= 2, (command, err)


def test_a_stopped_journal_is_read_by_what_is_left_of_the_config(tmp_path: Path, run: Run) -> None:
    made = Daemon(tmp_path, DEPARTMENTS)
    made.start()
    anyio.run(post, made.url, range(2), dict[int, int]())
    made.wait_settled()
    assert made.stop() == 0
    text = made.config.read_text()
    for mistake in (
        text + "x: [",
        text.replace("type: webhook", "type: carrier"),
        text.replace("hook: {", "hook: {{:"),
    ):
        made.config.write_text(mistake)
        config = str(made.config)
        assert '"env_id":"1"' in run("journal", "cat", config)[1]
        assert "delivered" in run("explain", config, "r1@example.net")[1]
        told = json.loads(run("verify", config, "--json")[1])
        assert {one["name"]: one["delivered"] for one in told["subscriptions"]}["a/files"] == 2
        code, _, err = run("journal", "compact", config)
        assert code == 78, err
