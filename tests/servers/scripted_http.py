"""An HTTP server that does to each connection what a script says, and clients of ours that talk to it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Protocol

import anyio
from yarl import URL

from router_plugins.http_client import Answer, Requests, posting
from servers.forward_proxy import ForwardProxy
from servers.talking import TalkingServer, length, reset

NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


class Peer:
    """One connection as the server sees it; `number` counts from 0."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """Return the body of the next request; raises `IncompleteReadError` at the end of the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return await self.reader.readexactly(length(head))

    async def wait_closed(self) -> None:
        """Wait until the client has closed it."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """Close it with RST."""
        reset(self.writer)


class Server(TalkingServer):
    """Speaks to each connection as its script does; remembers the bodies that came, by connection."""

    def __init__(self, script: Callable[[Server, Peer], Coroutine[Any, Any, None]], tls: ssl.SSLContext | None) -> None:
        super().__init__(tls)
        self.bodies: list[list[bytes]] = []
        self.closed = 0
        """Connections that the client was seen to close."""
        self.scheme = "https" if tls else "http"
        self._script = script

    @property
    def connections(self) -> int:
        return len(self.bodies)

    async def next(self, peer: Peer) -> bytes:
        """Take the next request and remember it."""
        body = await peer.request()
        self.bodies[peer.number].append(body)
        return body

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.bodies), reader, writer)
        self.bodies.append([])
        try:
            await self._script(self, peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed += 1
        finally:
            peer.writer.close()


async def always(server: Server, peer: Peer) -> None:
    while True:
        await server.next(peer)
        peer.writer.write(NOTHING)


def says(*answers: bytes, then_close: bool = False) -> Callable[[Server, Peer], Coroutine[Any, Any, None]]:
    """Answer the requests of every connection with these, one after the other, then wait for the client to close."""

    async def script(server: Server, peer: Peer) -> None:
        for answer in answers:
            await server.next(peer)
            peer.writer.write(answer)
        if not then_close:
            await peer.wait_closed()
            server.closed += 1

    return script


class Post(Protocol):
    """Sends a body, and further header lines."""

    def __call__(self, body: bytes = b"hi", lines: bytes = b"") -> Coroutine[Any, Any, Answer]: ...


class Serving(NamedTuple):
    """Runs servers with a client, straight or with a forward proxy between them."""

    proxied: bool

    @asynccontextmanager
    async def __call__(
        self,
        script: Callable[[Server, Peer], Coroutine[Any, Any, None]],
        *,
        patience: float = 5.0,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        host: str = "127.0.0.1",
    ) -> AsyncGenerator[tuple[Server, Post]]:
        """Run a server and a client of it; `tls` are the settings of server and client."""
        server = Server(script, tls[0] if tls else None)
        async with server.running():
            url = URL(f"{server.scheme}://{host}:{server.port}/in?x=1")
            async with self.client(url, patience, tls=tls[1] if tls else None) as post:
                yield server, post

    @asynccontextmanager
    async def client(self, url: URL, patience: float, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Post]:
        """Run a client, and the proxy."""
        proxy = ForwardProxy()
        async with (
            proxy.running(),
            posting(
                Requests(url, {"X-Test": "1"}), patience, tls=tls, proxy=proxy.url if self.proxied else None
            ) as opened,
        ):

            def post(body: bytes = b"hi", lines: bytes = b"") -> Coroutine[Any, Any, Answer]:
                return opened(lines, body)

            yield post
            assert bool(proxy.connections) == self.proxied


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.002)


def sockets() -> int:
    """Count the sockets that the process has open."""
    count = 0
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names, not files
        with suppress(OSError):
            count += os.readlink(f"/dev/fd/{name}").startswith("socket:")  # noqa: PTH115 - as above
    return count
