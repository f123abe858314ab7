"""The file sink: delivered is on disk, and no field's value leads out of its place."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import ConfigError, Event, Partial, Reject, Retry
from router.testing import SinkSuite, make_event, make_events
from router_plugins.file import LONGEST_VALUE, File, harmless

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def write(sink: File, *batches: Sequence[Event]) -> None:
    async with sink.open() as deliver:
        for batch in batches:
            await deliver(batch)


def ids(*paths: Path) -> list[str]:
    return [json.loads(line)["id"] for path in paths for line in path.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Folder:
    """A folder of files; it is down when a file is where the folder should be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sink = File(path=f"{path}/{{account}}.jsonl")

    async def arrived(self) -> Sequence[str]:
        return ids(*sorted(self.path.glob("*.jsonl")))

    async def take_down(self) -> None:
        if self.path.exists():
            self.path.rename(self.path.with_suffix(".away"))
        self.path.write_text("in the way")

    async def bring_back(self) -> None:
        self.path.unlink()
        if self.path.with_suffix(".away").exists():
            self.path.with_suffix(".away").rename(self.path)


class TestFileSuite(SinkSuite):
    @pytest.fixture
    def destination(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path / "out")


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file of this process grow beyond 4,000 bytes: a write comes short there, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_the_path_is_made_of_the_events_fields_and_its_time_in_its_own_zone(tmp_path: Path) -> None:
    late = datetime(2026, 11, 23, 0, 30, tzinfo=timezone(timedelta(hours=8)))
    await write(File(path=f"{tmp_path}/{{time:%Y-%m-%d}}/{{region}}.jsonl"), [make_event(region="cn-x", time=late)])
    assert names(tmp_path / "2026-11-23") == ["cn-x.jsonl"]


async def test_a_line_is_the_flat_json_of_the_event(tmp_path: Path) -> None:
    event = make_event(region="x", err_msg="550 line\nbreak")
    await write(File(path=f"{tmp_path}/all.jsonl"), [event])
    assert (tmp_path / "all.jsonl").read_bytes() == event.json() + b"\n"


async def test_an_absent_and_an_empty_field_become_an_underscore(tmp_path: Path) -> None:
    await write(File(path=f"{tmp_path}/{{region}}.jsonl"), [make_event(), make_event(region="")])
    assert names(tmp_path) == ["_.jsonl"]


@pytest.mark.parametrize("value", ["../../etc/passwd", "/etc/passwd", "..", ".", ".hidden", "-rf", "a\x00b", "a\nb"])
async def test_no_value_leads_out_of_the_folder(tmp_path: Path, value: str) -> None:
    await write(File(path=f"{tmp_path}/in/{{region}}"), [make_event(region=value)])
    assert names(tmp_path) == ["in"]
    assert names(tmp_path / "in") == [harmless(value)]


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=100)


@given(ANY_TEXT, ANY_TEXT)
def test_different_values_give_different_names(one: str, other: str) -> None:
    assert (harmless(one) == harmless(other)) == (one == other)


@given(ANY_TEXT)
def test_a_name_is_short_printable_ascii_without_a_slash(value: str) -> None:
    name = harmless(value)
    assert 0 < len(name) <= LONGEST_VALUE
    assert name.isascii()
    assert name.isprintable()
    assert "/" not in name
    assert name[0] not in ".-"


def test_case_and_harmless_characters_are_kept() -> None:
    assert harmless("Bob+x@Mail.Example_1=2,3-4") == "Bob+x@Mail.Example_1=2,3-4"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "empty"),
        ("{region", "no template"),
        ("a}b", "no template"),
        ("{region!r}.jsonl", "conversion"),
        ("{0}.jsonl", "not the name"),
        ("{a.b}.jsonl", "not the name"),
        ("{region:>9}.jsonl", "only time"),
        ("{time}.jsonl", "needs a format"),
        ("{time:%Q}.jsonl", "directive"),
        ("{time:%}.jsonl", "directive"),
        ("out/", "folder"),
        ("out/{time:%Y/}", "folder"),
        ("x\x00.jsonl", "control"),
        ("all.jsonl.zst", "compressed"),
        ("{a}{b}{c}{d}.jsonl", "too long"),
    ],
)
def test_a_bad_path_is_a_config_error(path: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        File(path=path).check()
    assert caught.value.place == "path"


def test_good_paths_are_accepted() -> None:
    for path in ("all.jsonl", "{time:%Y/%m/%d}/{from}_{X-Tag}.jsonl", "{{x}}/{a}{b}{c}.jsonl"):
        File(path=path).check()


async def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    first, second = make_events(2)
    async with File(path=f"{tmp_path}/log.jsonl").open() as deliver:
        await deliver([first])
        (tmp_path / "log.jsonl").rename(tmp_path / "log.1")
        await deliver([second])
    assert ids(tmp_path / "log.1") == [first.id]
    assert ids(tmp_path / "log.jsonl") == [second.id]


async def test_a_torn_line_of_ours_is_cut_off(tmp_path: Path) -> None:
    first, second = make_events(2)
    path = tmp_path / "log.jsonl"
    path.write_bytes(first.json() + b"\n" + second.json()[:-9])
    await write(File(path=str(path)), [second])
    assert ids(path) == [first.id, second.id]


@pytest.mark.parametrize("text", [b"a table\nof someone", b"\x00" * 5000])
async def test_what_is_not_ours_is_kept_and_ended(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(text)
    event = make_event()
    await write(File(path=str(path)), [event])
    assert path.read_bytes() == text + b"\n" + event.json() + b"\n"


@pytest.mark.usefixtures("small_files")
async def test_a_full_disk_is_retry_and_the_file_is_as_before(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    async with File(path=str(path)).open() as deliver:
        await deliver(make_events(1))
        before = path.read_bytes()
        with pytest.raises(Retry, match=r"No space left"):
            await deliver(make_events(50, start=1))
        assert path.read_bytes() == before
        await deliver(make_events(1, start=1))
    assert ids(path) == [event.id for event in make_events(2)]


async def test_a_failed_sync_takes_the_lines_back_and_opens_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the kernel forgets what was not written: another fsync would lie."""
    path = tmp_path / "log.jsonl"
    failures = iter([OSError(errno.EIO, os.strerror(errno.EIO))])

    def fail_once(fd: int) -> None:
        for failure in failures:
            raise failure

    monkeypatch.setattr(os, "fdatasync", fail_once)
    async with File(path=str(path)).open() as deliver:
        with pytest.raises(Retry, match="Input/output error"):
            await deliver(make_events(1))
        assert path.read_bytes() == b""
        await deliver(make_events(1))
    assert len(ids(path)) == 1


async def test_new_folders_and_files_are_synced_into_the_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a power cut may take a file away whose lines are on disk."""
    synced: list[str] = []

    def record(fd: int) -> None:
        synced.append(str(Path(f"/dev/fd/{fd}").readlink()))

    monkeypatch.setattr(os, "fsync", record)
    await write(File(path=f"{tmp_path}/a/b/log.jsonl"), make_events(1))
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]


async def test_one_bad_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").mkdir()
    async with File(path=f"{tmp_path}/{{name}}.jsonl").open() as deliver:
        with pytest.raises(Partial) as caught:
            await deliver([make_event(name="a"), make_event(name="b"), make_event(name="c")])
    assert {index: type(error) for index, error in caught.value.errors.items()} == {1: Retry}
    assert len(ids(tmp_path / "a.jsonl", tmp_path / "c.jsonl")) == 2


async def test_a_fifo_or_device_is_retry_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, says in ((tmp_path / "fifo", "no regular file"), (Path("/dev/null"), "no regular file")):
        async with File(path=str(path)).open() as deliver:
            with pytest.raises(Retry, match=says):
                await deliver(make_events(1))


async def test_a_file_has_one_writer(tmp_path: Path) -> None:
    """Cutting back after an error would otherwise take another's lines."""
    sink = File(path=f"{tmp_path}/log.jsonl")
    async with sink.open() as one, sink.open() as other:
        await one(make_events(1))
        with pytest.raises(Retry, match="another subscription or process"):
            await other(make_events(1))


async def test_open_files_are_bounded_and_nothing_is_lost_by_it(tmp_path: Path) -> None:
    batch = [make_event(name=str(number % 50)) for number in range(50)]
    before = len(names(Path("/dev/fd")))
    async with File(path=f"{tmp_path}/{{name}}.jsonl", max_open=4).open() as deliver:
        await deliver(batch)
        assert len(names(Path("/dev/fd"))) - before <= 4
        await deliver(batch)
    assert sorted(ids(*(tmp_path / name for name in names(tmp_path)))) == sorted([event.id for event in batch] * 2)


async def test_calls_at_once_do_not_mix(tmp_path: Path) -> None:
    async with File(path=f"{tmp_path}/log.jsonl").open() as deliver, anyio.create_task_group() as group:
        for start in range(0, 100, 10):
            group.start_soon(deliver, make_events(10, start))
    assert sorted(ids(tmp_path / "log.jsonl")) == sorted(event.id for event in make_events(100))


async def test_raw_lines_are_the_bytes_as_they_came(tmp_path: Path) -> None:
    events = [
        make_event(raw=b"env_id=1&x"),
        make_event(raw=b"env_id=2\n"),
        make_event(raw=b"\xff\r\n"),
        make_event(raw=b""),
    ]
    await write(File(path=f"{tmp_path}/log", form="raw"), events)
    assert (tmp_path / "log").read_bytes() == b"env_id=1&x\nenv_id=2\n\xff\r\n\n"


async def test_a_raw_message_of_several_lines_is_refused_alone(tmp_path: Path) -> None:
    async with File(path=f"{tmp_path}/log", form="raw").open() as deliver:
        with pytest.raises(Partial) as caught:
            await deliver([make_event(raw=b"one"), make_event(raw=b"<a>\n</a>")])
    assert isinstance(caught.value.errors[1], Reject)
    assert (tmp_path / "log").read_bytes() == b"one\n"
