"""Certificates and keys in PEM files: read when the config is, so that a config with another content is another one.

A reload compares plugins, and so exchanges exactly those whose files have changed; and whatever is opened later, in
this process or in a front, does not depend on what somebody is writing into the file just then.
"""

from __future__ import annotations

import errno
import os
import ssl
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

PEM_BYTES = 4 * 1024 * 1024
"""A PEM file is not larger: a system's authorities are a quarter of a megabyte."""


@dataclass(frozen=True, slots=True)
class PemFile:
    """A PEM file and what was in it; in YAML its path, relative to the folder of the config."""

    path: Path
    content: bytes = field(default=b"", repr=False)
    is_system: bool = False
    """Whether it holds the authorities that this machine trusts."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; raises `OSError`, also for what is no file, is empty, or cannot be a PEM file for its size."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
        with open(descriptor, "rb") as opened:  # noqa: PTH123 - it is open already
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "is no file")
            content = opened.read(PEM_BYTES + 1)
        if not content.strip():
            raise OSError(errno.ENODATA, "is empty")
        if len(content) > PEM_BYTES:
            raise OSError(errno.EFBIG, f"is larger than {PEM_BYTES} bytes")
        return cls(path, content)

    @classmethod
    def system(cls) -> Self | None:
        """Return the file of the authorities that this machine trusts, or `SSL_CERT_FILE` names; None without one.

        One that is named but cannot be read has no content: somebody may be exchanging it.
        """
        paths = ssl.get_default_verify_paths()
        named = os.environ.get(paths.openssl_cafile_env, "")
        if not (file := named or paths.cafile):
            return None
        try:
            found = Path(file).stat()
        except OSError:
            return cls(Path(file), is_system=True) if named else None
        return cls(Path(file), _content(file, (found.st_ino, found.st_mtime_ns, found.st_size)), is_system=True)

    def __str__(self) -> str:
        return str(self.path)


@lru_cache(maxsize=2)
def _content(file: str, _: tuple[int, ...]) -> bytes:
    """Read a file once for all that use it, and again when it is another."""
    try:
        return PemFile.read(Path(file)).content
    except OSError:
        return b""
