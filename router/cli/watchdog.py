"""The watchdog: a thread that notices when the loop does not turn, and names the plugin that holds it.

The loop says every now and then that it turns. When it has not for too long, its stack is looked at: the innermost
frame that is the engine's or a plugin's says whose code runs. A machine that stood still, and a collection of garbage,
are nobody's fault; nothing is said of them, nor of the engine itself.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import structlog

from router.plugin import Plugin

LIMIT = 0.1
"""Seconds that the loop may be held up."""
TURN = 0.02
"""Seconds between two signs of life."""
DEPTH = 12
"""Frames of the stack that are shown."""

log = structlog.get_logger("watchdog")


class Watchdog:
    """Watches the running loop, of this thread, from `start()` on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._turned = time.monotonic()
        self._worked = time.thread_time()
        self._collecting = 0.0
        self._collected = self._collected_before = 0.0
        """Seconds that went into collecting garbage, now and when the loop turned last."""
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch until `stop()`."""
        gc.callbacks.append(self._note_collection)
        self._turn()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()
        gc.callbacks.remove(self._note_collection)

    @property
    def held(self) -> float:
        """Seconds since the loop turned last."""
        return time.monotonic() - self._turned

    def culprit(self, frame: FrameType | None = None) -> Mapping[str, Any]:
        """Return what is known of the plugin whose code the loop is in, at this frame; empty if it is in none."""
        frame = frame or sys._current_frames().get(self._thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - made for this
        found = _plugin_frame(frame)
        if frame is None or found is None:
            return {}
        place = f"{found.f_code.co_filename}:{found.f_lineno}"
        stack = "".join(traceback.format_stack(frame)[-DEPTH:])
        return {"plugin": found.f_code.co_qualname, "place": place, **self._subscription(), "stack": stack}

    def _subscription(self) -> Mapping[str, str]:
        """Return whose task runs: those of a subscription have its name."""
        task = asyncio.current_task(self._loop)
        name = task.get_name() if task else ""
        return {"subscription": name} if "/" in name else {}

    def _turn(self) -> None:
        if not self._ended.is_set():
            self._turned, self._worked = time.monotonic(), time.thread_time()
            self._collected_before = self._collected
            self._loop.call_later(TURN, self._turn)

    def _note_collection(self, phase: str, _info: Mapping[str, int]) -> None:
        if phase == "start":
            self._collecting = time.monotonic()
        else:
            self._collected += time.monotonic() - self._collecting

    def _watch(self) -> None:
        said = 0.0
        wait = LIMIT
        while not self._ended.wait(wait):
            turned, held = self._turned, self.held
            wait = turned + LIMIT + TURN - time.monotonic()
            if wait > 0:
                continue
            wait = LIMIT
            found: Mapping[str, Any] = self.culprit() if turned != said and self._is_busy(held) else {}
            if found and turned == self._turned:  # it is still so
                said = turned
                log.warning("a plugin holds up the loop, and everybody", seconds=round(held, 2), **found)

    def _is_busy(self, held: float) -> bool:
        """Say whether the loop did something, or waited in it, while others could run."""
        if self._collected - self._collected_before > held / 2:
            return False
        if held < 2 * (LIMIT + TURN):
            return True  # it is looked at in time, so the machine goes on, and other threads do
        worked = time.clock_gettime(time.pthread_getcpuclockid(self._thread)) - self._worked
        return worked > held / 2 or self._still_held()

    def _still_held(self) -> bool:
        """Say whether the loop does not turn either while this thread can run."""
        turned = self._turned
        return not self._ended.wait(LIMIT) and turned == self._turned


def _plugin_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame that is a plugin's, if none of the engine's lies further in."""
    packages = {module.partition(".")[0] for module in _modules(Plugin)} - {"router"}
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in packages:
            return frame
        if package == "router":
            return None
        frame = frame.f_back
    return None


def _modules(plugin: type) -> Iterator[str]:
    subclasses: list[type] = plugin.__subclasses__()
    for found in subclasses:
        yield found.__module__
        yield from _modules(found)
