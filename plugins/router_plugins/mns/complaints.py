"""Count every refusal, and log some: a flood of bad requests must not become a flood of log lines."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import structlog

from router import Count

_EVERY = 10.0
_MAX_CAUSES = 256
_log = structlog.get_logger(__name__)


class Complaints:
    """Counts each kind of trouble, and logs the first of a kind at once and then one in ten seconds.

    With `by_reason`, those of one kind that differ in their `reason` are told apart. `now` is a monotonic clock,
    in seconds.
    """

    def __init__(
        self, count: Count, message: str, *, by_reason: bool = False, now: Callable[[], float] = monotonic
    ) -> None:
        self._count = count
        self._message = message
        self._by_reason = by_reason
        self._now = now
        self._silent_until: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def __call__(self, kind: str, /, **details: object) -> None:
        """Count `kind` once; `details` go to the log if this one is logged."""
        self._count(kind)
        now = self._now()
        cause = f"{kind}: {details.get('reason', '')}" if self._by_reason else kind
        if cause not in self._silent_until and len(self._silent_until) >= _MAX_CAUSES:
            cause = kind
        if now < self._silent_until.get(cause, now):
            self._unsaid[cause] = self._unsaid.get(cause, 0) + 1
            return
        self._silent_until[cause] = now + _EVERY
        _log.warning(self._message, kind=kind, unsaid=self._unsaid.pop(cause, 0), **details)
