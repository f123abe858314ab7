"""The file source: every line once and in order, across restarts, and nothing but lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from router import ConfigError, Message, Retry
from router_plugins.file_source import READ, FileSource

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Taken:
    """An Emit that keeps what it takes, and fails as told."""

    def __init__(self, *failures: Exception) -> None:
        self.bodies: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self._failures = list(failures)

    async def emit(self, messages: Sequence[Message]) -> None:
        if self._failures:
            raise self._failures.pop(0)
        self.bodies += [bytes(message.body) for message in messages]

    def count(self, what: str) -> None:
        self.counts[what] += 1


@asynccontextmanager
async def reading(source: FileSource, taken: Taken) -> AsyncGenerator[Callable[[int], Awaitable[None]]]:
    """Run the source; yield what waits until so many messages were taken."""

    async def wait_taken(count: int) -> None:
        with anyio.fail_after(10):
            while len(taken.bodies) < count:
                await anyio.sleep(0.005)
        await anyio.sleep(0.05)  # for what should not come

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run, taken.emit, lambda: None, taken.count)
        yield wait_taken
        tasks.cancel_scope.cancel()


def lines(first: int, last: int) -> list[bytes]:
    return [b"line %d " % i + b"x" * (i % 97) for i in range(first, last)]


def source(path: Path, *, follow: bool = False, max_line: int = 2**20) -> FileSource:
    return FileSource(path=str(path), follow=follow, look=0.01, max_line=max_line)


async def test_every_line_is_handed_in_once_and_in_order_also_a_last_one_without_an_end(tmp_path: Path) -> None:
    path, taken, expected = tmp_path / "m.txt", Taken(), lines(0, 20_000)
    path.write_bytes(b"\n".join(expected))
    assert path.stat().st_size > 3 * READ
    async with reading(source(path), taken) as wait:
        await wait(len(expected))
    assert taken.bodies == expected


async def test_what_is_no_line_comes_as_it_was_exported(tmp_path: Path) -> None:
    path, taken = tmp_path / "m.txt", Taken()
    path.write_bytes(b"base64:YQpi\nplain\r\n\nbase64:\n")
    async with reading(source(path), taken) as wait:
        await wait(3)
    assert taken.bodies == [b"a\nb", b"plain", b""]


async def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path, first, second = tmp_path / "m.txt", Taken(), Taken()
    path.write_bytes(b"\n".join(lines(0, 100)) + b"\n")
    async with reading(source(path), first) as wait:
        await wait(100)
    with path.open("ab") as file:
        file.write(b"\n".join(lines(100, 150)) + b"\n")
    async with reading(source(path), second) as wait:
        await wait(50)
    assert second.bodies == lines(100, 150)


async def test_what_could_not_be_stored_is_handed_in_again_and_the_position_waits(tmp_path: Path) -> None:
    path, taken = tmp_path / "m.txt", Taken(Retry("full", after=0.3))
    path.write_bytes(b"a\nb\n")
    async with reading(source(path), taken) as wait:
        await anyio.sleep(0.1)
        assert not path.with_name("m.txt.position").exists()
        await wait(2)
    assert taken.bodies == [b"a", b"b"]


async def test_a_file_that_is_followed_gives_its_new_lines_when_they_are_whole(tmp_path: Path) -> None:
    path, taken = tmp_path / "m.txt", Taken()
    async with reading(source(path, follow=True), taken) as wait:
        path.write_bytes(b"a\nb")
        await wait(1)
        assert taken.bodies == [b"a"]
        with path.open("ab") as file:
            file.write(b"c\n")
        await wait(2)
    assert taken.bodies == [b"a", b"bc"]


async def test_a_new_file_in_its_place_is_read_from_its_start_after_the_old_one(tmp_path: Path) -> None:
    path, taken = tmp_path / "m.txt", Taken()
    path.write_bytes(b"a\n")
    async with reading(source(path, follow=True), taken) as wait:
        await wait(1)
        with path.open("ab") as file:
            path.rename(tmp_path / "m.txt.1")
            file.write(b"b\n")
            file.flush()
            path.write_bytes(b"c\n")
        await wait(3)
    assert taken.bodies == [b"a", b"b", b"c"]


async def test_a_file_that_was_cut_is_read_from_its_start(tmp_path: Path) -> None:
    path, taken = tmp_path / "m.txt", Taken()
    path.write_bytes(b"aaaa\nbbbb\n")
    async with reading(source(path, follow=True), taken) as wait:
        await wait(2)
        path.write_bytes(b"c\n")
        await wait(3)
    assert taken.bodies == [b"aaaa", b"bbbb", b"c"]


@pytest.mark.parametrize("length", [1025, 3 * READ])
async def test_a_line_that_is_too_long_is_passed_over_and_counted(tmp_path: Path, length: int) -> None:
    path, taken = tmp_path / "m.txt", Taken()
    path.write_bytes(b"a\n" + b"x" * length + b"\n" + b"y" * 1024 + b"\nb\n")
    async with reading(source(path, max_line=1024), taken) as wait:
        await wait(3)
    assert taken.bodies == [b"a", b"y" * 1024, b"b"]
    assert taken.counts == {"too_long": 1}


async def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    taken = Taken()
    with pytest.raises(FileNotFoundError):
        await source(tmp_path / "none.txt").run(taken.emit, lambda: None, taken.count)


async def test_a_position_that_cannot_be_read_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path, taken = tmp_path / "m.txt", Taken()
    path.write_bytes(b"a\n")
    path.with_name("m.txt.position").write_bytes(b"{")
    with pytest.raises(OSError, match="delete it to read the file from its start"):
        await source(path).run(taken.emit, lambda: None, taken.count)


def test_a_folder_is_no_file() -> None:
    with pytest.raises(ConfigError, match="names no file"):
        FileSource(path="here/").check()
