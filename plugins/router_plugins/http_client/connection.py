"""One socket, with one request under way at most.

It is used again only when the answer's end was sure, nothing came behind it, and the request was written to its end: a
server may answer early, and would take the rest of a body for the next request. What comes while nothing was asked
(an answer too many, or a server that gives notice) ends the connection.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from router_plugins.http_client.errors import NoAnswerError, lost
from router_plugins.http_client.parser import Answer, AnswerParser

DRAIN = 1.0
"""Seconds that the body of an answer may take once its status is known."""


class Owner(Protocol):
    """Who is told what becomes of a connection."""

    def free(self, connection: Connection) -> None:
        """Note that it can take another request."""
        ...

    def left(self, connection: Connection) -> None:
        """Note that it is closed."""
        ...


class Connection(asyncio.Protocol):
    """The protocol of one socket. `deadline`, `since` (of its last use) and `born` are on the loop's clock."""

    _transport: asyncio.Transport

    def __init__(self, owner: Owner, parser: AnswerParser, loop: asyncio.AbstractEventLoop) -> None:
        self.closed = False
        self.deadline = 0.0
        self.since = self.born = loop.time()
        self._owner = owner
        self._parser = parser
        self._loop = loop
        self._waiter: asyncio.Future[Answer] | None = None

    # What the client says.

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._waiter is not None

    def ask(self, request: bytes, deadline: float) -> asyncio.Future[Answer]:
        """Send a request; the future is the answer, or raises `NoAnswerError` or `TimeoutError`."""
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        if self._transport.is_closing():
            waiter.set_exception(lost(None, began=False))
            return waiter
        self.deadline = deadline
        self._parser.expect()
        self._waiter = waiter
        self._transport.write(request)
        return waiter

    def give_up(self, waiter: asyncio.Future[Answer]) -> None:
        """Close it if that request is still under way: its answer, when it comes, must not be another's."""
        if self._waiter is waiter:
            self._waiter = None
            self._transport.abort()

    def expire(self) -> None:
        """End what is past its deadline: without an answer, or with what there is of it."""
        if self._parser.status:
            self._finish()
        else:
            self._fail(TimeoutError())

    def close(self) -> None:
        """Close in an orderly way."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; whoever dialled knows of it once that is done, which may be never."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what was read, and hand the answer over once it has ended."""
        if self._waiter is None:
            self._transport.abort()
            return
        parser = self._parser
        try:
            parser.feed(data)
        except NoAnswerError as error:
            self._fail(error)
            return
        if parser.ended:
            self._finish()
        elif parser.status:
            self.deadline = min(self.deadline, self._loop.time() + DRAIN)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand over what came of an answer, if its status did."""
        self.closed = True
        self._owner.left(self)
        if self._waiter is None:
            return
        if self._parser.status:
            self._finish()
        else:
            self._fail(lost(exc, began=self._parser.read > 0))

    # Between the two.

    def _finish(self) -> None:
        """Hand the answer over, and be free for another request or close."""
        waiter, self._waiter = self._waiter, None
        if self._parser.reusable and not self._transport.get_write_buffer_size():
            self.since = self._loop.time()
            self._owner.free(self)
        else:
            self._transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(self._parser.answer)

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        self._transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
