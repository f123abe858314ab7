"""Events to standard output, one a line.

A reader that is slow holds the events up, and one that is gone (a broken pipe) is `Retry`: it cannot come back while
the router runs, but the events are not at fault, so they stay in the journal and go out after a restart.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import ClassVar, Literal

import anyio.from_thread
import anyio.to_thread

from router import Batch, Retry, Sink, harmless, harmless_json

STDOUT = 1
"""The descriptor; Python's own `sys.stdout` buffers, and blocks where it cannot be cancelled."""
CHUNK = select.PIPE_BUF
"""Bytes in one write at most: a pipe that is ready takes as many without blocking, and in one piece."""
PATIENCE = 100
"""Milliseconds of waiting for the reader before looking whether the delivery was cancelled."""


class Stdout(Sink, frozen=True, kw_only=True):
    """Print every event: flat JSON, or the bytes as they came, each followed by a newline."""

    reads_only: ClassVar[bool] = True

    form: Literal["json", "raw"] = "json"

    async def deliver(self, batch: Batch) -> None:
        """Return when the pipe, terminal or file has taken the whole batch; raise `Retry` when it is closed."""
        lines = [bytes(e.raw if self.form == "raw" else e.json()) + b"\n" for e in batch]
        if os.isatty(STDOUT):  # whoever looks at it must not be at the mercy of what receivers answer
            lines = [_for_terminal(line, raw=self.form == "raw") for line in lines]
        try:
            await anyio.to_thread.run_sync(_write, lines)
        except OSError as error:
            raise Retry(f"standard output: {os.strerror(error.errno or 0)}") from error


def _for_terminal(line: bytes, *, raw: bool) -> bytes:
    if not raw:
        return harmless_json(line).encode()
    return harmless(line.removesuffix(b"\n").decode(errors="surrogateescape")).encode() + b"\n"


def _write(lines: Sequence[bytes]) -> None:
    """Write line by line, in a thread, ending between two writes when the caller is cancelled."""
    poll = select.poll()
    poll.register(STDOUT, select.POLLOUT)
    for line in lines:
        rest = memoryview(line)
        while rest:
            while not poll.poll(PATIENCE):
                anyio.from_thread.check_cancelled()
            rest = rest[os.write(STDOUT, rest[:CHUNK]) :]
        anyio.from_thread.check_cancelled()
