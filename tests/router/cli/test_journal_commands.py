"""`router journal` as a user types it: on a journal that was really written, sound, damaged, and in use."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.daemon import post, running, text
from structlog.testing import capture_logs
from typer.testing import CliRunner

from router.cli.app import build
from router.config import load
from router.errors import RouterError
from router.event import Event, Message
from router.intake import event_of
from router.journal import Change, DeadLetter, Parked, Progress
from router.lines import body_of, line_of

pytestmark = pytest.mark.anyio

BODIES = [
    *(text(n) for n in range(4)),
    *(text(n, status=4) for n in range(4, 6)),
    b"junk",
    b"",
    b"two\r\nlines\n",
    b"base64:no",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def router(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "router", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=30
    )


def called(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command in this process; returns its exit code, standard output and standard error."""
    with capture_logs():
        done = CliRunner().invoke(build(str(arguments[0])), [str(argument) for argument in arguments])
    if isinstance(done.exception, RouterError):
        return 1, done.stdout, f"router: {done.exception}"
    return done.exit_code, done.stdout, done.stderr


def config(folder: Path, journal: str = "{}") -> Path:
    path = folder / "router.yaml"
    path.write_text(
        f"state: {folder / 'state'}\njournal: {journal}\n"
        "sources: {push: {type: mns_push, listen: 127.0.0.1:0, verify: false}}\n"
        "departments: {a: {accounts: ['*'], subscriptions: {x: {to: {type: stdout}}, y: {to: {type: stdout}}}}}\n"
    )
    return path


@pytest.fixture
async def written(tmp_path: Path) -> Path:
    """Write a journal that has `BODIES`, two in a row, and the books of a subscription."""
    path = config(tmp_path)
    await fill(path, BODIES)
    return path


async def fill(path: Path, bodies: list[bytes]) -> None:
    loaded = load(path, {})

    def restore(message: Message, source: str, name: str) -> Event:
        return event_of(loaded.decoder, message, source, name)

    events = [event_of(loaded.decoder, Message(body, 1000.0 + n), "push") for n, body in enumerate(bodies)]
    trouble: dict[str, Any] = {"reason": "no", "status": 400, "attempts": 1, "first_try": 1.0, "last_try": 1.0}
    async with loaded.journal.open(Path(loaded.state), restore) as partition:
        for n in range(0, len(events), 2):
            await partition.append(events[n : n + 2])
        parked = Parked(position=2, event=events[1], due=1e12, times=0, **trouble)
        dead = DeadLetter(position=3, event=events[2], kind="refused", **trouble)
        progress = Progress(position=7, since=1, pattern="p", delivered=4, parked=1, dead=1)
        partition.commit("a/x", progress, Change(parked=[parked], dead=[dead]))


def change(path: Path, *statements: str) -> None:
    with sqlite3.connect(path.parent / "state" / "journal.db") as sql:
        for statement in statements:
            sql.execute(statement)
    sql.close()


def check(path: Path, *options: str) -> tuple[int, Any]:
    code, out, _ = called("journal", "check", path, "--json", *options)
    return code, json.loads(out)


def cat(path: Path, *options: str) -> list[Any]:
    code, out, err = called("journal", "cat", path, *options)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def test_a_sound_journal_is_sound(written: Path) -> None:
    code, found = check(written)
    assert (code, found["ok"]) == (0, True)
    assert found["report"] == {"events": len(BODIES), "damage": [], "set_aside": 0, "renamed": 0}
    assert "10 events: sound" in router("journal", "check", written).stdout


@pytest.mark.parametrize(
    ("statement", "problem", "first", "last"),
    [
        ("UPDATE batches SET body = zeroblob(length(body)) WHERE first = 3", "checksum", 3, 4),
        ("UPDATE batches SET ids = zeroblob(32) WHERE first = 9", "checksum", 9, 10),
        ("UPDATE batches SET body = x'' WHERE first = 1", "checksum", 1, 2),
        ("UPDATE batches SET count = 1 WHERE first = 3", "it says that it has 1", 3, 3),
        ("UPDATE batches SET count = 3 WHERE first = 3", "it says that it has 3", 3, 5),
        ("DELETE FROM batches WHERE first = 5", "no row has", 5, 6),
        ("UPDATE parked SET event = x'00'", "cannot be read", 2, 2),
        ("UPDATE dead SET event = x'93'", "cannot be read", 3, 3),
    ],
)
async def test_damage_is_found_set_aside_and_leaves_positions_as_they_are(
    written: Path, statement: str, problem: str, first: int, last: int
) -> None:
    """After a repair the journal is sound, every position has its event, and what was not damaged is untouched."""
    before = {event["position"]: event for event in cat(written)}
    change(written, statement)
    code, found = check(written)
    assert code == 1
    assert any(problem in d["problem"] and (d["first"], d["last"]) == (first, last) for d in found["report"]["damage"])
    assert problem in called("journal", "check", written)[1]
    code, found = check(written, "--repair")
    assert (code, found["ok"]) == (0, True), found
    assert found["repaired"]
    after = {event["position"]: event for event in cat(written)}
    assert list(after) == list(before) == list(range(1, len(BODIES) + 1))
    damaged = {p for p in after if after[p] != before[p]}
    assert damaged <= {1, 2, 3, 4, 5, 6, 9, 10}
    assert len(damaged) <= (0 if "count" in statement or "event" in statement else 2)
    assert all(after[p].get("reason") == "the journal row is damaged" for p in damaged)


async def test_what_is_set_aside_keeps_its_bytes(written: Path) -> None:
    body = b"torn"
    change(written, f"UPDATE batches SET body = x'{body.hex()}' WHERE first = 3")
    check(written, "--repair")
    (line,) = (written.parent / "state" / "journal.aside.jsonl").read_text().splitlines()
    aside = json.loads(line)
    assert base64.b64decode(aside["content"]) == body
    assert (aside["table"], aside["position"]) == ("batches", 3)
    assert aside["problem"]
    assert check(written)[1]["report"]["set_aside"] == 2


async def test_the_daemon_goes_on_over_what_was_set_aside(written: Path) -> None:
    change(written, "UPDATE batches SET body = x'00' WHERE first = 3", "UPDATE parked SET event = x'00'")
    check(written, "--repair")
    loaded = load(written, {})
    restore = partial(_restore, loaded)
    async with loaded.journal.open(Path(loaded.state), restore) as partition:
        segment = await partition.read(1, 100)
        (parked,) = await partition.parked("a/x", 10)
        await partition.append([event_of(loaded.decoder, Message(text(99), 1.0), "push")])
        assert partition.head == len(BODIES) + 2
    assert [e.type == "Undecodable" for e in segment.events[:6]] == [False, False, True, True, False, False]
    assert parked.event.id == segment.events[1].id


def _restore(loaded: Any, message: Message, source: str, name: str) -> Event:
    return event_of(loaded.decoder, message, source, name)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE progress SET position = 99", "out of order"),
        ("UPDATE progress SET delivered = delivered + 1", "add up to 7, not 6"),
        ("DELETE FROM parked", "0 parked events, but it counts 1"),
        ("UPDATE progress SET dead = 0, delivered = 5", "1 dead letters, but it counts 0"),
        ("UPDATE progress SET name = 'a/z'", "has parked events or dead letters, but no progress"),
    ],
)
async def test_cooked_books_are_found_and_left_for_people(written: Path, statement: str, problem: str) -> None:
    change(written, statement)
    code, found = check(written, "--repair")
    assert (code, found["repaired"]) == (1, 0)
    assert any(problem in d["problem"] and d["problem"].startswith("a/x: ") for d in found["report"]["damage"])


async def test_an_id_that_the_decoder_would_not_give_is_noted_and_is_no_damage(written: Path) -> None:
    with sqlite3.connect(written.parent / "state" / "journal.db") as sql:
        body = sql.execute("SELECT body FROM batches WHERE first = 3").fetchone()[0]
        ids = bytes(range(32))
        sql.execute("UPDATE batches SET ids = ?, crc = ? WHERE first = 3", (ids, zlib.crc32(body, zlib.crc32(ids))))
    sql.close()
    code, found = check(written, "--ids")
    assert (code, found["report"]["renamed"]) == (0, 2)
    assert check(written)[1]["report"]["renamed"] == 0


async def test_a_file_that_sqlite_cannot_read_is_one_line_until_it_is_repaired(written: Path) -> None:
    path = written.parent / "state" / "journal.db"
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 4] = b"\xff" * (4096 * 3)
    path.write_bytes(content)
    for command in ("compact", "cat"):
        done = router("journal", command, written)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("router: ")
    code, found = check(written)
    assert code == 1
    assert any("malformed" in damage["problem"] for damage in found["report"]["damage"])
    code, found = check(written, "--repair")
    assert found["repaired"]
    assert not [damage for damage in found["report"]["damage"] if damage["repairable"]]
    assert router("journal", "compact", written).returncode == 0


async def test_cat_picks_by_position_time_and_match(written: Path) -> None:
    assert [e["position"] for e in cat(written)] == list(range(1, 11))
    assert [e["position"] for e in cat(written, "--from", "4", "--to", "5")] == [4, 5]
    assert [e["position"] for e in cat(written, "--since", "1970-01-01T00:16:45Z")] == list(range(6, 11))
    assert [e["position"] for e in cat(written, "--until", "1970-01-01T08:16:42")] == [1, 2]
    assert cat(written, "--since", "1h") == []
    failed = cat(written, "--match", "{type: dm:Deliver:Fail, env_id: {not: [5]}}")
    assert [(e["position"], e["type"]) for e in failed] == [(5, "Deliver:SendFailed")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--match", "{regoin: x}"), "region"),
        (("--match", "[1]"), "a mapping"),
        (("--since", "yesterday"), "a time is written"),
        (("--from", "0"), "--from"),
    ],
)
async def test_a_mistake_in_what_to_pick_is_wrong_usage(written: Path, options: tuple[str, ...], said: str) -> None:
    code, _, err = called("journal", "cat", written, *options)
    assert code == 2
    assert said in err


async def test_what_is_exported_is_decoded_to_the_same_events(written: Path, tmp_path: Path) -> None:
    """Messages with line ends, empty ones and those that look like base64 included."""
    file = tmp_path / "out.txt"
    done = router("journal", "export", written, file)
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert [body_of(line) for line in file.read_bytes().split(b"\n")[:-1]] == BODIES
    assert file.read_text() == router("journal", "cat", written, "--raw").stdout
    decoded = [json.loads(line) for line in router("decode", file).stdout.splitlines()]
    expected = cat(written)
    assert len(decoded) == len(expected)
    for one, other in zip(decoded, expected, strict=True):
        assert one["type"] == other["type"]
        if one["type"] != "Undecodable":  # whose id and time are of its message, and not of its body
            assert {**one, "received": "", "source": ""} == {**without_position(other), "received": "", "source": ""}


def without_position(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "position"}


async def test_an_export_never_writes_over_a_file_and_leaves_no_half_one(written: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.txt"
    file.write_text("mine")
    done = router("journal", "export", written, file)
    assert (done.returncode, file.read_text()) == (1, "mine")
    assert "is there already" in done.stderr
    assert router("journal", "export", written, tmp_path / "nowhere" / "out.txt").returncode == 1
    change(written, "UPDATE batches SET body = x'00' WHERE first = 3")
    done = router("journal", "export", written, tmp_path / "rest.txt")
    assert done.returncode == 1
    assert "2 damaged events were left out" in done.stderr
    assert len((tmp_path / "rest.txt").read_bytes().splitlines()) >= len(BODIES) - 2
    assert not (tmp_path / "rest.txt.part").exists()


async def test_compacting_deletes_what_is_settled_and_old_and_nothing_else(tmp_path: Path) -> None:
    """What a subscription of the config has not settled stays, and so do parked events and dead letters."""
    path = config(tmp_path, "{type: sqlite, retention: 0s}")
    await fill(path, [*BODIES[:8], *(text(n) + b"x" * 20_000 for n in range(100, 150))])
    await anyio.sleep(0.01)
    before = (tmp_path / "state" / "journal.db").stat().st_size
    assert called("journal", "compact", path)[0] == 0
    assert [e["position"] for e in cat(path)] == list(range(7, 59))
    change(path, "UPDATE progress SET position = 57, delivered = 54")
    done = router("journal", "compact", path)
    assert done.returncode == 0, done.stderr
    assert "MiB before" in done.stdout
    assert [e["position"] for e in cat(path)] == [57, 58]
    assert (tmp_path / "state" / "journal.db").stat().st_size < before / 4
    assert check(path)[0] == 0
    loaded = load(path, {})
    async with loaded.journal.open(Path(loaded.state), partial(_restore, loaded)) as partition:
        (parked,), (dead,) = await partition.parked("a/x", 9), await partition.dead_letters("a/x", 0, 9)
        assert (bytes(parked.event.raw), bytes(dead.event.raw)) == (BODIES[1], BODIES[2])
        await partition.append([event_of(loaded.decoder, Message(BODIES[0], 1.0), "push")])
        assert partition.head == 59  # its id is still known, so it was a duplicate


async def test_beside_a_daemon_it_checks_and_cats_but_repairs_and_compacts_nothing(tmp_path: Path) -> None:
    departments = """
  a: {accounts: ["*"], subscriptions: {x: {to: {type: file, path: "{out}/x.jsonl"}}}}
"""
    answered: dict[int, int] = {}
    with running(tmp_path, departments) as daemon:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post, daemon.url, range(1500), answered)
            for _ in range(3):
                code, found = await anyio.to_thread.run_sync(check, daemon.config)
                assert code == 0, found
        assert len(cat(daemon.config)) == 1500
        change(daemon.config, "UPDATE batches SET body = x'00' WHERE first = 1")
        for arguments in (("check", "--repair"), ("compact",)):
            done = daemon.cli("journal", arguments[0], str(daemon.config), *arguments[1:])
            assert done.returncode == 78
            assert "another router is running" in done.stderr


@pytest.mark.parametrize("command", ["check", "cat", "export", "compact"])
def test_each_journal_command_has_an_example_and_says_where_no_journal_is(tmp_path: Path, command: str) -> None:
    assert "Example: router journal" in called("journal", command, "--help")[1]
    arguments = [tmp_path / "file"] if command == "export" else []
    code, _, err = called("journal", command, config(tmp_path), *arguments)
    assert code == 1
    assert "no journal at" in err
    assert not (tmp_path / "state").exists()


@given(st.binary() | st.binary().map(lambda b: b"base64:" + b) | st.text("a=/+\r\n").map(lambda t: t.encode()))
def test_any_message_survives_as_a_line(body: bytes) -> None:
    line = line_of(body)
    assert line
    assert b"\n" not in line
    assert body_of(line.rstrip(b"\r\n")) == body
