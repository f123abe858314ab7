"""What is logged again and again is said once a second; as processors of structlog.

A kind of line is its event with the subscription or source that it is about; where it is about none, with all its
texts. The first of a kind goes out at once, then at most one a second, which says with `suppressed` how many were left
out. A traceback goes out once for each kind and place.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from threading import RLock
from types import TracebackType
from typing import Any, TypeAlias, cast

import structlog

PERIOD = 1.0
"""Seconds in which a kind gets one line."""
KINDS = 2_000
"""Kinds, and places of tracebacks, that are remembered."""

Fields: TypeAlias = MutableMapping[str, Any]
ABOUT = ("subscription", "source", "library")
AMONG = (*ABOUT, "front", "kind", "plugin", "path", "url")
"""What else makes a kind of its own where it is about one of those."""


class Throttle:
    """Lets one line of a kind pass in a second, and keeps the latest of those that it held back until it may."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = RLock()
        self._kinds: dict[object, _Kind] = {}

    def __call__(self, _logger: object, method: str, fields: Fields) -> Fields:
        """Pass a line on, or hold it back."""
        with self._lock:
            now = self._clock()
            kind = self._kinds.get(key := _key(method, fields))
            if kind is None:
                if len(self._kinds) >= KINDS:
                    self._forget(now)
                self._kinds[key] = _Kind(now)
                return fields
            if now - kind.passed < PERIOD:
                kind.hold(method, fields)
                raise structlog.DropEvent
            kind.passed = now
            return kind.release(fields)

    def due(self, now: float) -> tuple[Sequence[tuple[str, Fields]], bool]:
        """Return lines that were held back and may pass now, and whether there may be more within a second."""
        with self._lock:
            held: list[tuple[str, Fields]] = []
            recent = False
            for kind in self._kinds.values():
                if now - kind.passed < PERIOD:
                    recent = True
                elif kind.fields is not None:
                    kind.suppressed -= 1  # it is one of them
                    held.append((kind.method, kind.release(kind.fields)))
                    kind.passed, recent = self._clock(), True
            return held, recent

    def _forget(self, now: float) -> None:
        """Forget kinds that would pass anyway; if all are of this second, those that came first."""
        old = [key for key, kind in self._kinds.items() if now - kind.passed >= PERIOD and kind.fields is None]
        for key in old or list(self._kinds)[: KINDS // 2]:
            del self._kinds[key]


class _Kind:
    """When a line of a kind passed last, and what was held back since."""

    __slots__ = ("fields", "method", "passed", "suppressed")

    def __init__(self, passed: float) -> None:
        self.passed = passed
        self.suppressed = 0
        self.method = ""
        self.fields: Fields | None = None

    def hold(self, method: str, fields: Fields) -> None:
        self.suppressed += 1
        if fields.get("exc_info") is True:
            fields["exc_info"] = sys.exc_info()
        self.method, self.fields = method, fields

    def release(self, fields: Fields) -> Fields:
        if self.suppressed:
            fields["suppressed"] = self.suppressed
        self.suppressed, self.fields = 0, None
        return fields


def _key(method: str, fields: Fields) -> object:
    if any(name in fields for name in ABOUT):
        return method, fields["event"], *(fields.get(name) for name in AMONG)
    return method, *((name, value) for name, value in fields.items() if isinstance(value, str))


class Tracebacks:
    """Leaves the traceback of an error out where one of its kind and place was logged before."""

    def __init__(self) -> None:
        self._known: dict[object, None] = {}

    def __call__(self, _logger: object, _method: str, fields: Fields) -> Fields:
        """Pass a line on, with its traceback if that is new."""
        error = _error_of(fields.get("exc_info"))
        if error is None:
            return fields
        place = (fields["event"], *(fields.get(name) for name in AMONG), type(error), _place(error.__traceback__))
        if place in self._known:
            del fields["exc_info"]
            fields.setdefault("error", f"{type(error).__name__}: {error}")
        elif len(self._known) < KINDS:
            self._known[place] = None
        return fields


def _error_of(said: object) -> BaseException | None:
    """Return the error that a line's `exc_info` stands for."""
    if isinstance(said, tuple):
        said = cast("tuple[object, ...]", said)[1]
    elif said is True:
        said = sys.exc_info()[1]
    return said if isinstance(said, BaseException) else None


def _place(trace: TracebackType | None) -> object:
    """Return the file and line that an error comes from."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
