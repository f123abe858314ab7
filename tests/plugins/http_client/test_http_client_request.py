"""Where the HTTP client's requests go: the request's bytes, names and addresses, TLS."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import anyio
import pytest
import trustme
from servers.scripted_http import NOTHING, OK, Peer, Server, Serving, always, says, until
from yarl import URL

from router_plugins.http_client import Client, Dialler, NoAnswerError, Requests, posting

pytestmark = pytest.mark.anyio

BRIEF = 0.2


# The request itself.


async def test_a_request_is_what_it_says(serving: Serving) -> None:
    heads: list[bytes] = []

    async def script(_server: Server, peer: Peer) -> None:
        heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
        peer.writer.write(NOTHING)
        await peer.wait_closed()

    async with serving(script) as (server, post):
        await post(b"", b"Webhook-Id: 1\r\n")
    lines = [b"POST /in?x=1 HTTP/1.1", b"Host: 127.0.0.1:%d" % server.port, b"Accept: */*", b"X-Test: 1"]
    assert heads == [b"\r\n".join([*lines, b"Webhook-Id: 1", b"Content-Length: 0", b"", b""])]


async def test_no_redirect_is_followed_no_cookie_kept_and_no_proxy_taken_from_the_environment(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    heads: list[bytes] = []

    async def script(_server: Server, peer: Peer) -> None:
        while True:
            heads.append(await peer.reader.readuntil(b"\r\n\r\n"))
            peer.writer.write(b"HTTP/1.1 307 There\r\nLocation: /\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async with serving(script, host="localhost") as (_, post):
        assert [(await post(b"")).status for _ in range(3)] == [307] * 3
    assert len(heads) == 3
    assert not [head for head in heads if b"cookie" in head.lower()]


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://example.com", "/", "example.com"),
        ("https://example.com:443/a", "/a", "example.com"),
        ("https://example.com:80/a?b=c#d", "/a?b=c", "example.com:80"),
        ("http://[::1]:8080/", "/", "[::1]:8080"),
        ("http://bücher.example/ü b", "/%C3%BC%20b", "xn--bcher-kva.example"),
    ],
)
def test_target_and_host_follow_from_the_url(url: str, line: str, host: str) -> None:
    rendered = Requests(URL(url), {}).render(b"", b"").decode()
    assert rendered.startswith(f"POST {line} HTTP/1.1\r\nHost: {host}\r\n")


# Names and addresses.


class Names:
    """A resolver in the place of the system's: gives the ports of 127.0.0.1 that it was told, or fails."""

    def __init__(self, *found: list[int] | OSError) -> None:
        self.found = list(found)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int, *_: Any) -> list[Any]:
        self.asked.append((host, port))
        time.sleep(0.01)
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, OSError):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in found]


@asynccontextmanager
async def named(script: Callable[[Server, Peer], Coroutine[Any, Any, None]]) -> AsyncGenerator[tuple[Server, Client]]:
    server, url = Server(script, None), URL("http://hooks.example:81/")
    async with server.running(), Client.opened(Dialler(url, None), 5.0) as opened:
        yield server, opened


REQUEST = Requests(URL("http://hooks.example:81/"), {}).render(b"", b"")


async def test_a_name_is_looked_up_once_for_all_that_connect_within_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with named(says(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")) as (server, opened):
        names = Names([server.port])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(opened.post, REQUEST)
        assert names.asked == [("hooks.example", 81)]
    assert server.connections == 10


async def test_a_name_is_looked_up_again_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.names.FRESH", 0.0)
    async with named(says(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")) as (server, opened):
        names = Names([server.port])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        for _ in range(3):
            await opened.post(REQUEST)
    assert len(names.asked) == 3


async def test_a_name_whose_addresses_took_no_connection_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with named(always) as (server, opened):
        names = Names([closed_port()], [server.port])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        with pytest.raises(NoAnswerError, match="no connection: Connection refused"):
            await opened.post(REQUEST)
        assert (await opened.post(REQUEST)).status == 204
    assert len(names.asked) == 2


async def test_another_address_is_tried_when_one_takes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with named(always) as (server, opened):
        monkeypatch.setattr(socket, "getaddrinfo", Names([closed_port(), server.port]))
        assert (await opened.post(REQUEST)).status == 204


async def test_a_name_that_cannot_be_looked_up_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with named(always) as (server, opened):
        names = Names(socket.gaierror(socket.EAI_NONAME, "Name or service not known"), [server.port])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        with pytest.raises(NoAnswerError, match="its name cannot be resolved"):
            await opened.post(REQUEST)
        assert (await opened.post(REQUEST)).status == 204


@pytest.mark.parametrize(
    ("host", "networks"),
    [
        ("127.0.0.1", ["127.0.0.0/8"]),
        ("127.1", ["127.0.0.0/8"]),
        ("2130706433", ["127.0.0.0/8"]),
        ("[::1]", ["::1/128"]),
        ("[::ffff:127.0.0.1]", ["127.0.0.1/32"]),
        ("localhost", ["127.0.0.0/8", "::1/128"]),
    ],
)
async def test_no_address_in_a_denied_network_is_connected_to(host: str, networks: list[str]) -> None:
    async with named(always) as (server, _):
        dialler = Dialler(URL(f"http://{host}:{server.port}/"), None, [ip_network(text) for text in networks])
        async with Client.opened(dialler, 5.0) as opened:
            with pytest.raises(NoAnswerError, match="is in a network that is denied"):
                await opened.post(REQUEST)
    assert server.connections == 0


async def test_a_name_that_comes_to_lead_into_a_denied_network_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it is looked up, and of several addresses the others are used."""
    monkeypatch.setattr("router.names.FRESH", 0.0)
    answers = [["127.0.0.1"], ["127.0.0.9"], ["127.0.0.9", "127.0.0.1"]]

    async with named(says(OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n")) as (server, _):

        def look_up(_host: str, _port: int, *_options: object) -> list[object]:
            place = socket.AF_INET, socket.SOCK_STREAM, 6, ""
            return [(*place, (address, server.port)) for address in answers.pop(0)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        dialler = Dialler(URL("http://hooks.example:81/"), None, [ip_network("127.0.0.9")])
        async with Client.opened(dialler, 5.0) as opened:
            assert (await opened.post(REQUEST)).status == 200
            with pytest.raises(NoAnswerError, match=r"127\.0\.0\.9 is in a network that is denied"):
                await opened.post(REQUEST)
            assert (await opened.post(REQUEST)).status == 200
    assert server.connections == 2


@pytest.mark.parametrize("proxied", [False, True])
async def test_a_name_that_moved_is_followed_while_there_is_always_something_to_send(
    monkeypatch: pytest.MonkeyPatch, *, proxied: bool
) -> None:
    """The name of the destination, or that of the proxy."""
    ends = [Server(always, None), Server(always, None)]
    async with ends[0].running(), ends[1].running():
        names = Names([ends[0].port])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        proxy = URL("http://proxy.example:3128") if proxied else None
        requests = Requests(URL("http://hooks.example:81/"), {})
        async with posting(requests, 5.0, proxy=proxy, max_age=0.05) as post:
            await post(b"", b"")
            names.found = [[ends[1].port]]
            with anyio.fail_after(5):
                while not ends[1].connections:
                    await post(b"", b"")
    assert len(names.asked) < 1000, "a connection was made for every request"


async def test_a_connection_in_use_is_kept_until_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async with named(always) as (server, opened):
        monkeypatch.setattr(socket, "getaddrinfo", Names([server.port]))
        for _ in range(50):
            await opened.post(REQUEST)
    assert server.connections == 1


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# TLS.


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def settings(authority: trustme.CA, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(server)
    mine = ssl.create_default_context()
    authority.configure_trust(mine)
    return server, mine


async def test_a_trusted_certificate_of_the_right_name_is_asked_for_by_name_and_used_again(
    serving: Serving,
    authority: trustme.CA,
) -> None:
    tls = settings(authority, "localhost")
    asked: list[str | None] = []
    tls[0].sni_callback = lambda _connection, name, _context: asked.append(name)
    async with serving(always, tls=tls, host="localhost") as (server, post):
        for _ in range(5):
            assert (await post(b"x" * 100_000)).status == 204
    assert server.connections == 1
    assert asked == ["localhost"]


async def test_a_certificate_of_another_name_is_refused_and_nothing_is_sent(
    serving: Serving, authority: trustme.CA
) -> None:
    async with serving(always, tls=settings(authority, "other.example"), host="localhost") as (server, post):
        with pytest.raises(NoAnswerError, match=r"certificate is not trusted.*(Hostname mismatch|not valid for)"):
            await post()
    assert not any(server.bodies)


async def test_a_certificate_of_an_unknown_authority_is_refused(serving: Serving, authority: trustme.CA) -> None:
    server_side, _ = settings(authority, "localhost")
    _, mine = settings(trustme.CA(), "localhost")
    async with serving(always, tls=(server_side, mine), host="localhost") as (server, post):
        with pytest.raises(NoAnswerError, match="its certificate is not trusted"):
            await post()
    assert not any(server.bodies)


async def test_a_handshake_that_hangs_is_given_up_on_in_time(serving: Serving, authority: trustme.CA) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await peer.wait_closed()
        server.closed += 1

    server = Server(script, None)
    async with server.running():
        url = URL(f"https://localhost:{server.port}/")
        async with serving.client(url, BRIEF, tls=settings(authority, "localhost")[1]) as post:
            with pytest.raises(TimeoutError):
                await post()
            await until(lambda: server.closed == 1)


async def test_a_race_with_a_closing_server_is_won_over_tls_too(serving: Serving, authority: trustme.CA) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        peer.writer.write(NOTHING)
        if peer.number == 0:
            await server.next(peer)
            peer.writer.transport.abort()
        await peer.wait_closed()

    async with serving(script, tls=settings(authority, "localhost"), host="localhost") as (server, post):
        await post(b"first")
        assert (await post(b"second")).status == 204
    assert server.bodies == [[b"first", b"second"], [b"second"]]
