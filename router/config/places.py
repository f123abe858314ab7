"""Two things on one place of the disk: files that two write to, or that are written and somebody else's.

Paths are compared as the system sees them now: with `.` and `..` and links resolved, and by what file is there. Of
templates, those are one that are the same text then, and those that could give the path of a file that is read, or of
the journal. Not seen is that two different templates, or a template and a path, give one file for some events.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from string import Formatter

from router.config.problem import Problems, shown
from router.config.walk import LocalPath
from router.journal.private import is_ours
from router.match import Path

_JOURNAL = (
    "journal.db",
    "journal.db-wal",
    "journal.db-shm",
    "journal.db-journal",
    "journal.head",
    "lock",
    "admin.json",
)
"""Those that are looked for where a template could give them; in the state folder more names are the journal's."""
_OWN = "give each a file of its own"
_KEEP_AWAY = "write to another file"


def check_places(config: FilePath | None, state: str, paths: Mapping[Path, LocalPath], problems: Problems) -> None:
    """Refuse what would write to a file that is another's: of the config at `config`, with the journal in `state`."""
    read = dict(_read(config, state, paths))
    inodes = {_inode(path): whose for path, whose in read.items()}
    inodes.pop(None, None)
    owners: dict[object, str] = {}
    sources = {
        _real(local) or "": f"the file of {shown(place)}"
        for place, local in paths.items()
        if local.written and place[0] == "sources"
    }
    for place, local in paths.items():
        if not local.written or place == ("state",):
            continue
        found, me = _real(local), shown(place)
        if found is None:
            continue
        inode = None if local.template and _is_open(local.path) else _inode(found)
        keys = [key for key in (found, inode) if key is not None]
        owner = next((owners[key] for key in keys if key in owners), None)
        taken = (
            read.get(found) or inodes.get(inode) or _of_journal(state, found) or _covered(local, found, read | sources)
        )
        if owner is not None:
            problems.add(place, f"is the file of {owner}, too", _OWN)
        elif taken is not None:
            problems.add(place, f"is {taken}", _KEEP_AWAY)
        owners.update({key: me for key in keys if key not in owners})


def _read(config: FilePath | None, state: str, paths: Mapping[Path, LocalPath]) -> Iterator[tuple[str, str]]:
    """Yield the paths that nobody may write to, and whose they are."""
    if config is not None:
        yield os.path.realpath(config), "the config itself"
    folder = os.path.realpath(state)
    yield folder, "the folder of the journal"
    for name in _JOURNAL:
        yield os.path.join(folder, name), "a file of the journal"  # noqa: PTH118 - texts are compared
    for place, local in paths.items():
        if not local.written and place != ("state",) and (found := _real(local)):
            yield found, f"the file of {shown(place)}, which is read"
        if place[0] == "sources" and (found := _real(local)):
            yield f"{found}.position", f"where {shown(place)} keeps how far it has read"


def _of_journal(state: str, found: str) -> str | None:
    folder, name = os.path.split(found)
    return "a file of the journal" if folder == os.path.realpath(state) and is_ours(name) else None


def _covered(local: LocalPath, found: str, read: Mapping[str, str]) -> str | None:
    """Say which file a template could give; the values of fields become names without a `/` in them."""
    if not (local.template and _is_open(local.path)):
        return None
    pieces: list[str] = []
    for literal, name, spec, _ in Formatter().parse(found):
        pieces.append(re.escape(literal))
        if name is not None:
            pieces.append(".+" if spec else "[^/]+")
    pattern = re.compile("".join(pieces), re.DOTALL)
    return next((f"possibly {whose}" for path, whose in read.items() if pattern.fullmatch(path)), None)


def _is_open(path: str) -> bool:
    try:
        return any(name is not None for _, name, _, _ in Formatter().parse(path))
    except ValueError:
        return False


def _real(local: LocalPath) -> str | None:
    """Return the path as the system sees it; None for what is no file at all (`/dev/null`)."""
    path = local.path
    if local.template and not _is_open(path):
        path = path.replace("{{", "{").replace("}}", "}")
    try:
        found = os.path.realpath(path)
    except (OSError, ValueError):
        return os.path.normpath(path)
    try:
        mode = os.stat(found).st_mode  # noqa: PTH116 - texts are compared
    except (OSError, ValueError):
        return found
    return found if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None


def _inode(path: str) -> tuple[int, int] | None:
    """Return which file is there, if one is: it may have two names."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
