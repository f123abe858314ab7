"""Messages from a file, one a line: what `router journal export` wrote, an archive of another router, a test's traffic.

Where the reading is, is kept beside the file (`results.txt.position`), so that a restart goes on there. It is written
after the messages are safe: a crash in between reads some of them again, and the journal drops them as duplicates.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import anyio
import msgspec
import structlog

from router import ConfigError, Count, Duration, Emit, Message, OutputPath, Retry, Size, Source, Threads
from router.lines import body_of

READ = 2**18
"""Bytes that are read at a time."""
KEEP = 1.0
"""Seconds after which the position is written again at the latest, while it moves."""

_log = structlog.get_logger(__name__)


class _Position(msgspec.Struct, frozen=True):
    """How far a file is read: bytes of which file, by its device and inode."""

    device: int
    inode: int
    offset: int

    def is_in(self, state: os.stat_result) -> bool:
        """Say whether it is a place in this very file."""
        return (self.device, self.inode) == (state.st_dev, state.st_ino) and self.offset <= state.st_size


class FileSource(Source, frozen=True, kw_only=True):
    """Read messages from a file, one a line, from where it was left; a line is as `router journal export` writes it.

    Counts: `too_long`, a line that is passed over.
    """

    path: OutputPath
    """The file, which no other may have as well; relative to the config's folder."""
    follow: bool = False
    """Whether to wait for more at its end, also in a new file of that name; else the source rests there."""
    look: Duration = 1.0
    """Seconds between two looks for more."""
    max_line: Size = 2**20
    """Bytes of a line at most."""

    def check(self) -> None:
        """Refuse what names no file."""
        if not self.path or self.path.endswith("/"):
            raise ConfigError("path", "names no file", "such as backlog.txt")
        for field in ("look", "max_line"):
            if getattr(self, field) <= 0:
                raise ConfigError(field, "must be more than 0")

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Hand the lines in until cancelled; raises `OSError` for a file that cannot be read."""
        threads = Threads()
        while True:
            reading = _Reading(Path(self.path), self.max_line)
            try:
                await self._opened(reading, threads)
                ready()
                await self._read(reading, threads, emit, count)
            finally:
                reading.leave()
            if not self.follow:
                _log.info("the whole file is read", path=self.path, bytes=reading.offset)
                await anyio.sleep_forever()

    async def _opened(self, reading: _Reading, threads: Threads) -> None:
        """Open the file where it was left; one that is followed may yet have to come."""
        while True:
            try:
                return await threads.run(reading.open)
            except FileNotFoundError:
                if not self.follow:
                    raise
            await anyio.sleep(self.look)

    async def _read(self, reading: _Reading, threads: Threads, emit: Emit, count: Count) -> None:
        """Hand in what there is, to the end; of a file that is followed, until another one is in its place."""
        kept, left = time.monotonic(), False
        attributes = {"file": self.path}
        while True:
            lines = await threads.run(partial(reading.lines, not self.follow))
            if lines:
                now = time.time()
                await _handed_in(emit, [Message(body_of(line), now, attributes) for line in lines if line])
            for offset in reading.passed_over():
                count("too_long")
                _log.error("a line is too long and was passed over", path=self.path, offset=offset, limit=self.max_line)
            at_end = not lines and not reading.more
            if reading.moved and (at_end or time.monotonic() - kept > KEEP):
                await threads.run(reading.keep)
                kept = time.monotonic()
            if at_end:
                if left or not self.follow:
                    return
                left = await threads.run(reading.replaced)  # then what came before that is read, too
                await anyio.sleep(0 if left else self.look)


async def _handed_in(emit: Emit, messages: Sequence[Message]) -> None:
    """Hand messages in, again and again until they are safe."""
    while messages:
        try:
            await emit(messages)
        except Retry as error:
            await anyio.sleep(error.after or 1.0)
        else:
            return


class _Reading:
    """A file and how far it is read; `offset` is behind the last line that was returned.

    What needs the file is done in a thread, one call at a time; who leaves it waits for none.
    """

    def __init__(self, path: Path, max_line: int) -> None:
        self._path = path
        self._kept = path.with_name(f"{path.name}.position")
        self._max_line = max_line
        self._file: BinaryIO | None = None
        self._device = self._inode = self.offset = 0
        self._lock = Lock()
        self._used = self._left = False
        self._rest = b""
        self._skipped = 0
        """Bytes of the line that the reading is in and that is too long; 0 in any other."""
        self._passed_over: list[int] = []
        self.more = True
        """Whether the last read found something."""
        self.moved = False
        """Whether the position has changed since it was kept."""

    def open(self) -> None:
        """Open the file where it was left."""
        with self._using():
            kept = _kept(self._kept)
            self._file = self._path.open("rb")
            state = os.fstat(self._file.fileno())
            self._device, self._inode = state.st_dev, state.st_ino
            self.offset = kept.offset if kept.is_in(state) else 0
            self._file.seek(self.offset)

    def leave(self) -> None:
        """Close the file, or have it closed by the call that is under way."""
        with self._lock:
            self._left = True
            if self._file and not self._used:
                self._file.close()

    @contextmanager
    def _using(self) -> Generator[None]:
        with self._lock:
            self._used = True
        try:
            yield
        finally:
            with self._lock:
                self._used = False
                if self._file and self._left:
                    self._file.close()

    def lines(self, to_the_end: bool) -> list[bytes]:  # noqa: FBT001 - called through a thread
        """Return the next lines without their ends; with `to_the_end` also a last one that has none."""
        assert self._file
        with self._using():
            data = self._file.read(READ)
        self.more = bool(data)
        text = self._rest + data
        *lines, self._rest = text.split(b"\n")
        if not data and to_the_end and self._rest:
            lines, self._rest = [self._rest], b""
            self.offset -= 1  # it has no line end
        return self._bounded(lines)

    def _bounded(self, lines: list[bytes]) -> list[bytes]:
        """Leave out lines that are too long, and the rest of one that was known to be."""
        bounded: list[bytes] = []
        for line in lines:
            length = self._skipped + len(line)
            if length > self._max_line:
                self._passed_over.append(self.offset)
            else:
                bounded.append(line.removesuffix(b"\r"))
            self._skipped = 0
            self.offset += length + 1
            self.moved = True
        if self._skipped + len(self._rest) > self._max_line:
            self._skipped += len(self._rest)
            self._rest = b""
        return bounded

    def passed_over(self) -> Sequence[int]:
        """Return where lines began that were too long since the last time."""
        passed, self._passed_over = self._passed_over, []
        return passed

    def replaced(self) -> bool:
        """Say whether another file is at the path now, or this one was cut."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return False
        return (state.st_dev, state.st_ino) != (self._device, self._inode) or state.st_size < self.offset

    def keep(self) -> None:
        """Write the position down, so that a crash leaves the old or the new one."""
        part = self._kept.with_name(f"{self._kept.name}.part")
        with part.open("wb") as file:
            file.write(msgspec.json.encode(_Position(self._device, self._inode, self.offset)))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._kept)
        self.moved = False


def _kept(path: Path) -> _Position:
    """Return the position that was written down."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Position)
    except FileNotFoundError:
        return _Position(0, 0, 0)
    except msgspec.DecodeError as error:
        raise OSError(f"{path}: {error} (delete it to read the file from its start)") from error
