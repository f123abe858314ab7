"""Where log lines go and how they look: to standard error, for people on a terminal, as JSON elsewhere.

Nobody waits for whoever reads them (`router.outlet`). What Python and its libraries have to say takes the same way:
warnings, errors that nobody retrieved, what is printed to standard error.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

import orjson
import structlog
from structlog.typing import Processor

from router.cli.throttle import Throttle, Tracebacks
from router.outlet import Outlet, Stream, current
from router.terminal import harmless, harmless_json, quoted

STDERR = 2


LINES = ("exception", "stack")
"""Fields that are shown as lines of their own."""


def _dumps(event: dict[str, Any], default: Callable[[Any], Any]) -> str:
    try:
        return harmless_json(orjson.dumps(event, default=default))
    except orjson.JSONEncodeError:  # half a character, a number of a hundred digits
        return json.dumps(event, default=default)


def show_harmless(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make a line for a terminal harmless, as a processor of structlog: no value can begin a line, or another field."""
    for name, value in fields.items():
        if not isinstance(value, str):
            continue
        if name in LINES:
            fields[name] = "\n".join(f"  {harmless(line)}" for line in value.split("\n"))
        else:
            fields[name] = harmless(value if name == "event" else quoted(value))
    return fields


def configure(level: str, **who: object) -> None:
    """Set the log up for this process; `level` is a name of the standard library's levels.

    `who` stands in every line that says nothing else of the same name.
    """
    terminal = os.isatty(STDERR)
    throttle = Throttle()
    finish: list[Processor] = [
        Tracebacks(),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        *([show_harmless, structlog.dev.ConsoleRenderer()] if terminal else [_AS_JSON]),
    ]

    def line(method: str, fields: Any) -> str:
        for processor in finish:
            fields = processor(None, method, fields)
        return str(fields)

    def owed(now: float) -> tuple[Iterable[str], bool]:
        held, soon = throttle.due(now)
        return [line(method, fields) for method, fields in held], soon

    def notice(count: int) -> str:
        return line("warning", {**who, "event": "lines of the log were dropped", "lines": count})

    outlet = Outlet(STDERR, owed, notice)
    atexit.register(outlet.close)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, event: {**who, **event},
            throttle,
            *finish,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=outlet,
        cache_logger_on_first_use=True,
    )


_AS_JSON: Processor = structlog.processors.JSONRenderer(serializer=_dumps)


def take_all() -> None:
    """Have all that Python and its libraries print to standard error go where the log goes, in a process that stays."""
    outlet = current()
    if outlet is None:
        return
    sys.stderr = Stream(outlet, STDERR)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    sys.unraisablehook = _tell_unraisable
    threading.excepthook = _tell_thread


def flush(seconds: float) -> None:
    """Write what waits, for so many seconds at most, before the process ends without further ado."""
    if outlet := current():
        outlet.close(seconds)


def secure_streams() -> None:
    """See to it that writing to standard error does no harm: where it was closed, or cannot be written to any more.

    A descriptor that was closed would be that of the next file or socket that is opened.
    """
    for descriptor in (0, 1, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest that is free is this one; what is written to it fails
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the process lives
    elif sys.stderr is sys.__stderr__:
        sys.stderr = _Forgiving(
            BufferedWriter(FileIO(STDERR, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
        )


class _Forgiving(TextIOWrapper):
    """Standard error, though its reader may be gone, or its disk full: then nobody is there to be told."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


class _Forward(logging.Handler):
    """Hands on what libraries log."""

    def __init__(self) -> None:
        super().__init__()
        self._log = structlog.get_logger("libraries")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's own mistake in its arguments
            said = str(record.msg)
        level = (
            "error" if record.levelno >= logging.ERROR else "warning" if record.levelno >= logging.WARNING else "info"
        )
        details = {"said": said} if record.args else {}
        getattr(self._log, level)(str(record.msg), library=record.name, exc_info=record.exc_info, **details)


def _tell_unraisable(what: Any) -> None:
    error, place = what.exc_value, repr(what.object)[:200]
    said = what.err_msg or "an error that nobody could be told of"
    structlog.get_logger("python").error(said, place=place, exc_info=error)


def _tell_thread(what: threading.ExceptHookArgs) -> None:
    name = what.thread.name if what.thread else ""
    structlog.get_logger("python").error("a thread ended by an error", thread=name, exc_info=what.exc_value)
