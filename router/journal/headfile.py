"""`journal.head`, beside the database: what was known of it last. Without it a loss may look like a younger journal.

A WAL that was cut between two frames, or emptied, looks as if what was in it had never been. So after each commit the
head, and how far the WAL is, are written here, and nobody waits for the disk: a kill -9 cannot take that back, and
after a power cut the file may say less than is there, but never more, since it is written when the commit is on disk.
Two records lie in it, and the older one is written over: one is always whole.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

NAME = "journal.head"
_MAGIC = b"routerH1"
_RECORD = struct.Struct(">8sQQ16s8sId?")
_WHOLE = struct.Struct(f">{_RECORD.size}sI")
_PLACE = 128
"""Bytes from one record to the other."""
_SIZE = 2 * _PLACE
_INDEX = struct.Struct("=16xI12x8s")
"""Of the beginning of `journal.db-shm` (sqlite.org/walformat.html): the frames of the WAL up to the last commit, and
its salt."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a record says: `head`, `at` (Unix seconds), and the round of the WAL, by its salt, and its frames then.

    `journal` is made of the database's secret, and empty where any database may follow. `accepted` says that the
    operator wants to begin anew at the head.
    """

    head: int
    at: float
    journal: bytes = b""
    salt: bytes = b""
    frames: int = 0
    accepted: bool = False
    number: int = 0


def name_of(secret: bytes) -> bytes:
    """Return the name of a journal with this secret."""
    return hashlib.blake2b(secret, digest_size=16, person=b"journal").digest()


def known(state: Path) -> Known | None:
    """Return the newest record that is whole; None if there is none."""
    try:
        data = (state / NAME).read_bytes()
    except FileNotFoundError:
        return None
    records = [one for at in (0, _PLACE) if (one := _read(data[at : at + _WHOLE.size]))]
    return max(records, key=lambda one: one.number, default=None)


def _read(data: bytes) -> Known | None:
    if len(data) < _WHOLE.size or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:]):
        return None
    magic, number, head, journal, salt, frames, at, accepted = _RECORD.unpack(data[:-4])
    if magic != _MAGIC:
        return None
    return Known(
        number=number,
        head=head,
        at=at,
        journal=journal if any(journal) else b"",
        salt=salt if any(salt) else b"",
        frames=frames,
        accepted=accepted,
    )


def write(state: Path, one: Known) -> None:
    """Write a record, and wait until it is on disk."""
    with HeadFile(state) as file:
        file.write(one)
        file.sync()


class HeadFile:
    """The file, open for writing: mapped, for each system call gives up the interpreter's lock."""

    def __init__(self, state: Path) -> None:
        before = known(state)
        self._number = before.number if before else 0
        self._state = state
        self._file = os.open(state / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < _SIZE:
            os.pwrite(self._file, os.pread(self._file, _SIZE, 0).ljust(_SIZE, b"\0"), 0)  # no hole: the disk may fill
        self._data = mmap.mmap(self._file, _SIZE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()
        os.close(self._file)

    def write(self, one: Known) -> None:
        """Write over the older record; does not wait for the disk."""
        self.note(one.head, one.at, one.journal, one.salt, one.frames, accepted=one.accepted)

    def note(self, head: int, at: float, journal: bytes, salt: bytes, frames: int, *, accepted: bool = False) -> None:
        """Do the same with the fields of a record."""
        self._number += 1
        data = _RECORD.pack(_MAGIC, self._number, head, journal, salt, frames, at, accepted)
        _WHOLE.pack_into(self._data, _PLACE * (self._number & 1), data, zlib.crc32(data))

    def sync(self) -> None:
        """Wait until it is on disk, the file's name too."""
        self._data.flush()
        os.fsync(self._file)
        folder = os.open(self._state, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def round_of(index: mmap.mmap) -> tuple[bytes, int]:
    """Return the salt and the committed frames of a WAL, given its `-shm`; in the thread that commits."""
    frames, salt = _INDEX.unpack_from(index)
    return salt, frames
