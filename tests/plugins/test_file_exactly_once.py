"""The file sink at its own positions: what a crash left there and comes again is not written twice."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import Event, Message, Partial, Retry
from router.plugin import Secret
from router.testing import make_event, make_events
from router_plugins.directmail.decoder import DirectMail
from router_plugins.file import File
from router_plugins.mask import Mask

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def resume(sink: File, marks: Mapping[str, int], *batches: Sequence[Event]) -> dict[str, int]:
    """Deliver as after a start; return the marks as they would be committed."""
    committed = dict(marks)
    async with sink.resume(marks) as place:
        for batch in batches:
            committed.update(await place(batch))
    return committed


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def wanted(events: Sequence[Event]) -> list[str]:
    return [event.id for event in events]


def tear(path: Path, data: st.DataObject, synced: int) -> None:
    """Cut a file anywhere beyond what is synced for certain, as a crash may."""
    os.truncate(path, data.draw(st.integers(synced, path.stat().st_size)))


async def test_the_positions_are_the_lengths_of_the_files_that_were_touched(tmp_path: Path) -> None:
    sink = File(path=f"{tmp_path}/{{name}}.jsonl")
    async with sink.resume({}) as place:
        await place([make_event(name="a"), make_event(name="b")])
        marks = await place([make_event(name="b", number="2")])
    assert marks == {f"{tmp_path}/b.jsonl": (tmp_path / "b.jsonl").stat().st_size}


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_after_a_crash_anywhere_each_event_is_there_once(data: st.DataObject) -> None:
    """Crashes at random: after some batches, of which some are committed, in the middle of a line or not."""
    names = data.draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
    events = [make_event(name=name, number=str(number)) for number, name in enumerate(names)]

    async def crash_and_resume(folder: str) -> None:
        sink = File(path=f"{folder}/{{name}}.jsonl")
        committed, marks = 0, dict[str, int]()
        for _ in range(data.draw(st.integers(1, 4))):
            async with sink.resume(marks) as place:
                at = committed
                while at < len(events) and data.draw(st.booleans()):
                    end = data.draw(st.integers(at + 1, len(events)))
                    changed = await place(events[at:end])
                    marks_then, at = {**marks, **changed}, end
                    if data.draw(st.booleans()):
                        committed, marks = at, marks_then
                    else:
                        break
                else:
                    continue
            torn = Path(folder, f"{events[at - 1].get('name')}.jsonl")
            tear(torn, data, marks.get(str(torn), 0))
        await resume(sink, marks, events[committed:])

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(crash_and_resume, folder)
        for name in set(names):
            assert ids(Path(folder, f"{name}.jsonl")) == wanted([e for e in events if e.get("name") == name])


async def test_the_batches_may_be_cut_otherwise_when_they_come_again(tmp_path: Path) -> None:
    sink, events = File(path=f"{tmp_path}/log"), make_events(10)
    await resume(sink, {}, events[:7])
    marks = await resume(sink, {}, events[:3], events[3:4], events[4:])
    assert ids(tmp_path / "log") == wanted(events)
    assert marks == {f"{tmp_path}/log": (tmp_path / "log").stat().st_size}


async def test_a_crash_while_what_came_again_is_compared_costs_no_copy(tmp_path: Path) -> None:
    """The position in between is that of the event, not the length of the file."""
    sink, events = File(path=f"{tmp_path}/log"), make_events(10)
    await resume(sink, {}, events[:8])
    marks = await resume(sink, {}, events[:3])
    await resume(sink, marks, events[3:])
    assert ids(tmp_path / "log") == wanted(events)


async def test_a_file_of_somebody_else_is_appended_to_and_goes_on_after_a_crash(tmp_path: Path) -> None:
    sink, events = File(path=f"{tmp_path}/log"), make_events(4)
    strange = b'{"id":"of an older router"}\n'
    (tmp_path / "log").write_bytes(strange)
    await resume(sink, {}, events[:3])
    await resume(sink, {}, events)
    assert (tmp_path / "log").read_bytes() == strange + b"".join(event.json() + b"\n" for event in events)


async def test_an_archive_never_loses_a_line_to_a_stale_mark(tmp_path: Path) -> None:
    """Such as after a restore of the state folder: what is beyond the mark and does not come again stays."""
    sink, events = File(path=f"{tmp_path}/log"), make_events(6)
    stale = await resume(sink, {}, events[:2])
    await resume(sink, stale, events[2:5])
    await resume(sink, stale, events[5:])
    assert ids(tmp_path / "log") == wanted(events)


async def test_a_file_shorter_than_its_mark_goes_on_at_its_end(tmp_path: Path) -> None:
    sink, events = File(path=f"{tmp_path}/log"), make_events(4)
    marks = await resume(sink, {}, events[:3])
    (tmp_path / "log").write_bytes(events[0].json() + b"\n")
    await resume(sink, marks, events[3:])
    assert ids(tmp_path / "log") == wanted([events[0], events[3]])


async def test_a_file_that_was_moved_away_since_is_made_anew(tmp_path: Path) -> None:
    sink, events = File(path=f"{tmp_path}/log"), make_events(4)
    marks = await resume(sink, {}, events[:3])
    (tmp_path / "log").rename(tmp_path / "log.1")
    await resume(sink, marks, events[3:])
    assert ids(tmp_path / "log.1") + ids(tmp_path / "log") == wanted(events)


async def test_zeros_that_a_power_cut_left_beyond_the_mark_are_cut_off(tmp_path: Path) -> None:
    sink, events = File(path=f"{tmp_path}/log"), make_events(6)
    marks = await resume(sink, {}, events[:2])
    with (tmp_path / "log").open("ab") as file:
        file.write(events[2].json()[:20] + bytes(100) + b"\n" + events[3].json() + b"\n")
    await resume(sink, marks, events[2:])
    assert ids(tmp_path / "log") == wanted(events)


async def test_a_line_longer_away_than_a_piece_of_the_search_is_found(tmp_path: Path) -> None:
    sink, events = File(path=f"{tmp_path}/log"), make_events(3)
    (tmp_path / "log").write_bytes(b"x" * (2**20 - 30) + b"\n" + b"y" * 2**20 + b"\n")
    await resume(sink, {}, events[:2])
    await resume(sink, {}, events)
    assert (tmp_path / "log").read_bytes().count(b'{"id"') == 3


async def test_a_call_that_fails_in_part_says_how_long_the_other_files_are(tmp_path: Path) -> None:
    sink = File(path=f"{tmp_path}/{{name}}")
    (tmp_path / "b").mkdir()
    batch = [make_event(name="a"), make_event(name="b")]
    async with sink.resume({}) as place:
        with pytest.raises(Partial) as caught:
            await place(batch)
        assert caught.value.marks == {f"{tmp_path}/a": (tmp_path / "a").stat().st_size}
        (tmp_path / "b").rmdir()
        assert set(await place(batch[1:])) == {f"{tmp_path}/b"}


async def test_a_failed_write_in_the_middle_of_what_comes_again_costs_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, events = File(path=f"{tmp_path}/log"), make_events(6)
    await resume(sink, {}, events[:4])
    failures = iter([OSError(errno.EIO, os.strerror(errno.EIO))])

    def fail_once(fd: int) -> None:
        for failure in failures:
            raise failure

    monkeypatch.setattr(os, "fdatasync", fail_once)
    async with sink.resume({}) as place:
        with pytest.raises(Retry):
            await place(events)
        await place(events)
    assert ids(tmp_path / "log") == wanted(events)


@pytest.mark.parametrize(
    "body", [b"env_id=1&rcpt=bob@example.net&event=deliver&status=0&account=a@example.com", b"\xff"]
)
def test_an_event_made_again_from_the_journal_is_the_same_line(body: bytes) -> None:
    """Byte for byte, with `received`, masked or not; for that the lines are compared."""
    decoder, mask = DirectMail(), Mask(fields=["rcpt"], key=Secret("k" * 32))
    lines: set[bytes] = set()
    for received in (1773824400.123456, json.loads(json.dumps(1773824400.123456))):
        event = decoder.decode(Message(body, received), "push") if body != b"\xff" else make_event(raw=body)
        masked = mask.apply(event)
        assert masked
        lines |= {event.json() + masked.json()}
    assert len(lines) == 1
