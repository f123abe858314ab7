"""Files that their owner alone may read, whatever the umask: a journal is full of people's addresses."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

FILE = 0o600
FOLDER = 0o700
_PERMISSIONS = 0o777
_OURS = frozenset({"lock"})
_PREFIXES = ("journal.", "admin.json")

log = structlog.get_logger("journal")


def touch(path: Path) -> None:
    """Make an empty file, if there is none."""
    with suppress(FileExistsError):
        os.close(_opened(path, os.O_WRONLY | os.O_EXCL))


def create(path: Path) -> BinaryIO:
    """Open a new file to write to it; raises `FileExistsError` if there is one."""
    return os.fdopen(_opened(path, os.O_WRONLY | os.O_EXCL), "wb")


def append_to(path: Path) -> BinaryIO:
    """Open a file, which is made if there is none, to append to it."""
    return os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND), "ab")


def make_folder(path: Path) -> None:
    """Make a folder, if there is none; those above it are as the umask has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(FOLDER)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(FOLDER)


def is_ours(name: str) -> bool:
    """Say whether a file of this name in a state folder is the router's own."""
    return name in _OURS or name.startswith(_PREFIXES)


def tighten(folder: Path) -> None:
    """Take from a state folder and its files what others may do with them; it says so, and what it leaves as it is.

    A folder that has other things in it, too, is left as it is, for others may need those; our files in it are not.
    """
    with os.scandir(folder) as entries:
        found = list(entries)
    ours = [entry for entry in found if is_ours(entry.name)]
    mode = folder.stat().st_mode
    if len(ours) == len(found):
        _restrict(folder, mode, FOLDER)
    elif mode & ~FOLDER & _PERMISSIONS:
        log.warning("others may look into the state folder: it has other things in it, too", path=str(folder))
    for entry in ours:
        with suppress(FileNotFoundError):
            if entry.is_file():
                _restrict(Path(entry.path), entry.stat().st_mode, FILE)


def _restrict(path: Path, mode: int, wanted: int) -> None:
    others = mode & ~wanted & _PERMISSIONS
    if not others:
        return
    try:
        path.chmod(stat.S_IMODE(mode) & ~others)
    except PermissionError:
        log.warning("others may read it, and it is not ours to change", path=str(path))
    else:
        log.info("it is the owner's alone now", path=str(path), mode=f"{mode & _PERMISSIONS:o}")


def _opened(path: Path, flags: int) -> int:
    handle = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, FILE)
    if stat.S_IMODE(os.fstat(handle).st_mode) != FILE:  # the umask may have taken something of it
        with suppress(PermissionError):  # another's, which `tighten` has said
            os.fchmod(handle, FILE)
    return handle
