"""The end by force: a second signal ends the process whatever plugins do, and so does the first one in the end.

The loop's own way of being told of signals needs the loop to turn, so Python's own handlers count them as well: those
run as soon as the main thread is between two instructions, in `time.sleep`, or in a regular expression. Code that lets
no other thread run is met by a timer of `faulthandler`, which needs nobody.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import structlog

from router.cli.logs import flush
from router.cli.watchdog import Watchdog
from router.ending import CLOSING, COMMIT, Ending
from router.outlet import LAST

HUNG = 70
"""The exit code of a daemon that had to be ended because something in it did not end (EX_SOFTWARE of sysexits.h)."""
BLOCKED = 1.0
"""Seconds without a turn after which the loop is not waited for at a second signal."""
AT_ONCE = COMMIT + 3.0
"""Seconds from a second signal to the end."""
LEAVING = CLOSING
"""Seconds to the end when all that can be is on disk."""
ABOUT = 90.0
"""Seconds that the rest of an orderly stop takes at most, beside the grace: sources, fronts, the admin API."""
BACKSTOP = 5.0
"""Seconds until the timer that needs nobody does what a thread could not."""

log = structlog.get_logger("service")


class Force:
    """Ends the process when it is told to end and does not."""

    def __init__(self) -> None:
        self.ending = Ending(self.leave)
        self._watchdog: Watchdog | None = None
        self._asked = 0
        self._timer: threading.Timer | None = None
        self._null = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process

    @contextmanager
    def watching(self) -> Generator[None]:
        """Watch the loop, and count the signals that it is told of, until the block ends."""
        self._watchdog = Watchdog()
        self._watchdog.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._count)
        try:
            yield
        finally:
            self._watchdog.stop()

    def _count(self, _number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self._asked == 1:
            self._arm(self.ending.grace() + ABOUT)
        elif self._watchdog and self._watchdog.held > BLOCKED:
            self._end(frame)
        else:
            self._arm(AT_ONCE)

    def leave(self) -> None:
        """See to it that the process ends soon, also where a thread of a plugin's does not, which Python waits for."""
        self._arm(LEAVING)

    def _arm(self, seconds: float) -> None:
        """End the process after so many seconds."""
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()
        faulthandler.dump_traceback_later(seconds + BACKSTOP, exit=True, file=self._null)

    def _end(self, frame: FrameType | None = None) -> None:
        """End the process now, and say what held it, at this frame."""
        faulthandler.dump_traceback_later(BACKSTOP, exit=True, file=self._null)
        try:
            found: Mapping[str, Any] = self._watchdog.culprit(frame) if self._watchdog else {}
            log.error("something does not end: the process is ended without it", **found)
            flush(LAST)
        finally:
            os._exit(HUNG)
