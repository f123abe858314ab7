"""A file that lines are appended to: made with its folders, owned, and ending with a whole line.

Rules of this file:
* A file has one writer: it is locked (flock) while it is open, or cutting it back could take another's lines.
* A line that a crash tore is cut off when the file is opened again: its event was never confirmed and comes again.
  What does not look like a line of ours is not touched, but ended with a newline.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
"""Before the umask; results name people, so they are nothing for everyone on the machine."""
LONGEST_LINE = 2**20
"""Bytes that are searched for the end of the last whole line."""


def open_lines(path: str, begin: bytes) -> int:
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
