"""What files already have of the lines that come again after a crash, so that no line is written twice.

A mark says how long a file was when the subscription's progress was committed last. A crash leaves lines beyond it that
were written and never committed: their events come again, in the same order and as the same bytes, since they are
made from the journal. So the first lines for a file are looked for beyond its mark; what is there is not written again.

Rules of this file:
* Nothing is cut off that does not come again. A mark may be stale (a state folder from a backup, a path that another
  subscription had in between), and a line that stands in an archive is worth more than one that stands there once.
* A file without a mark is new since the last commit, or somebody's: it is searched for our first line, from its start
  or in its last 64 MiB. A file shorter than its mark was exchanged or cut, and is treated like it.
* A file is looked at when something is to be written to it, not all of them at the start: whatever was not committed
  comes again, so a file to which nothing comes has nothing beyond its mark. Ten thousand old ones cost nothing.
* Only if path, match or steps are changed between a crash and the next start, lines beyond the marks may stay in the
  old form beside the new.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import structlog

SEARCHED = 2**26
"""Bytes at the end of a file that are searched for a line that is not where it is expected."""
_CHUNK = 2**20
_CAUGHT_UP = sys.maxsize
"""The place in a file that has nothing more of what comes: all is written at its end."""

log = structlog.get_logger("file")


class Overlap:
    """Where in each file the next line is expected, from the `marks` on."""

    def __init__(self, marks: Mapping[str, int]) -> None:
        self._places = dict(marks)

    def missing(self, path: str, fd: int, text: bytes) -> tuple[bytes, int]:
        """Return those of the text's lines that the file lacks, all at its end, and where it ends what it has of them.

        It changes nothing that is known, so that it can be asked again when writing fails.
        """
        size = os.fstat(fd).st_size
        place = self._places.get(path, 0)
        if place in (_CAUGHT_UP, size):
            return text, size
        if place > size:
            log.warning("file is shorter than it was", path=path, bytes=size, committed=place)
            place = 0
        start = 0
        while start < len(text):
            line = text[start : text.index(b"\n", start) + 1]
            found = _find(fd, line, place)
            if found is None:
                return text[start:], _cut_hole(path, fd, place, line)
            place = found + len(line)
            start += len(line)
        return b"", place

    def passed(self, path: str, place: int, size: int) -> None:
        """Note that all before `place` is safe in the file of this size."""
        self._places[path] = place if place < size else _CAUGHT_UP


def _find(fd: int, line: bytes, place: int) -> int | None:
    """Return where a file has the line: at the place, or else at the beginning of a later line."""
    if os.pread(fd, len(line), place) == line:
        return place
    size = os.fstat(fd).st_size
    wanted = b"\n" + line
    for start in range(max(place - 1, size - SEARCHED, 0), size, _CHUNK):
        index = os.pread(fd, _CHUNK + len(wanted), start).find(wanted)
        if index >= 0:
            return start + index + 1
    return None


def _cut_hole(path: str, fd: int, place: int, line: bytes) -> int:
    """Cut off zeros that a power cut left beyond a mark, where the file system had not written the lines yet.

    Returns where the file ends then. Neither we nor anybody else who writes lines writes zeros.
    """
    size = os.fstat(fd).st_size
    there = os.pread(fd, len(line), place)
    differs = next((byte for byte, wanted in zip(there, line, strict=False) if byte != wanted), None)
    if place and differs == 0:
        os.ftruncate(fd, place)
        log.warning("zeros cut off, which a power cut left", path=path, bytes=size - place)
        return place
    if there:
        log.info("file goes on behind lines that do not come again", path=path, bytes=size - place)
    return size
