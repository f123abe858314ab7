"""Which connection a request goes over, and until when.

The one used last is used next, so that those beyond the need become idle and are closed. A server may close an idle
connection at the very moment at which a request is written to it; then no byte of an answer comes, and the request is
sent once more, over a fresh connection. So a request must bear being received twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from router_plugins.http_client.connection import Connection
from router_plugins.http_client.dialling import Dialler
from router_plugins.http_client.errors import LostError, no_connection
from router_plugins.http_client.parser import Answer, AnswerParser, Limits

IDLE = 15.0
"""Seconds after which an unused connection is closed."""
MAX_AGE = 60.0
"""Seconds after which a connection is not used for another request."""
LOOK = 0.25
"""Seconds between two looks at the deadlines, at most."""
FAREWELL = 2.0
"""Seconds that closing waits for connections to be closed."""


class Client:
    """Sends requests to one origin; make it with `opened`, inside a running asyncio loop. It is an `Owner`.

    `patience` is in seconds, for one request from connecting to the end of the answer's head; so is `max_age`, after
    which a connection is not used for another. How many requests are under way is up to the caller: each has a
    connection of its own.
    """

    def __init__(
        self, dialler: Dialler, patience: float, limits: Limits, wanted: frozenset[bytes], max_age: float
    ) -> None:
        self._dialler = dialler
        self._patience = patience
        self._limits = limits
        self._wanted = wanted
        self._max_age = max_age
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._empty = asyncio.Event()
        self._look: asyncio.TimerHandle | None = None

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        dialler: Dialler,
        patience: float,
        *,
        limits: Limits | None = None,
        wanted: frozenset[bytes] = frozenset(),
        max_age: float = MAX_AGE,
    ) -> AsyncGenerator[Client]:
        """Keep connections for as long as the block; answers have the `wanted` headers, named in lower case."""
        client = cls(dialler, patience, limits or Limits(), wanted, max_age)
        try:
            yield client
        finally:
            with anyio.move_on_after(FAREWELL, shield=True):
                await client.close()

    async def post(self, request: bytes) -> Answer:
        """Send a request and return its answer; raises `NoAnswerError` or `TimeoutError`."""
        deadline = self._loop.time() + self._patience
        if self._idle:
            try:
                return await _answer(self._idle.pop(), request, deadline)
            except LostError as error:
                if error.began:
                    raise
        return await _answer(await self._dial(deadline), request, deadline)

    async def close(self) -> None:
        """Close all connections, and return when they are."""
        for connection in tuple(self._connections):
            connection.abort()
        if self._connections:
            await self._empty.wait()
        if self._look is not None:
            self._look.cancel()

    async def _dial(self, deadline: float) -> Connection:
        async with asyncio.timeout_at(deadline):
            try:
                connection = await self._dialler.dial(self._connection)
            except OSError as error:
                raise no_connection(error) from error
        if not connection.closed:
            self._connections.add(connection)
            self._empty.clear()
            if self._look is None:
                self._look_later()
        return connection

    def _connection(self) -> Connection:
        return Connection(self, AnswerParser(self._limits, self._wanted), self._loop)

    # What the connections say.

    def free(self, connection: Connection) -> None:
        """Use it again, unless it is too old: its name may lead elsewhere by now."""
        if connection.since - connection.born > self._max_age:
            connection.close()
        else:
            self._idle.append(connection)

    def left(self, connection: Connection) -> None:
        """Forget it."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._connections:
            self._empty.set()

    def _look_later(self) -> None:
        self._look = self._loop.call_later(min(LOOK, self._patience / 10), self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        """End what takes too long, and close what nobody uses; one timer for all requests is enough for that."""
        now = self._loop.time()
        for connection in tuple(self._connections):
            if connection.busy:
                if now >= connection.deadline:
                    connection.expire()
            elif now - connection.since > IDLE or now - connection.born > self._max_age:
                connection.close()
        self._look = None
        if self._connections:
            self._look_later()


async def _answer(connection: Connection, request: bytes, deadline: float) -> Answer:
    waiter = connection.ask(request, deadline)
    try:
        return await waiter
    finally:
        connection.give_up(waiter)
