"""Standard output of a command: what cannot be written is one error, and no traceback.

Python writes what is buffered once more when it ends, and complains if it cannot; so a stream that failed once takes
everything from then on, and writes nothing.
"""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

from router.errors import RouterError

STDOUT = 1


class Unwritable(RouterError):
    """Standard output cannot be written, as on a full disk. That its reader is gone is `BrokenPipeError`."""


def secure_output() -> None:
    """Have whatever is printed to standard output raise `Unwritable` if it cannot be written, once.

    What its encoding has not is written as an escape.
    """
    given = sys.stdout
    if given is None:  # it was closed: whoever did that wants nothing of it
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process
        return
    encoding = given.encoding
    if given is sys.__stdout__:
        raw = BufferedWriter(_Output(STDOUT, "w", closefd=False))
        sys.stdout = TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=os.isatty(STDOUT))


class _Output(FileIO):
    """The descriptor of standard output."""

    _failed = False

    def write(self, data: Any, /) -> int:
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            self._failed = True
            raise
        except OSError as error:
            self._failed = True
            raise Unwritable(f"cannot write to standard output: {error.strerror}") from error
