"""Files that a config is made of, and the secrets in them: read without waiting, and no further than needed."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from router.plugin import Secret

SECRET_BYTES = 65_536
"""A file that holds a secret is not larger."""

_BOM = "\ufeff"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def read_file(path: Path, limit: int) -> bytes:
    """Return what is in a file, `limit` bytes and one more at most; raises `OSError`, also for what is no file.

    Raises `ValueError` for what can be no path.
    """
    if "\0" in str(path):  # Pythons say it in different words
        raise ValueError("embedded null byte")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would never open
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no file, but a pipe, a socket or a device")
        return file.read(limit + 1)


def read_secret(file: Path) -> Secret:
    """Return the secret in a file; raises `ValueError` with what is wrong with the file."""
    try:
        content = read_file(file, SECRET_BYTES)
        text = content.decode()
    except OSError as error:
        raise ValueError(error.strerror) from error
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8") from error
    if len(content) > SECRET_BYTES:
        raise ValueError(f"the file is larger than {SECRET_BYTES} bytes")
    value = one_line(text)
    if not value:
        raise ValueError("the file is empty")
    return Secret(value)


def one_line(text: str) -> str:
    """Return a secret without the BOM before it and one line end behind it; raises `ValueError` for more lines."""
    value = text.removeprefix(_BOM).removesuffix("\n").removesuffix("\r")
    if "\n" in value or "\r" in value:
        raise ValueError("it has more than one line: a secret is one, with at most one line end behind it")
    found = _CONTROL.search(value)
    if found:
        raise ValueError(f"character {found.start() + 1} is a control character, U+{ord(found[0]):04X}")
    return value
