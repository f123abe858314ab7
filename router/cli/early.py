"""Signals that come before the daemon can obey them: they are remembered, and nothing heavy is imported here.

Without a handler a SIGHUP ends a process that is still starting, and a SIGTERM to the first process of a container
(PID 1) is lost.
"""

from __future__ import annotations

import signal
from types import FrameType


class Early:
    """A handler that remembers; `stop` for SIGTERM, `reload` for SIGHUP."""

    def __init__(self) -> None:
        self.stop = self.reload = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Remember a signal."""
        if number == signal.SIGTERM:
            self.stop = True
        else:
            self.reload = True


def remember() -> None:
    """Remember signals from now on, until somebody else handles them."""
    early = Early()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, early)


def remembered() -> Early:
    """Return what remembers now; nothing if nobody does. To be asked before somebody else handles signals."""
    early = signal.getsignal(signal.SIGTERM)
    return early if isinstance(early, Early) else Early()
