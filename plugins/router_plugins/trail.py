"""Which files a path has led to, by inode, and up to where what each of them has is committed.

A mark at the path itself is the length of the file that it leads to. Which one that is says a mark of its own, whose
key is `INODE/PATH/` (no path of a file ends with a slash): `CURRENT`, or for a file that was moved away, the length up
to which it was committed. So the lines of such a file are found again, whatever its name is now.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

CURRENT = -1
"""The value of the mark of the file that the path leads to."""
_COPY = re.compile(r"[.-][0-9][0-9.:T_-]*")
"""What a copy's name has behind that of the file, when that was copied and then cut: `.1`, `-20261123`."""


class Trail(msgspec.Struct):
    """What is committed of a path: the current file, if it is known which that is, its length, and earlier files."""

    current: int | None = None
    length: int | None = None
    earlier: dict[int, int] = msgspec.field(default_factory=dict[int, int])

    def leads_to(self, state: os.stat_result) -> bool:
        """Say whether it is this very file that is there now, with all that is committed of it."""
        return self.current in {None, state.st_ino} and (self.length or 0) <= state.st_size


def key(inode: int, path: str) -> str:
    """Return the key of the mark of a file."""
    return f"{inode}/{path}/"


def trails(marks: Mapping[str, int]) -> dict[str, Trail]:
    """Return the trail of each path that has a mark."""
    found: dict[str, Trail] = defaultdict(Trail)
    for name, value in marks.items():
        if not name.endswith("/"):
            found[name].length = value
            continue
        inode, _, path = name[:-1].partition("/")
        if value == CURRENT:
            found[path].current = int(inode)
        else:
            found[path].earlier[int(inode)] = value
    return dict(found)


def find(path: str, inodes: Mapping[int, object]) -> dict[int, str]:
    """Return where these files are now: in the folder of the path, or in a folder of that."""
    folder = Path(path).parent
    folders = [folder, *(Path(entry.path) for entry in _entries(folder) if entry.is_dir(follow_symlinks=False))]
    entries = (entry for one in folders for entry in _entries(one) if entry.inode() in inodes)
    return {entry.inode(): entry.path for entry in entries if entry.is_file(follow_symlinks=False)}


def copies(path: str) -> Iterator[os.DirEntry[str]]:
    """Yield the files beside it that have its name and a number or date behind it."""
    name = Path(path).name
    for entry in _entries(Path(path).parent):
        if entry.name.startswith(name) and _COPY.fullmatch(entry.name, len(name)):
            yield entry


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []
