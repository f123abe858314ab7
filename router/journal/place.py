"""The place of a journal: one process has it, whatever becomes of the folder meanwhile.

A lock on a file in the folder says so to those who find that file. Who finds another one, since the folder was moved or
removed, is told by a socket of Linux's abstract names, which is in no folder: its name is made of the folder's path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from router.errors import ConfigError
from router.journal.private import make_folder, tighten

LOCK = "lock"


@contextmanager
def hold(state: Path) -> Generator[None]:
    """Have the folder for this process, and make it if it is not there; raises `ConfigError` if another one has it.

    It and the files in it are the owner's alone from then on.
    """
    with _named(state), _locked(state):
        yield


def held(state: Path) -> bool:
    """Say whether a process has the folder, be it this one."""
    return _lock_is_taken(state / LOCK) or (sys.platform == "linux" and _owner(_name(state)) is not None)


def _lock_is_taken(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _name(state: Path) -> bytes:
    """Return the socket's name: paths may be longer than it may be."""
    return b"\0router-journal/" + hashlib.sha256(os.fsencode(os.path.realpath(state))).hexdigest().encode()


def _owner(name: bytes) -> int | None:
    """Return the process that has a name, 0 if it cannot be told; None if nobody has it."""
    with closing(socket.socket(socket.AF_UNIX)) as asking:
        asking.setblocking(False)
        try:
            asking.connect(name)
        except ConnectionRefusedError:
            return None
        except OSError:
            return 0  # so many have asked that nobody more may
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])


@contextmanager
def _named(state: Path) -> Generator[None]:
    if sys.platform != "linux":
        yield
        return
    name = _name(state)
    with closing(socket.socket(socket.AF_UNIX)) as ours:
        try:
            ours.bind(name)
        except OSError as error:
            process = f", as process {pid}" if (pid := _owner(name)) else ""
            raise ConfigError(
                "state",
                f"another router is running on {state}{process}",
                "stop it, also where its folder was moved or removed; or name another folder",
            ) from error
        ours.listen(1)
        yield


@contextmanager
def _locked(state: Path) -> Generator[None]:
    try:
        make_folder(state)
        handle = os.open(state / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise ConfigError(
            "state", f"cannot use {state}: {error.strerror}", "name a folder that can be written"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ConfigError(
            "state", f"another router is running on {state}", "stop it, or name another folder"
        ) from error
    try:
        tighten(state)
        yield
    finally:
        os.close(handle)
