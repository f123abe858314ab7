"""Appends that wait for their commit, and how they are answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import anyio

from router.errors import Retry
from router.event import Event


class Waiting:
    """An append that waits for its commit."""

    __slots__ = ("done", "error", "events")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.done = anyio.Event()
        self.error: Retry | None = None


def answer(group: Iterable[Waiting], error: Retry | None) -> None:
    """Answer those that were not answered yet."""
    for waiting in group:
        if not waiting.done.is_set():
            waiting.error = error
            waiting.done.set()
