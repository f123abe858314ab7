"""The keeper of an open journal: sees that its files stay where they are, and notes how far it is.

What is written to a file that nobody finds again is lost. Whatever is made, moved or removed in a folder changes the
folder's own time, so that one look at it says of all files that they are in place; only the moment after a change is
looked at closely, for a file system's clock has steps. The same files under the same names are the same journal also
when they were away for a while: while they are open their numbers are given to no other.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from router.journal.headfile import HeadFile, round_of
from router.journal.place import LOCK
from router.journal.wal import FRAME, HEADER

LOOK = 0.5
"""Seconds between two looks while nothing is committed."""
_PAGE = 4096
_RECENT = 0.05
"""Seconds after which the WAL is looked at before it is written to."""
_STEP = 10**9 // 20
"""Nanoseconds for which a folder's time may stand still."""

Identity: TypeAlias = tuple[int, int]
"""Device and number of a file."""


class GoneError(OSError):
    """Say that the journal's files are not where they were."""


class Keeper:
    """Watches the files of a journal that this process has open, from when its WAL is there; one thread at a time."""

    def __init__(self, path: Path, journal: bytes, page_size: int) -> None:
        self._folder = str(path.parent.absolute())
        self._journal = journal
        self._frame = FRAME + page_size
        ends = ("", "-wal", "-shm")
        self._paths = {name: f"{self._folder}/{name}" for name in (*(path.name + end for end in ends), LOCK)}
        self._files = {name: _identity(Path(one).stat()) for name, one in self._paths.items()}
        self._database, self._wal, index, _ = self._paths.values()
        self._smallest = {self._database: Path(self._database).stat().st_size, self._wal: 0}
        self._calm: tuple[Identity, int] | None = None
        self._looked_at = time.monotonic()
        self.spoilt = ""
        """What was cut, which no putting back can mend."""
        self._descriptor = os.open(index, os.O_RDONLY | os.O_CLOEXEC)
        self._index = mmap.mmap(self._descriptor, _PAGE, access=mmap.ACCESS_READ)
        self._log = os.open(self._wal, os.O_RDONLY | os.O_CLOEXEC)
        self._head = HeadFile(path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what it has open; not before SQLite's connections: closing takes all of a process's locks of a file."""
        with self._head:
            self._index.close()
            os.close(self._descriptor)
            os.close(self._log)

    def note(self, head: int, at: float) -> None:
        """Note the head after a commit, in the thread that committed it; it does not wait for the disk."""
        salt, frames = round_of(self._index)
        self._smallest[self._wal] = HEADER + frames * self._frame
        self._head.note(head, at, self._journal, salt, frames)

    def sync(self) -> None:
        """Wait until what was noted is on disk."""
        self._head.sync()

    def cut(self) -> str:
        """Say which file was cut, as far as the last look is not recent: what is written next makes it longer again."""
        now = time.monotonic()
        if not self.spoilt and now - self._looked_at > _RECENT:
            self._looked_at = now
            self._measure()
        return self.spoilt

    def _measure(self) -> None:
        """See whether the WAL has all that was written to it: what was cut off, and written behind, is a hole."""
        try:
            whole = os.lseek(self._log, 0, os.SEEK_HOLE) if hasattr(os, "SEEK_HOLE") else os.fstat(self._log).st_size
        except OSError:  # there is nothing in it
            whole = 0
        sizes = {self._wal: whole}
        with suppress(OSError):  # one that is gone is noticed anyway
            sizes[self._database] = Path(self._database).stat().st_size
        for path, size in sizes.items():
            if size < self._smallest[path]:
                self.spoilt = f"{path} was cut"
            elif path == self._database:
                self._smallest[path] = size

    def missing(self) -> str:
        """Say which file is gone or was exchanged; nothing if all are there."""
        try:
            found = os.stat(self._folder)  # noqa: PTH116 - a Path costs as much again, at each commit
        except OSError as error:
            return f"{self._folder}: {error.strerror}"
        calm = (_identity(found), found.st_ctime_ns)
        return "" if calm == self._calm else self._looked(calm)

    def look(self) -> str:
        """Do the same, and look for files that were cut, however calm the folder seems: it is asked now and then."""
        self._calm, self._looked_at = None, 0.0
        return self.cut() or self.missing()

    def _looked(self, calm: tuple[Identity, int]) -> str:
        """Look at every file."""
        for name, before in self._files.items():
            try:
                found = Path(self._paths[name]).stat()
            except OSError as error:
                return f"{self._paths[name]}: {error.strerror}"
            if _identity(found) != before:
                return f"{self._paths[name]} is another file than before"
        if time.time_ns() - calm[1] > _STEP:
            self._calm = calm
        return ""


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
