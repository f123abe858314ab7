"""Appends lines to many files, so that what was appended is on disk.

Rules of this file:
* A path is appended to in one write; when that or its fdatasync fails, the file is cut back to where it was, so that
  another try does not write twice.
* A file has one writer: it is locked (flock) while it is open, or cutting it back could take another's lines.
* A file that was moved away (logrotate) or deleted is noticed before the next write, and made anew.
* A line that a crash tore is cut off when the file is opened again: its event was never confirmed and comes again.
  What does not look like a line of ours is not touched, but ended with a newline.
* Whole lines that a crash left, and that come again, are not written again (`overlap`), but synced like the others:
  nobody knows whether they were.

It blocks, and belongs into a worker thread; one call at a time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from router_plugins.overlap import Overlap

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
"""Before the umask; results name people, so they are nothing for everyone on the machine."""
LONGEST_LINE = 2**20
"""Bytes that are searched for the end of the last whole line."""


class _Written(msgspec.Struct, frozen=True):
    """What a write did: the file's length before and after, and where in it the text ends."""

    before: int
    after: int
    place: int


class Appender:
    """Keeps the files that were used last open, at most `max_open`. `begin` is what each of our lines begins with.

    `marks` are the lengths of the files when what they have was committed last, by path.
    """

    def __init__(self, max_open: int, begin: bytes, marks: Mapping[str, int]) -> None:
        self._max_open = max_open
        self._begin = begin
        self._overlap = Overlap(marks)
        self._open: OrderedDict[str, int] = OrderedDict()

    def append(self, texts: Mapping[str, bytes]) -> Mapping[str, int | OSError]:
        """Append a text of whole lines to each path, as far as it is not there since before a crash.

        Returns by path what went wrong, or where in the file the text ends, in bytes; then it is on disk.
        """
        results: dict[str, int | OSError] = {}
        paths = list(texts)
        for start in range(0, len(paths), self._max_open):
            written: dict[str, _Written] = {}
            # All writes come before the first sync: the file system's commit for one file then covers the others.
            for path in paths[start : start + self._max_open]:
                try:
                    written[path] = self._write(path, texts[path])
                except OSError as error:
                    results[path] = error
            for path, what in written.items():
                try:
                    self._sync(path, what)
                    results[path] = what.place
                except OSError as error:
                    results[path] = error
        return results

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _write(self, path: str, text: bytes) -> _Written:
        """Write what the file lacks of the text, in one piece."""
        fd = self._descriptor(path)
        rest, place = self._overlap.missing(path, fd, text)
        length = os.fstat(fd).st_size
        if not rest:
            return _Written(length, length, place)
        try:
            _write_whole(fd, rest)
        except OSError:
            self._take_back(path, length)
            raise
        return _Written(length, length + len(rest), length + len(rest))

    def _sync(self, path: str, written: _Written) -> None:
        try:
            os.fdatasync(self._open[path])
        except OSError:
            self._take_back(path, written.before)
            raise
        self._overlap.passed(path, written.place, written.after)

    def _take_back(self, path: str, length: int) -> None:
        """Cut the file to its old length, and close it: after an error nothing that is known of it counts."""
        fd = self._open.pop(path)
        try:
            os.ftruncate(fd, length)
        finally:
            os.close(fd)

    def _descriptor(self, path: str) -> int:
        """Return the open file, opening it where needed; the one unused for longest is closed for it."""
        fd = self._open.get(path)
        if fd is not None:
            if _is_at(fd, path):
                self._open.move_to_end(path)
                return fd
            os.close(self._open.pop(path))
        while len(self._open) >= self._max_open:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = fd = _open(path, self._begin)
        return fd


def _write_whole(fd: int, text: bytes) -> None:
    """Write in one piece; a disk that takes only a part of it is full."""
    if os.write(fd, text) < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_at(fd: int, path: str) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _open(path: str, begin: bytes) -> int:
    """Open a file for appending, with its folders, and make sure that a power cut leaves it where it is."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK  # non-blocking, so that a fifo is an error and no wait
    folder = Path(path).parent
    _make_folder(folder)
    fd = os.open(path, flags, FILE_MODE)
    try:
        _own(fd)
        _end_last_line(fd, begin)
        _sync_folder(folder)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _own(fd: int) -> None:
    """Lock the file until it is closed."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.EINVAL, "is no regular file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, "is written by another subscription or process") from error


def _make_folder(path: Path) -> None:
    """Make a folder and those above it; each is synced into the one above."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(DIRECTORY_MODE, exist_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _end_last_line(fd: int, begin: bytes) -> None:
    """Make the file end with a newline: cut a torn line of ours off, end one of anybody else's."""
    size = os.fstat(fd).st_size
    start = max(0, size - LONGEST_LINE)
    tail = os.pread(fd, size - start, start)
    end = tail.rfind(b"\n") + 1
    torn = tail[end:]
    if not torn:
        return
    whole = end > 0 or start == 0
    if whole and (torn.startswith(begin) or begin.startswith(torn)):
        os.ftruncate(fd, start + end)
    else:
        os.write(fd, b"\n")
