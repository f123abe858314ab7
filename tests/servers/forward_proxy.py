"""A small forward proxy on loopback: CONNECT, and absolute targets for http; it does not look at answers."""

from __future__ import annotations

import asyncio
from base64 import b64encode

from yarl import URL

from servers.talking import TalkingServer, length, reset

CHUNK = 65536


class ForwardProxy(TalkingServer):
    """Passes on what it is sent. `names` are those that it knows, with the ports of 127.0.0.1 that they lead to.

    `credentials` are "user:password" that it wants; `refusal` is what it answers to every request instead of passing
    it on.
    """

    def __init__(self, names: dict[str, int] | None = None, credentials: str = "", refusal: bytes = b"") -> None:
        super().__init__()
        self.heads: list[bytes] = []
        """Of the requests that came, CONNECT and others."""
        self.connections = 0
        self.names = names or {}
        self._wanted = b"Basic " + b64encode(credentials.encode()) if credentials else b""
        self._refusal = refusal

    @property
    def url(self) -> URL:
        return URL(f"http://127.0.0.1:{self.port}")

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client, with one to the destination."""
        self.connections += 1
        onward: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if refusal := self._refused(head):
                    writer.write(refusal)
                    return
                method, target, _ = head.split(b" ", 2)
                tunnel = method == b"CONNECT"
                if onward is None:
                    url = URL(f"https://{target.decode()}" if tunnel else target.decode())
                    port = self.names.get(url.host or "", url.port)
                    answers, onward = await asyncio.open_connection("127.0.0.1", port)
                    if tunnel:
                        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = asyncio.create_task(_copy(answers, writer))
                if tunnel:
                    await _copy(reader, onward)
                    return
                onward.write(_passed_on(head))
                await _copy_some(reader, onward, length(head))
        except asyncio.IncompleteReadError:
            pass
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        finally:
            if back is not None:
                back.cancel()
            if onward is not None:
                onward.close()
            writer.close()

    def _refused(self, head: bytes) -> bytes:
        if self._wanted and b"Proxy-Authorization: %b\r\n" % self._wanted not in head:
            return b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
        return self._refusal


def _passed_on(head: bytes) -> bytes:
    """Return a head as the destination gets it: its own path as the target, without what is for the proxy."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, version = first.split(b" ")
    kept = [line for line in lines if not line.lower().startswith(b"proxy-")]
    return b"\r\n".join([b"%b %b %b" % (method, URL(target.decode()).raw_path_qs.encode(), version), *kept, b"", b""])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until its end, then close the other side as this one was closed."""
    try:
        while part := await reader.read(CHUNK):
            writer.write(part)
            await writer.drain()
        writer.close()
    except ConnectionError:
        reset(writer)


async def _copy_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    while size:
        part = await reader.read(min(size, CHUNK))
        if not part:
            raise asyncio.IncompleteReadError(part, size)
        size -= len(part)
        writer.write(part)
        await writer.drain()
