"""The path that balancers ask whether pushes can be taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from math import inf
from time import monotonic
from urllib.parse import unquote_to_bytes

from router import Emit, Message, Retry
from router_plugins.mns.http import Answer, health, refusal

UNWELL = 10.0
"""Seconds that the answer is 503 after something could not be stored: then pushes may show whether it can be again."""


class Health:
    """Answers at one path, or at none if it is empty; `closing` says whether the listener ends."""

    def __init__(self, path: str, now: Callable[[], float] = monotonic) -> None:
        self.closing: Callable[[], bool] = bool
        self._path = unquote_to_bytes(path)
        self._now = now
        self._failed = -inf

    def answer(self, method: bytes, target: bytes) -> Answer | None:
        """Answer a request for the path; None for one of another."""
        if not self._path or unquote_to_bytes(target.partition(b"?")[0]) != self._path:
            return None
        if method not in {b"GET", b"HEAD"}:
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "health is asked for by GET or HEAD", allow="GET, HEAD")
        return health(well=not self.closing() and self._now() - self._failed > UNWELL)

    def watched(self, emit: Emit) -> Emit:
        """Return an `emit` that notes whether messages can be stored."""

        async def watched(messages: Sequence[Message]) -> None:
            try:
                await emit(messages)
            except Retry:
                self._failed = self._now()
                raise
            self._failed = -inf

        return watched
