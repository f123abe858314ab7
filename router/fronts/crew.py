"""The crew of one source: its fronts, started, watched and replaced.

A front that ends is replaced, after a pause that grows while its successors end soon again. When the source is
stopped, its fronts are told; what they have in hand is stored and answered within their own grace, and only then are
they cut off.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from subprocess import DEVNULL
from typing import TypeAlias

import anyio
import msgspec
import structlog
from anyio import to_thread
from anyio.abc import Process

from router.errors import RouterError
from router.fronts.exchange import Exchange, Store
from router.fronts.link import Link
from router.fronts.wire import Hello, Stop, Wire, say
from router.last_error import LastError
from router.listeners import Listener, Listeners
from router.plugin import Ready

Command: TypeAlias = Sequence[str]

FRONT: Command = (sys.executable, "-P", "-m", "router.cli.front")
"""The command that is a front; its standard input is its link."""

PAUSE_MIN = 0.1
PAUSE_MAX = 30.0
"""Seconds before a front that ended is replaced; they double while a new one ends within `CALM` seconds."""
CALM = 60.0
QUEUEING = 1.0
"""Seconds of a pause that clients may wait for; before a longer one they are sent to the other fronts."""
GRACE = 10.0
"""Seconds that fronts have to end when they are told to: more than any source takes for what it has in hand."""
SETTLED = 5.0
"""Seconds that all fronts have been ready when the death of one is past: one that dies again and again is no news."""
LINGER = 2.0
"""Seconds that a process may outlive its link."""

log = structlog.get_logger("fronts")


class Member:
    """One front of the crew, and what is known of it; numbers count from 1, `pid` is 0 while there is no process.

    `deaths` counts how often it ended without having been told to.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.ready = False
        self.trouble: LastError | None = None
        self.deaths = 0


class Crew:
    """The fronts of one source; `hello` says what they run, `listener` where the source listens, if it does."""

    def __init__(
        self, hello: Hello, wire: Wire, size: int, command: Command, listener: Listener | Listeners | None
    ) -> None:
        self.members = [Member(number) for number in range(1, size + 1)]
        self._error: LastError | None = None
        self._ready_since = math.inf
        self._hello = hello
        self._wire = wire
        self._command = command
        self._listener = listener
        self._opening = anyio.CapacityLimiter(1)
        self._started = False
        self._stopping = anyio.Event()
        self._failed = anyio.Event()

    @property
    def error(self) -> LastError | None:
        """What keeps one from working, or else why a front ended last, until all have worked for a while."""
        trouble = next((one.trouble for one in self.members if one.trouble), None)
        return trouble or (None if time.monotonic() - self._ready_since > SETTLED else self._error)

    @property
    def last_error(self) -> str:
        """The same as text; empty when there is none."""
        return self.error.text if self.error else ""

    async def run(self, store: Store, ready: Callable[[], None], counts: Counter[str]) -> None:
        """Take messages in until cancelled; raises `RouterError` if a front ends before all were ready once."""
        self._started, self._stopping, self._failed = False, anyio.Event(), anyio.Event()
        last = anyio.CancelScope(shield=True)
        for member in self.members:
            await self._sockets(member)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._work, last, store, ready, counts)
            try:
                await self._failed.wait()
            finally:
                self._stopping.set()
                last.deadline = anyio.current_time() + GRACE
        raise RouterError(self.last_error)

    async def _work(
        self, scope: anyio.CancelScope, store: Store, ready: Callable[[], None], counts: Counter[str]
    ) -> None:
        def note_ready(member: Member, trouble: str) -> None:
            member.ready, member.trouble = not trouble, LastError(trouble, time.time()) if trouble else None
            self._ready_since = time.monotonic() if all(one.ready for one in self.members) else math.inf
            if not self._started and all(one.ready or one.trouble for one in self.members):
                self._started = True
                ready()

        with scope:
            async with anyio.create_task_group() as fronts:
                for member in self.members:
                    fronts.start_soon(self._keep, member, store, note_ready, counts)

    async def _keep(
        self, member: Member, store: Store, note_ready: Callable[[Member, str], None], counts: Counter[str]
    ) -> None:
        """Keep one front running until the crew is stopped."""
        pause = PAUSE_MIN
        while not self._stopping.is_set():
            began = anyio.current_time()
            try:
                why = await self._live(member, store, Ready(partial(note_ready, member)), counts)
            except (OSError, RouterError) as error:
                why = f"it does not start: {error}"
            member.pid, member.ready, member.trouble = 0, False, None
            if self._stopping.is_set():
                return
            member.deaths += 1
            counts["front_died"] += 1
            self._ready_since = math.inf
            self._error = LastError(f"front {member.number}: {why}", time.time())
            if not self._started:
                self._failed.set()
                return
            pause = PAUSE_MIN if anyio.current_time() - began > CALM else pause
            log.error("front ended", source=self._hello.source, front=member.number, why=why, next_in=pause)
            if self._listener and pause > QUEUEING:
                self._listener.drop(member.number)
            with anyio.move_on_after(pause):
                await self._stopping.wait()
            pause = min(pause * 2, PAUSE_MAX)

    async def _live(self, member: Member, store: Store, ready: Callable[[], None], counts: Counter[str]) -> str:
        """Start a front and work with it until it ends; return why it did."""
        listening = [one.fileno() for one in await self._sockets(member)]
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await _start(self._command, theirs, listening)
            async with process:
                member.pid = process.pid
                link = Link(ours)
                exchange = Exchange(link, self._wire, store, ready, counts)
                hello = msgspec.structs.replace(self._hello, number=member.number, listening=listening)
                await self._serve(link, exchange, hello)
                with anyio.move_on_after(LINGER):
                    await process.wait()
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                return exchange.error or _how(process.returncode)

    async def _sockets(self, member: Member) -> Sequence[socket.socket]:
        """Return what the front accepts from, opened where it is not open; one at a time."""
        if self._listener is None:
            return ()
        count = len(self.members)
        return await to_thread.run_sync(self._listener.sockets, member.number, count, limiter=self._opening)

    async def _serve(self, link: Link, exchange: Exchange, hello: Hello) -> None:
        """Talk with a front until it is gone."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell_stop, link)
            with suppress(anyio.EndOfStream):
                await link.send(say(hello))
                await exchange.run()
            link.shutdown()
            tasks.cancel_scope.cancel()

    async def _tell_stop(self, link: Link) -> None:
        await self._stopping.wait()
        with suppress(anyio.EndOfStream):
            await link.send(say(Stop()))


async def _start(command: Command, link: socket.socket, listening: Sequence[int]) -> Process:
    """Start a front, in a session of its own: what the terminal says to the daemon is not for it.

    It imports from where the daemon does.
    """
    return await anyio.open_process(
        command,
        stdin=link.fileno(),
        stdout=DEVNULL,
        stderr=None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=listening,
        start_new_session=True,
    )


def _how(code: int | None) -> str:
    """Say how a process ended."""
    if code is None or code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"
