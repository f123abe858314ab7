"""A thread of one's own, for blocking calls that follow each other closely.

`anyio.to_thread.run_sync` takes one of many for every call, by a limiter, a context, scopes and a condition, and costs
twice as much: what commits a thousand times a second can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
from anyio.lowlevel import current_token

T = TypeVar("T")


class _Call(Generic[T]):
    """A call that is asked for, and what came of it."""

    __slots__ = ("done", "error", "function", "result")

    result: T

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.done = anyio.Event()
        self.error: BaseException | None = None


class Worker:
    """Does calls in its thread, one after the other, for the event loop that it was made in; ends with its block."""

    def __init__(self, name: str) -> None:
        loop: Any = current_token().native_token
        self._soon: Callable[[Callable[[], None]], object] = (
            loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon  # asyncio, trio
        )
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.put(None)
        self._thread.join()

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns, or raise what it raises; if cancelled, not before it has ended."""
        call = _Call(function)
        self._calls.put(call)
        try:
            await call.done.wait()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await call.done.wait()
            raise
        if call.error is not None:
            raise call.error
        return call.result

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.result = call.function()
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
                call.error = error
            self._soon(call.done.set)
            del call  # or what it wrote would stay until the next one comes
