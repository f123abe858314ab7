"""What files already have of the lines that come again after a crash, so that no line is written twice.

A mark says how long a file was when the subscription's progress was committed last. A crash leaves lines beyond it that
were written and never committed: their events come again, as the same bytes, since they are made from the journal. So
what lies beyond the mark of a file is read when the first lines come for its path, and those are not written again.

Rules of this file:
* Nothing is cut off that does not come again. A mark may be stale (a state folder from a backup, a path that another
  subscription had in between), and a line that stands in an archive is worth more than one that stands there once.
* What was moved away since (logrotate) is read too, where it is still in its folder or one below: it is known by its
  inode (`trail`). So is a copy, of a file that was then cut: it has the first line that comes just where the mark is.
* A file without a mark is somebody's, or was left alone for long: it is searched for our first line, in its last
  64 MiB. So is one in the place of another.
* A file is looked at when something is to be written to it, not all of them at the start: whatever was not committed
  comes again, so a file to which nothing comes has nothing beyond its mark. Ten thousand old ones cost nothing.
* What came in after the sink was opened was in no file before: the first such line that is not there ends it for its
  path. So does the last of those that were there, when it has come again.
* Only if path, match or steps are changed between a crash and the next start, lines beyond the marks may stay in the
  old form beside the new.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from router_plugins.trail import CURRENT, Trail, copies, find, key, trails

SEARCHED = 2**26
"""Bytes at the end of a file without a mark that are searched for the first line that comes."""
LONGEST = 2**28
"""Bytes behind a mark that are read."""
_CHUNK = 2**20

log = structlog.get_logger("file")


class Lacking(msgspec.Struct, frozen=True):
    """What a file lacks of a text, and which lines are there, by hash, in their order."""

    text: bytes
    there: Sequence[int] = ()


class _Beyond(msgspec.Struct):
    """What lies beyond the marks of a path, and has not come again yet."""

    place: int
    """Up to where the current file's lines have come, in bytes."""
    marked: bool
    lines: dict[int, tuple[str, int]]
    """By a line's hash: the key of the mark of the file that it stands in (empty: it has none any more), and where it
    ends in that."""


class Overlap:
    """What is known of each path of one subscription; `marks` are those that were committed last."""

    def __init__(self, marks: Mapping[str, int]) -> None:
        self._trails = trails(marks)
        self._beyond: dict[str, _Beyond] = {}

    def begin(self, path: str, fd: int, text: bytes) -> Mapping[str, int]:
        """Look, as the first lines come for a path, what is there of them; return marks that must be kept before."""
        trail = self._trails.pop(path, None) or Trail()
        state = os.fstat(fd)
        first = text[: text.index(b"\n") + 1]
        marks = {} if trail.current == state.st_ino else {key(state.st_ino, path): CURRENT}
        lines: dict[int, tuple[str, int]] = {}
        place = trail.length
        if place is not None and not trail.leads_to(state):
            place = None
        for where, inode, length in _earlier(path, trail, first, state):
            marks.update({} if trail.earlier.get(inode) == length else {key(inode, path): length})
            lines |= _lines(where, length, key(inode, path))
        known = place is not None
        if place is None:
            place = _found(fd, first, state.st_size)
        lines |= _lines(fd, place, path)
        if not known and (trail.length is not None or not state.st_size):
            marks[path] = place
        if lines:
            self._beyond[path] = _Beyond(place, known and place > 0, lines)
        return marks

    def exchange(self, path: str, before: tuple[int, int], fd: int) -> Mapping[str, int]:
        """Go on in another file than `before` (its inode, and its length then), or in what it was cut to.

        All that was written before is confirmed. Returns marks that must be kept before anything more is.
        """
        state = os.fstat(fd)
        inode, length = before
        beyond = self._beyond.get(path)
        moved = "" if inode == state.st_ino else key(inode, path)
        marks = {key(state.st_ino, path): CURRENT, path: state.st_size}
        if moved:
            marks[moved] = length if beyond is None else beyond.place
        if beyond is not None:
            there = {line: (moved if where == path else where, end) for line, (where, end) in beyond.lines.items()}
            self._beyond[path] = _Beyond(state.st_size, marked=False, lines=there)
        return marks

    def missing(self, path: str, fd: int, text: bytes) -> Lacking:
        """Return those of the text's lines that are in no file of the path yet.

        It changes nothing that is known, so that it can be asked again when writing fails.
        """
        beyond = self._beyond.get(path)
        if beyond is None:
            return Lacking(text)
        there: dict[int, None] = {}
        lacking: list[bytes] = []
        place = beyond.place
        for line in _cut(text):
            name = hash(line)
            if name in beyond.lines and name not in there:
                there[name] = None
                where, end = beyond.lines[name]
                place = end if where == path else place
                continue
            if not lacking and beyond.marked and _cut_hole(path, fd, place, line):
                beyond.lines = {h: one for h, one in beyond.lines.items() if one[0] != path or one[1] <= place}
            lacking.append(line)
        return Lacking(b"".join(lacking), list(there))

    def passed(self, path: str, lacking: Lacking, size: int, *, new: bool) -> Mapping[str, int]:
        """Note that a text is safe, in a file of this size now; return the marks that this changes.

        `new` says that the text came in after the sink was opened.
        """
        beyond = self._beyond.get(path)
        if beyond is None:
            return {path: size}
        marks: dict[str, int] = {}
        for name in lacking.there:
            where, end = beyond.lines.pop(name)
            if where:
                marks[where] = end
        if beyond.lines and not (new and lacking.text):
            beyond.place = marks.setdefault(path, beyond.place)
            return marks
        if beyond.lines and beyond.marked:
            log.info("file has lines that do not come again", path=path, lines=len(beyond.lines))
        del self._beyond[path]
        return marks | {path: size}


def _earlier(path: str, trail: Trail, first: bytes, state: os.stat_result) -> Iterator[tuple[str, int, int]]:
    """Yield where the files are that a path led to before and that have more than is committed, inode and that length.

    It says if the path led to another file when that was committed, or to more of this one.
    """
    earlier, length = dict(trail.earlier), trail.length or 0
    gone = trail.length is not None and not trail.leads_to(state)
    if gone and trail.current not in {None, state.st_ino}:
        earlier[trail.current or 0] = length
    where = find(path, earlier) if earlier else {}
    if gone and trail.current in {None, state.st_ino}:
        log.warning("file is shorter than it was", path=path, bytes=state.st_size, committed=length)
    elif gone:
        log.warning("file was moved or removed", path=path, now=where.get(trail.current or 0, ""), committed=length)
    for inode, now in where.items():
        if Path(now).stat().st_size > earlier[inode]:
            yield now, inode, earlier[inode]
    cut = state.st_size < max(length, 1)  # or never written to
    if trail.length is not None and cut and trail.current not in where:
        yield from ((one.path, one.inode(), length) for one in copies(path) if _has(one.path, first, length))


def _has(path: str, line: bytes, place: int) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - unbuffered
            return os.pread(file.fileno(), len(line), place) == line
    except OSError:
        return False


def _found(fd: int, line: bytes, size: int) -> int:
    """Return where the last 64 MiB of a file have a line, at the beginning of one; its size if they do not."""
    if size and os.pread(fd, len(line), 0) == line:
        return 0
    wanted = b"\n" + line
    for start in range(max(0, size - SEARCHED), size, _CHUNK):
        index = os.pread(fd, _CHUNK + len(wanted), start).find(wanted)
        if index >= 0:
            return start + index + 1
    return size


def _lines(file: str | int, place: int, name: str) -> dict[int, tuple[str, int]]:
    """Read the whole lines of a file from a place on; one that is given by its path is synced, too."""
    if isinstance(file, str):
        fd = os.open(file, os.O_RDONLY)
        try:
            os.fsync(fd)
            return _lines(fd, place, name)
        finally:
            os.close(fd)
    lines: dict[int, tuple[str, int]] = {}
    rest, limit = b"", place + LONGEST
    for start in range(place, min(os.fstat(file).st_size, limit), _CHUNK):
        rest += os.pread(file, _CHUNK, start)
        for line in _cut(rest):
            place += len(line)
            lines[hash(line)] = (name, place)
        rest = rest[rest.rfind(b"\n") + 1 :]
    return lines


def _cut(text: bytes) -> Iterator[bytes]:
    """Yield the whole lines of a text."""
    start = 0
    while end := text.find(b"\n", start) + 1:
        yield text[start:end]
        start = end


def _cut_hole(path: str, fd: int, place: int, line: bytes) -> bool:
    """Cut off zeros that a power cut left beyond a mark, where the file system had not written the lines yet.

    Neither we nor anybody else who writes lines writes zeros. Says whether there were any.
    """
    there = os.pread(fd, len(line), place)
    if next((byte for byte, wanted in zip(there, line, strict=False) if byte != wanted), None) != 0:
        return False
    log.warning("zeros cut off, which a power cut left", path=path, bytes=os.fstat(fd).st_size - place)
    os.ftruncate(fd, place)
    return True
