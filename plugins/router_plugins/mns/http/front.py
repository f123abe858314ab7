"""The listener: what waits over all connections, taken in batches and answered in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from http import HTTPStatus
from socket import socket
from ssl import SSLContext
from time import monotonic

import anyio

from router_plugins.mns.http.answers import Answer, refusal
from router_plugins.mns.http.connection import LINGER, Connection
from router_plugins.mns.http.entrance import TURNED_AWAY, Door, Entrance, Tell, only_count, plain_address, room
from router_plugins.mns.http.limits import Limits
from router_plugins.mns.http.parser import SLICE, Route
from router_plugins.mns.http.request import Request
from router_plugins.mns.http.tls import listen_tls

_BACKLOG = 1024
COMPANY = 0.0002
"""Seconds that requests wait for others at most before they are taken, so that fewer commits do for them."""

Check = Callable[[Request], bool]
"""Says whether a request may be taken; one that may not has its answer, or is put aside until `Front.admit`."""

_COUNTED = {404: "unknown_path", 408: "slow_sender", 413: "too_large", 431: "too_large", 503: "overloaded"}
"""What a refusal counts as, by its status; all others are a `bad_request`."""


class Front:
    """Collects the requests of all connections until somebody takes them.

    `route` decides at once, from the request line, what is not wanted; `count` is told about everything that
    is refused here, or in its place `tell`, with details: `bad_request`, `unknown_path`, `too_large`, `slow_sender`,
    `overloaded`, `too_many_connections`, `too_many_of_address`, `wrong_address`, `bad_handshake`.
    """

    def __init__(
        self,
        limits: Limits,
        route: Route,
        count: Callable[[str], None],
        door: Door | None = None,
        tell: Tell | None = None,
        *,
        proxied: bool = False,
    ) -> None:
        self.limits = limits
        self.route = route
        self.proxied = proxied
        """Whether each connection begins with a PROXY header, and only trusted proxies may make any."""
        self.held = 0
        self.buffer = memoryview(bytearray(SLICE))
        self.paused: set[Connection] = set()
        self.check: Check | None = None
        """Asked about each request that is complete."""
        self._tell: Tell = tell or partial(only_count, count)
        self._entrance = Entrance(limits.max_per_address, door)
        self._connections: set[Connection] = set()
        self._expected: set[Connection] = set()
        self._waiting: list[Request] = []
        self._arrived = asyncio.Event()
        self._left = asyncio.Event()
        self._stops: list[Callable[[], None]] = []
        self._closing = False
        self._due: set[Connection] = set()
        """Connections that may still send a request, their last, while the front closes."""

    def is_closing(self) -> bool:
        """Say whether no more connections are accepted."""
        return self._closing

    @property
    def crowded(self) -> bool:
        """Whether so much waits that clients with unanswered requests are not read from."""
        return self.held > self.limits.max_unanswered // 2

    @property
    def overloaded(self) -> bool:
        """Whether so much waits that messages under way are refused."""
        return self.held > self.limits.max_unanswered

    @asynccontextmanager
    async def serve(
        self, host: str, port: int, ssl: SSLContext | None = None, sockets: Sequence[socket] = ()
    ) -> AsyncGenerator[tuple[str, int]]:
        """Accept connections until the block ends; yield the address, with the port that was given for 0.

        If there are `sockets`, those listen at the address already.
        """
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as listening:
            if ssl is None and not self.proxied:
                servers = [await loop.create_server(self._connection, sock=one, backlog=_BACKLOG) for one in sockets]
                servers = servers or [await loop.create_server(self._connection, host, port, backlog=_BACKLOG)]
                address = servers[0].sockets[0].getsockname()[:2]
                self._stops += [server.close for server in servers]
            else:
                tls = listen_tls(self, host, port, _BACKLOG, ssl, sockets)
                address, stop = await listening.enter_async_context(tls)
                self._stops.append(stop)
            with room(self.limits) as self.limits:
                async with self._open():
                    yield address

    def _connection(self) -> Connection:
        return Connection(self)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        """Keep deadlines until the block ends; then clients have a moment to take their last answers."""
        try:
            async with anyio.create_task_group() as tasks:
                expiring = anyio.CancelScope(shield=True)  # also while it ends because it was cancelled
                tasks.start_soon(self._expire_connections, expiring)
                try:
                    yield
                finally:
                    expiring.cancel()
        finally:
            self.stop()
            with anyio.move_on_after(LINGER / 2, shield=True):
                await self._wait_closed()
            for connection in tuple(self._connections):
                connection.abort()
            with anyio.move_on_after(LINGER / 2, shield=True):
                await self._wait_closed()

    def stop(self) -> None:
        """Accept no more connections; the requests that wait can still be taken and answered.

        So can one more of each client that has just connected or is in the middle of a request, for a moment.
        """
        if not self._closing:
            self._closing, self.check = True, partial(self._check_last, self.check)
            self._due |= self._expected
            for stop in self._stops:
                stop()
        for connection in tuple(self._connections):
            self._dismiss(connection)
        self._arrived.set()

    async def take(self) -> list[Request]:
        """Wait for requests and return all that wait; nothing once the front has closed and is empty."""
        while not self._waiting:
            if self._closing and not self._due:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        await self._wait_for_company()
        taken, self._waiting = self._waiting, []
        return taken

    async def _wait_for_company(self) -> None:
        """Let the loop turn while requests keep coming, for a moment at most: those who were answered just now do."""
        until = monotonic() + COMPANY
        count = 0
        while len(self._waiting) > count and monotonic() < until:
            count = len(self._waiting)
            await asyncio.sleep(0)

    def answer(self, requests: Iterable[Request], answer: Answer) -> None:
        """Give the same answer to all of them; each is written when those before it on its connection are."""
        connections: set[Connection] = set()
        for request in requests:
            request.answer = answer
            if request.connection is not None:
                connections.add(request.connection)
        for connection in connections:
            connection.flush()
        for connection in tuple(self.paused):
            connection.read_on()

    def admit(self, request: Request) -> None:
        """Have a request checked that was put aside; then it waits to be taken, or its answer is written."""
        self._check(request)
        if request.answer is not None and request.connection is not None:
            request.connection.flush()

    # What connections call, and those who make them.

    def expect(self, connection: Connection, peer: str = "") -> bool:
        """Count a connection that is not ready yet; say whether there is room for it, if only to be told 503."""
        if len(self._connections) + len(self._expected) >= self.limits.max_connections + TURNED_AWAY:
            self._tell("too_many_connections", peer=peer)
            return False
        connection.peer = peer = plain_address(peer)
        if kind := self._entrance.refuses(connection, peer, proxied=self.proxied):
            self._tell(kind, peer=peer)
            return False
        self._expected.add(connection)
        if self._closing:  # it was accepted in the moment of that
            self._due.add(connection)
        return True

    def introduce(self, connection: Connection, client: str) -> bool:
        """Take note of whom a proxy speaks for, itself where that is empty; say whether that one may connect."""
        connection.peer = client or connection.peer
        kind = self._entrance.refuses(connection, connection.peer)
        if kind is not None:
            self.give_up(connection, kind)
        return kind is None

    def give_up(self, connection: Connection, kind: str = "bad_handshake", reason: str = "") -> None:
        """Expect it no longer: it has joined, or it never will, for a reason; an empty kind is no refusal."""
        if connection in self._expected:
            self._expected.discard(connection)
            self._entrance.forget(connection)
            self._expect_no_more(connection)
            if kind and not self._closing:
                self._tell(kind, peer=connection.peer, **({"reason": reason} if reason else {}))

    def join(self, connection: Connection) -> Answer | None:
        """Take note of a new connection; return what to tell it where there are too many."""
        known = connection in self._expected
        self._expected.discard(connection)
        self._connections.add(connection)
        if not known and (kind := self._entrance.refuses(connection, connection.peer)):
            self._tell(kind, peer=connection.peer)
            connection.abort()
            return None
        excess = len(self._connections) + len(self._expected) - self.limits.max_connections
        if excess <= 0:
            if self._closing:  # it was accepted before
                self._dismiss(connection)
            return None
        self._tell("too_many_connections", peer=connection.peer)
        if excess > TURNED_AWAY:
            connection.abort()
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections", retry_after=1)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        self._entrance.forget(connection)
        self.paused.discard(connection)
        self._expect_no_more(connection)
        self._left.set()

    def arrive(self, request: Request) -> None:
        """Let a request wait to be taken if it passes the check; count it if it is refused already."""
        if request.answer is None:
            self._check(request)
        elif reason := request.answer.reason:
            kind = _COUNTED.get(request.answer.status, "bad_request")
            self._tell(kind, reason=reason, request=request)

    def _check(self, request: Request) -> None:
        if self.check is None or self.check(request):
            if not self._waiting:
                self._arrived.set()
            self._waiting.append(request)

    # While it closes.

    def _dismiss(self, connection: Connection) -> None:
        """Let a connection end, after one more request if its client is about to send one."""
        if connection.finish():
            self._due.add(connection)
        else:
            self._expect_no_more(connection)

    def _check_last(self, check: Check | None, request: Request) -> bool:
        """Check a request that came while the front closes, and end its connection behind it."""
        if request.connection is not None:
            request.connection.end()
            self._expect_no_more(request.connection)
        return check is None or check(request)

    def _expect_no_more(self, connection: Connection) -> None:
        if connection in self._due:
            self._due.discard(connection)
            self._arrived.set()

    async def _expire_connections(self, scope: anyio.CancelScope) -> None:
        """Close what is past its deadline, a quarter of the shortest time limit late at most."""
        limits = self.limits
        tick = min(1.0, limits.header_timeout / 4, limits.body_timeout / 4, limits.idle_timeout / 4)
        with scope:
            while True:
                await anyio.sleep(tick)
                now = monotonic()
                for connection in tuple(self._connections):
                    if connection.deadline <= now:
                        connection.expire()

    async def _wait_closed(self) -> None:
        """Wait for the connections whose clients still take their last answer."""
        while any(not connection.unanswered for connection in self._connections):
            self._left.clear()
            await self._left.wait()
