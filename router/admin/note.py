"""The note of where a daemon listens, in its state folder: commands find it though the config has a mistake by now.

It is there as long as the daemon runs, and its owner alone may read it: who can read it could read the journal beside
it, and so it has the token, too. A note that a killed daemon left is not believed, as nobody has the folder then: a
stranger who listens at that address by now must not be told the token.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from router.journal.place import held

NAME = "admin.json"
LARGEST = 65_536
"""Bytes of a note at most."""

log = structlog.get_logger("admin")


class Note(msgspec.Struct, frozen=True):
    """Where the admin API of a process listens (`HOST:PORT`), and its token, if it wants one."""

    listen: str
    pid: int
    token: str | None = None


@contextmanager
def noted(state: Path, listen: str, token: str | None) -> Generator[None]:
    """Keep a note in the state folder until the block ends; without one the daemon runs as well."""
    path, part = state / NAME, state / f"{NAME}.part"
    note = msgspec.json.encode(Note(listen, os.getpid(), token and str(token)))
    try:
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(note)
        part.replace(path)
    except OSError as error:
        log.warning("no note of where the admin API listens can be kept", path=str(path), error=error.strerror)
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may be gone, or another's by now
            if path.read_bytes() == note:
                path.unlink()


def read(state: Path) -> Note | None:
    """Return the note of the daemon that has a state folder now; None if there is none."""
    try:
        with (state / NAME).open("rb") as file:
            note = msgspec.json.decode(file.read(LARGEST), type=Note)
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return note if held(state) else None
