"""Blocking calls in threads, so that who hangs stands in nobody's way.

A shared pool of so many threads is full when as many calls hang: a file on a dead network disk, a name that no server
answers for. So whoever blocks has `Threads` of its own, which bound how many of its calls are under way, and the pool
behind them has no bound but those: it keeps to `USUAL` threads while calls end, and grows while none does.

Nobody waits for a call that hangs: who is cancelled leaves at once, and the call ends by itself, or with the process,
since the threads are daemons. It still counts as under way. A thread that has nothing to do ends after a while.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import anyio
from anyio.lowlevel import RunVar, current_token

T = TypeVar("T")

USUAL = 16
"""Threads that are started without waiting whether another one becomes free."""
STUCK = 0.05
"""Seconds without any call beginning after which there are more threads, while calls wait."""
LOOK = 1.0
"""Seconds between two looks at that, at most."""
IDLE = 5.0
"""Seconds after which a thread that has nothing to do ends."""


class Call(Generic[T]):
    """A call that is asked for, and what came of it; any number may wait for that."""

    __slots__ = ("_pool", "done", "error", "function", "value")

    value: T

    def __init__(self, function: Callable[[], T], pool: _Pool) -> None:
        self.function = function
        self.done = anyio.Event()
        self.error: BaseException | None = None
        self._pool = pool

    async def result(self) -> T:
        """Return what the function returns, or raise what it raises; who is cancelled changes nothing of that."""
        wait = STUCK
        while not self.done.is_set():
            with anyio.move_on_after(wait):
                await self.done.wait()
            wait = STUCK if self._pool.grow() else min(2 * wait, LOOK)
        if self.error is not None:
            raise self.error
        return self.value

    def work(self) -> None:
        """Do it, in a thread."""
        try:
            self.value = self.function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
            self.error = error


class Threads:
    """Does at most so many calls at once, for the event loop that it was made in; the others wait for their turn."""

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._pool = _pool()
        self._busy = 0
        self._waiting: deque[Call[Any]] = deque()

    @property
    def busy(self) -> int:
        """How many calls are under way, with those that nobody waits for any more."""
        return self._busy

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns, or raise what it raises; if cancelled, leave it, or never begin it."""
        call = self.begin(function)
        try:
            return await call.result()
        except BaseException:
            if call in self._waiting:
                self._waiting.remove(call)
            raise

    def begin(self, function: Callable[[], T]) -> Call[T]:
        """Have a call made when its turn comes, whoever waits for it or does not."""
        call = Call(function, self._pool)
        self._waiting.append(call)
        self._begin()
        return call

    def _begin(self) -> None:
        while self._waiting and self._busy < self._most:
            self._busy += 1
            self._pool.submit(self._waiting.popleft(), self._ended)

    def _ended(self, call: Call[Any]) -> None:
        self._busy -= 1
        call.done.set()
        self._begin()


_Job = tuple[Call[Any], Callable[[Call[Any]], None]]


class _Pool:
    """The threads of one event loop; all but `_work` is called in the loop."""

    def __init__(self) -> None:
        loop: Any = current_token().native_token
        self._soon: Callable[..., object] = (
            loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon  # asyncio, trio
        )
        self.queue: deque[_Job] = deque()
        """What no thread has begun yet."""
        self._threads = 0
        self._idle: list[SimpleQueue[_Job]] = []
        """Where those wait that have nothing to do, the one that was used last at the end."""
        self._lock = threading.Lock()
        self._moved = time.monotonic()

    def submit(self, call: Call[Any], ended: Callable[[Call[Any]], None]) -> None:
        """Have a call done by a thread that is idle, or a new one, or else the next that becomes free."""
        job = call, ended
        with self._lock:
            if self._idle:
                self._moved = time.monotonic()
                self._idle.pop().put(job)
                return
            if self._threads >= USUAL:
                self.queue.append(job)
                return
        self._start(job)

    def grow(self) -> bool:
        """Start more threads if calls wait and none has begun for a while: those that run hang. Says if any waits."""
        if self.queue and time.monotonic() - self._moved >= STUCK:
            for _ in range(1 + self._threads // 4):
                with self._lock:
                    job = self.queue.popleft() if self.queue else None
                if job is not None:
                    self._start(job)
        return bool(self.queue)

    def _start(self, job: _Job) -> None:
        self._moved = time.monotonic()
        with self._lock:
            self._threads += 1
        try:
            threading.Thread(target=self._work, args=(job,), name="blocking", daemon=True).start()
        except RuntimeError as error:  # the system gives no more
            with self._lock:
                self._threads -= 1
            call, ended = job
            call.error = error
            ended(call)

    def _work(self, first: _Job) -> None:
        """Do one job after the other, in a thread."""
        mine: SimpleQueue[_Job] = SimpleQueue()
        job: _Job | None = first
        del first
        while job is not None:
            call, ended = job
            call.work()
            try:
                self._soon(ended, call)
            except RuntimeError:  # the loop has ended, and with it whoever waited
                return
            del job, call, ended  # or what it holds would stay until the next one comes
            job = self._next(mine)

    def _next(self, mine: SimpleQueue[_Job]) -> _Job | None:
        with self._lock:
            if self.queue:
                self._moved = time.monotonic()
                return self.queue.popleft()
            self._idle.append(mine)
        try:
            return mine.get(timeout=IDLE)
        except Empty:
            with self._lock:
                if mine in self._idle:
                    self._idle.remove(mine)
                    self._threads -= 1
                    return None
            return mine.get()  # it was given one in this very moment


_pools: RunVar[_Pool] = RunVar("router.threads")


def _pool() -> _Pool:
    """Return the pool of the event loop that runs, as anyio keeps its own."""
    pool = _pools.get(None)
    if pool is None:
        pool = _Pool()
        _pools.set(pool)
    return pool
