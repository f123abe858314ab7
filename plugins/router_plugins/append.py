"""Appends lines to many files, so that what was appended is on disk.

Rules of this file:
* A path is appended to in one write; when that or its fdatasync fails, the file is cut back to where it was, so that
  another try does not write twice.
* A file that was moved away (logrotate), removed or cut is noticed before the next write, said, and made anew. Which
  file it goes on in, and how long that is, must be kept before anything is written there (`Begun`): then a crash leaves
  no line of which nobody knows where it stands.
* Whole lines that a crash left, and that come again, are not written again (`overlap`), but synced like the others:
  nobody knows whether they were.
* A file that was not written to for a while is closed, and so is any that is over what all files may have open. When
  there is no descriptor left, the one unused for longest is closed for another.

It blocks, and belongs into a thread; one call at a time.
"""

from __future__ import annotations

import errno
import os
import time
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
import structlog

from router_plugins.descriptors import Purse
from router_plugins.line_file import open_lines
from router_plugins.overlap import Lacking, Overlap
from router_plugins.trail import CURRENT, key

IDLE = 5.0
"""Seconds after which a file is closed that nothing is written to."""
REMINDER = 3600.0
"""Seconds after which it is noted again which file a path leads to, since what is old is forgotten."""

log = structlog.get_logger("file")

Marks = Mapping[str, int]


class Begun(msgspec.Struct, frozen=True):
    """Nothing was written yet: these marks must be kept before."""

    marks: Marks


class _Written(msgspec.Struct, frozen=True):
    """What a write did: the file's length before and after, and what of the text it lacked."""

    before: int
    after: int
    lacking: Lacking


class _Known(msgspec.Struct):
    """The file that a path leads to, by device and inode, its length after our last write, and when it was noted."""

    device: int
    inode: int
    length: int
    noted: float


class _Opened(msgspec.Struct):
    """An open file, and when it was used last."""

    fd: int
    used: float


class Appender:
    """Keeps the files that were used last open, at most `max_open`. `begin` is what each of our lines begins with.

    `marks` are those that were committed last; `purse` has the descriptors that it shares with others.
    """

    def __init__(self, max_open: int, begin: bytes, marks: Marks, purse: Purse) -> None:
        self._max_open = max_open
        self._begin = begin
        self._overlap = Overlap(marks)
        self._purse = purse
        self._known: dict[str, _Known] = {}
        self._new = False
        self._written: dict[str, _Written] = {}
        """What was written in this call and is not synced."""
        self._results: dict[str, Marks | OSError] = {}
        self._open: OrderedDict[str, _Opened] = OrderedDict()

    @property
    def has_open(self) -> bool:
        """Whether any file is open."""
        return bool(self._open)

    def append(self, texts: Mapping[str, bytes], *, new: bool = False) -> Begun | Mapping[str, Marks | OSError]:
        """Append a text of whole lines to each path, as far as it is not there since before a crash.

        Returns by path what went wrong, or the marks that it changes; then it is on disk. Or else what must be kept
        before. `new` says that all came in after the appender was made.
        """
        results: dict[str, Marks | OSError] = {}
        self._new = new
        begun: dict[str, int] = {}
        for path, text in texts.items():
            try:
                begun.update(self._look(path, text))
            except OSError as error:
                results[path] = error
        if begun:
            return Begun(begun)
        self._results = results
        # All writes come before the first sync: the file system's commit for one file then covers the others.
        for path in [path for path in texts if path not in results]:
            try:
                self._written[path] = self._write(path, texts[path])
            except OSError as error:
                results[path] = error
        self._sync_all()
        self.tidy()
        return results

    def tidy(self) -> None:
        """Close what was not used for a while, or is over what all may have open."""
        now = time.monotonic()
        while self._open and (self._purse.left < 0 or now - next(iter(self._open.values())).used > IDLE):
            self._close_oldest()

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._close_oldest()

    def _look(self, path: str, text: bytes) -> Marks:
        """Look whether the path leads to the file that it led to, and open it if not; return what must be kept then."""
        known, state = self._known.get(path), _stat(path)
        now = time.monotonic()
        if known and state and _is(known, state) and state.st_size >= known.length:
            if now - known.noted < REMINDER:
                return {}
            known.noted = now
            return {key(known.inode, path): CURRENT}
        if known:
            self._say(path, known, state)
            self._close(path)
        fd = self._descriptor(path)
        state = os.fstat(fd)
        if known:
            marks = self._overlap.exchange(path, (known.inode, known.length), fd)
        else:
            marks = self._overlap.begin(path, fd, text)
        self._known[path] = _Known(state.st_dev, state.st_ino, state.st_size, now)
        return marks

    def _say(self, path: str, known: _Known, state: os.stat_result | None) -> None:
        """Say what became of a file that we wrote to."""
        if state and _is(known, state):
            log.warning("file was cut", path=path, bytes=state.st_size, before=known.length)
            return
        opened = self._open.get(path)
        if opened is None:
            log.warning("file was moved or removed", path=path, bytes=known.length)
        elif os.fstat(opened.fd).st_nlink:
            log.warning("file was moved", path=path, bytes=known.length)
        else:
            log.warning("file was removed", path=path, bytes=known.length)

    def _write(self, path: str, text: bytes) -> _Written:
        """Write what the file lacks of the text, in one piece."""
        fd = self._descriptor(path)
        state = os.fstat(fd)
        if not _is(self._known[path], state):
            raise OSError(errno.ESTALE, "was exchanged just now")
        lacking = self._overlap.missing(path, fd, text)
        length = os.fstat(fd).st_size
        if not lacking.text:
            return _Written(length, length, lacking)
        try:
            _write_whole(fd, lacking.text)
        except OSError:
            self._take_back(path, length)
            raise
        return _Written(length, length + len(lacking.text), lacking)

    def _sync_all(self) -> None:
        """Sync what was written."""
        while self._written:
            path, written = self._written.popitem()
            try:
                self._results[path] = self._sync(path, written)
            except OSError as error:
                self._results[path] = error

    def _sync(self, path: str, written: _Written) -> Marks:
        try:
            os.fdatasync(self._open[path].fd)
        except OSError:
            self._take_back(path, written.before)
            raise
        self._known[path].length = written.after
        return self._overlap.passed(path, written.lacking, written.after, new=self._new)

    def _take_back(self, path: str, length: int) -> None:
        """Cut the file to its old length, and close it: after an error nothing that is known of it counts."""
        try:
            os.ftruncate(self._open[path].fd, length)
        finally:
            self._close(path)

    def _descriptor(self, path: str) -> int:
        """Return the open file, opening it where needed; the one unused for longest is closed for it."""
        opened = self._open.get(path)
        if opened is not None:
            self._open.move_to_end(path)
            opened.used = time.monotonic()
            return opened.fd
        while self._open and (len(self._open) >= self._max_open or self._purse.left <= 0):
            self._close_oldest()
        fd = self._opened(path)
        self._purse.draw()
        self._open[path] = _Opened(fd, time.monotonic())
        return fd

    def _opened(self, path: str) -> int:
        while True:
            try:
                return open_lines(path, self._begin)
            except OSError as error:
                if error.errno not in {errno.EMFILE, errno.ENFILE} or not self._open:
                    raise
                self._close_oldest()

    def _close_oldest(self) -> None:
        path = next(iter(self._open))
        if path in self._written:
            self._sync_all()
        self._close(path)

    def _close(self, path: str) -> None:
        opened = self._open.pop(path, None)
        if opened is not None:
            self._purse.draw(-1)
            os.close(opened.fd)


def _is(known: _Known, state: os.stat_result) -> bool:
    return (known.device, known.inode) == (state.st_dev, state.st_ino)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - for every path of every call
    except FileNotFoundError:
        return None


def _write_whole(fd: int, text: bytes) -> None:
    """Write in one piece; a disk that takes only a part of it is full."""
    if os.write(fd, text) < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
