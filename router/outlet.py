"""The outlet of the log: lines to a descriptor, by a thread, so that nobody who logs waits, or ends, for its reader.

Lines wait in a queue that is bounded. What does not fit, and what cannot be written, is dropped and counted, and a
line says so as soon as one can be written again. Whoever puts a line in may be in the middle of anything, in any
thread, even in a finalizer that interrupts another `put`: hence a lock that may be taken again.
"""

from __future__ import annotations

import io
import math
import os
import select
import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from threading import RLock, Thread

import structlog

LINES = 10_000
SIZE = 8 * 2**20
"""Lines and bytes that may wait."""
TICK = 1.0
"""Seconds between two looks at what is owed to the log."""
LAST = 1.0
"""Seconds at the end of a process that its log may take to go out."""


class Outlet:
    """Writes lines to a descriptor. It is what structlog calls a logger, and what makes one.

    `owed(now)` returns lines that have become due, and whether there may be some soon; `notice(n)` is the line that
    says that so many were dropped. Both are called in the thread.
    """

    def __init__(
        self,
        descriptor: int,
        owed: Callable[[float], tuple[Iterable[str], bool]] = lambda _: ((), False),
        notice: Callable[[int], str] = "{} lines of the log were dropped".format,
    ) -> None:
        self.dropped = 0
        """Lines that nobody was given."""
        self._descriptor = descriptor
        self._owed = owed
        self._notice = notice
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._lock = RLock()
        self._waiting = self._size = 0
        self._said = 0
        self._torn = False
        """Whether the last line was written in part."""
        self._thread: Thread | None = None

    def __call__(self, *_: object) -> Outlet:
        """Return what structlog logs to."""
        return self

    def put(self, line: str) -> None:
        """Have a line written, which has no end yet; never waits, never raises."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._waiting >= LINES or self._size + len(data) > SIZE:
                self.dropped += 1
                return
            self._waiting += 1
            self._size += len(data)
            if self._thread is None:
                self._thread = Thread(target=self._work, name="log", daemon=True)
                self._thread.start()
        self._lines.put(data)

    msg = log = debug = info = warn = warning = error = critical = fatal = exception = failure = err = put

    def close(self, seconds: float = LAST) -> None:
        """Write what waits, for so many seconds at most."""
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join(seconds)

    def _work(self) -> None:
        soon = True
        while True:
            try:
                data = self._lines.get(timeout=TICK if soon or self.dropped != self._said else None)
            except Empty:
                data = b""
            if data:
                self._write_or_drop(data)
                with self._lock:
                    self._waiting -= 1
                    self._size -= len(data)
            owed, soon = self._owed(math.inf if data is None else time.monotonic())
            for line in owed:
                self._write_or_drop(line.encode("utf-8", "backslashreplace") + b"\n")
            if not data:
                self._confess()
            if data is None:
                return

    def _write_or_drop(self, data: bytes) -> None:
        """Write a line, and before it how many were dropped."""
        if not (self._confess() and self._write(data)):
            with self._lock:
                self.dropped += 1

    def _confess(self) -> bool:
        """Say how many lines were dropped, if any were since it was last said; returns whether it could be said."""
        dropped = self.dropped
        if dropped == self._said:
            return True
        if self._write(self._notice(dropped - self._said).encode("utf-8", "backslashreplace") + b"\n"):
            self._said = dropped
            return True
        return False

    def _write(self, data: bytes) -> bool:
        """Write a line in one piece, where the descriptor takes it so; returns whether it could be written."""
        rest = memoryview(b"\n" + data if self._torn else data)
        size = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # whoever shares the pipe has made it so
                _wait_writable(self._descriptor)
            except OSError:  # its reader is gone, its disk full, it was never open: nobody is left to be told
                self._torn = self._torn or 0 < len(rest) < size
                return False
        self._torn = False
        return True


def _wait_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll(1000 * TICK)


def current() -> Outlet | None:
    """Return the outlet of this process's log; None where that goes elsewhere, as in tests."""
    factory = structlog.get_config()["logger_factory"]
    return factory if isinstance(factory, Outlet) else None


def dropped_lines() -> int:
    """Return how many lines of this process's log nobody was given."""
    outlet = current()
    return outlet.dropped if outlet else 0


class Stream(io.TextIOBase):
    """A text stream whose lines go to an outlet as they are: what others print to standard error."""

    encoding = "utf-8"

    def __init__(self, outlet: Outlet, descriptor: int) -> None:
        super().__init__()
        self._outlet = outlet
        self._descriptor = descriptor
        self._rest = ""

    def writable(self) -> bool:
        """Say that it is written to."""
        return True

    def fileno(self) -> int:
        """Return the descriptor that it stands for."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Put whole lines out; what is left waits for its end."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._outlet.put(line)
        return len(text)
