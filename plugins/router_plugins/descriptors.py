"""Descriptors: how many this process may have, and who may hold which part of them.

Half of them are for those who connect to a listener, a quarter is for files that are open and could be closed; the
rest is left for what must work whoever connects: webhooks and other sinks, the journal, the admin API. One part is one
purse, whoever draws on it: so a process has the same purses for all that runs in its loop.
"""

from __future__ import annotations

import resource
from threading import Lock

from anyio.lowlevel import RunVar


class Purse:
    """A part of the descriptors, which threads may draw on, too."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._drawn = 0
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many there are to draw; below 0 where more were needed."""
        return self.most - self._drawn

    def draw(self, count: int = 1) -> None:
        """Take some, or give some back (below 0)."""
        with self._lock:
            self._drawn += count


def limit() -> int:
    """Return how many descriptors this process may have."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else 2**20


_listeners: RunVar[Purse] = RunVar("router_plugins.descriptors.listeners")
_files: RunVar[Purse] = RunVar("router_plugins.descriptors.files")


def for_listeners() -> Purse:
    """Return what all listeners share."""
    return _purse(_listeners, limit() // 2)


def for_files() -> Purse:
    """Return what all files share that are kept open between two calls."""
    return _purse(_files, limit() // 4)


def _purse(kept: RunVar[Purse], most: int) -> Purse:
    purse = kept.get(None)
    if purse is None:
        purse = Purse(most)
        kept.set(purse)
    return purse
