"""What only the client behind a forward proxy has: who learns what, and what the proxy itself answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trustme
from servers.forward_proxy import ForwardProxy
from servers.scripted_http import NOTHING, Peer, Server
from yarl import URL

from router_plugins.http_client import NoAnswerError, Post, Requests, posting

pytestmark = pytest.mark.anyio

CREDENTIALS = "me:p@ss wörd"
NAME = "hooks.invalid"
"""No resolver has it (RFC 6761)."""


class Ends:
    """A destination that only the proxy knows, and the heads that it was sent."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.heads: list[bytes] = []
        authority = trustme.CA()
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(NAME).configure_cert(server)
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        self.server = Server(self._answer, server if scheme == "https" else None)

    async def _answer(self, _server: Server, peer: Peer) -> None:
        while True:
            self.heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
            peer.writer.write(NOTHING)

    @asynccontextmanager
    async def posting(self, proxy: ForwardProxy, credentials: str = "", patience: float = 5.0) -> AsyncGenerator[Post]:
        requests = Requests(URL(f"{self.scheme}://{NAME}/in?token=t"), {"Authorization": "Bearer x"})
        async with self.server.running(), proxy.running():
            proxy.names.setdefault(NAME, self.server.port)
            user, _, password = credentials.partition(":")
            url = proxy.url.with_user(user).with_password(password) if user else proxy.url
            async with posting(requests, patience, tls=self.trust, proxy=url) as post:
                yield post


@pytest.fixture(params=["http", "https"])
async def ends(request: pytest.FixtureRequest) -> Ends:
    return Ends(request.param)


async def test_the_proxy_resolves_the_name(ends: Ends) -> None:
    proxy = ForwardProxy()
    async with ends.posting(proxy) as post:
        assert (await post(b"Webhook-Id: 1\r\n", b"")).status == 204
        assert (await post(b"Webhook-Id: 2\r\n", b"")).status == 204
    assert proxy.connections == 1
    assert len(ends.heads) == 2


async def test_credentials_go_to_the_proxy_and_no_further(ends: Ends) -> None:
    proxy = ForwardProxy(credentials=CREDENTIALS)
    async with ends.posting(proxy, CREDENTIALS) as post:
        for _ in range(2):
            assert (await post(b"", b"")).status == 204
    assert b"Authorization: Bearer x\r\n" in ends.heads[0]
    assert not [head for head in ends.heads if b"proxy" in head.lower()]


async def test_of_what_goes_to_an_https_destination_the_proxy_sees_host_and_port_only() -> None:
    ends = Ends("https")
    proxy = ForwardProxy()
    async with ends.posting(proxy) as post:
        await post(b"Webhook-Id: 1\r\n", b"")
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT hooks.invalid:443 HTTP/1.1\r\nHost: hooks.invalid\r\n")
    assert not [word for word in (b"Bearer", b"token", b"Webhook") if word in head]


async def test_credentials_that_the_proxy_does_not_take_are_no_answer(ends: Ends) -> None:
    proxy = ForwardProxy(credentials=CREDENTIALS)
    async with ends.posting(proxy, "me:wrong") as post:
        with pytest.raises(NoAnswerError, match=r"the proxy .*407"):
            await post(b"", b"")
    assert not ends.heads


@pytest.mark.parametrize("answer", [b"403 No", b"404 No", b"502 No", b"301 There"])
async def test_a_proxy_that_makes_no_tunnel_has_not_answered_for_the_destination(answer: bytes) -> None:
    ends = Ends("https")
    proxy = ForwardProxy(refusal=b"HTTP/1.1 %b\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n" % answer)
    async with ends.posting(proxy) as post:
        with pytest.raises(NoAnswerError, match=rf"the proxy makes no connection .*{answer[:3].decode()}"):
            await post(b"", b"")


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, b"H"])
async def test_garbage_of_the_proxy_is_no_answer(ends: Ends, garbage: bytes) -> None:
    async with ends.posting(ForwardProxy(refusal=garbage)) as post:
        with pytest.raises(NoAnswerError):
            await post(b"", b"")


async def test_what_the_proxy_sends_before_the_tunnel_is_made_is_not_the_destinations_answer() -> None:
    """It would be read as plain text from a connection that is thought to be encrypted."""
    ends = Ends("https")
    proxy = ForwardProxy(refusal=b"HTTP/1.1 200 OK\r\n\r\n" + NOTHING)
    async with ends.posting(proxy) as post:
        with pytest.raises(NoAnswerError):
            await post(b"", b"")


async def test_a_proxy_that_is_not_there_is_named_as_such(ends: Ends) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        proxy = URL(f"http://127.0.0.1:{probe.getsockname()[1]}")
    requests = Requests(URL(f"{ends.scheme}://{NAME}/"), {})
    async with posting(requests, 5.0, tls=ends.trust, proxy=proxy) as post:
        with pytest.raises(NoAnswerError, match="the proxy: no connection: Connection refused"):
            await post(b"", b"")


async def test_a_silent_proxy_is_given_up_on_in_time(ends: Ends) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    proxy = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    requests = Requests(URL(f"{ends.scheme}://{NAME}/"), {})
    async with server, posting(requests, 0.2, tls=ends.trust, proxy=proxy) as post:
        with pytest.raises(TimeoutError):
            await post(b"", b"")


async def test_what_the_proxy_does_not_reach_is_no_connection_or_for_http_its_own_answer(ends: Ends) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        proxy = ForwardProxy({NAME: probe.getsockname()[1]})
        async with ends.posting(proxy) as post:
            if ends.scheme == "http":
                assert (await post(b"", b"")).status == 502
            else:
                with pytest.raises(NoAnswerError, match=r"the proxy makes no connection .*502"):
                    await post(b"", b"")
