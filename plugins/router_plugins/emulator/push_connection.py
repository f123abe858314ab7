"""A kept HTTP/1.1 connection that posts pushes, one after the other.

Not aiohttp's client: 21,000 signed pushes took 11.4 s of CPU with it and 6.2 s with this, of which about 2.2 s are
signatures (0.1 ms each; one run each, on a shared machine). The parsing is httptools'.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
from yarl import URL


class PushConnection(asyncio.Protocol):
    """One connection to one endpoint. `post` once at a time; `usable` says whether it can be used again."""

    def __init__(self) -> None:
        self.usable = False
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._status: int | None = None
        self._answer: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, url: URL, deadline: float) -> PushConnection:
        """Connect to the URL's host until `deadline` (the loop's time); raises `OSError` and `TimeoutError`."""
        loop = asyncio.get_running_loop()
        secure = True if url.scheme == "https" else None
        async with asyncio.timeout_at(deadline):
            _, connection = await loop.create_connection(cls, url.host or "", url.port or 80, ssl=secure)
        return connection

    async def post(self, request: bytes, deadline: float) -> int:
        """Send the request and return its answer's status.

        Raises `TimeoutError` when there is none by the `deadline` (the loop's time), `OSError` when the connection
        ends first, and `ValueError` when the answer is no HTTP. The answer's body is read and forgotten; a status
        whose body never ends is an answer.
        """
        assert self._transport is not None
        self.usable, self._status = False, None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._answer
        except TimeoutError:
            if self._status is None:
                raise
            return self._status
        finally:
            self._answer = None
            if not self.usable:
                self.close()

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be connected (asyncio)."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer with the status if it is known: the body then ended with the connection (asyncio)."""
        self.usable = False
        if self._status is not None:
            self._resolve(self._status)
        else:
            self._resolve(exc or ConnectionResetError("the endpoint closed the connection without an answer"))

    def data_received(self, data: bytes) -> None:
        """Parse what arrives (asyncio)."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._resolve(ValueError(f"the answer is no HTTP: {error}"))
            self.close()

    def on_headers_complete(self) -> None:
        """Note the status; an interim one (1xx) is not the answer (httptools)."""
        status = self._parser.get_status_code()
        self._status = status if status >= 200 else None  # noqa: PLR2004 - 1xx are interim

    def on_message_complete(self) -> None:
        """Give the answer to whoever waits (httptools)."""
        if self._status is not None:
            self.usable = self._answer is not None and self._parser.should_keep_alive()
            self._resolve(self._status)

    def _resolve(self, result: int | Exception) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(result, Exception):
            self._answer.set_exception(result)
        else:
            self._answer.set_result(result)
