"""The push front over TLS: a handshake counts as a connection, and does not last for ever."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple

import anyio
import pytest
import trustme
from servers.http_front import GOOD, START, Client, Service, route, serving, until

from router_plugins.mns.http import Front, Limits, accepted

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Trust(NamedTuple):
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def trust() -> Trust:
    authority = trustme.CA()
    both = Trust(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context())
    authority.issue_cert("127.0.0.1").configure_cert(both.server)
    authority.configure_trust(both.client)
    return both


async def silent(service: Service, count: int) -> list[Client]:
    """Connect, and never begin the handshake."""
    clients = [await service.connect() for _ in range(count)]
    await until(lambda: len(service.front._expected) == count)
    return clients


async def test_requests_come_over_tls(trust: Trust) -> None:
    async with serving(tls=trust.server) as service:
        client = await service.connect(ssl=trust.client)
        large = bytes(range(256)) * 800
        await client.send(GOOD + START + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(large) + large)
        assert await client.statuses(2) == [204, 204]
        assert service.taken[-1].body == large
        assert await client.closed()
    assert service.counted == []


async def test_unfinished_handshakes_count_as_connections(trust: Trust) -> None:
    async with serving(tls=trust.server, max_connections=3) as service:
        first = await service.connect(ssl=trust.client)
        await silent(service, 2)
        over = await service.connect(ssl=trust.client)
        assert (await over.answer())[0] == 503
        assert service.counted == ["too_many_connections"]
        await first.send(GOOD)
        assert (await first.answer())[0] == 204


async def test_a_handshake_that_takes_too_long_is_cut_off_and_gives_its_place_back(trust: Trust) -> None:
    async with serving(tls=trust.server, max_connections=1, header_timeout=0.3) as service:
        [slow] = await silent(service, 1)
        await slow.send(b"\x16\x03\x01")  # the beginning of a ClientHello
        assert await slow.closed()
        await until(lambda: not service.front._expected)
        assert service.counted == ["bad_handshake"]
        client = await service.connect(ssl=trust.client)
        await client.send(GOOD)
        assert (await client.answer())[0] == 204


async def test_what_is_no_handshake_or_breaks_off_gives_its_place_back(trust: Trust) -> None:
    async with serving(tls=trust.server, max_connections=1) as service:
        plain = await service.connect()
        await plain.send(GOOD)
        [gone] = await silent(service, 1)
        await gone.close()
        await until(lambda: service.counted == ["bad_handshake"] * 2)
        client = await service.connect(ssl=trust.client)
        await client.send(GOOD)
        assert (await client.answer())[0] == 204


async def test_a_flood_of_handshakes_is_cut_off_without_a_word(trust: Trust) -> None:
    async with serving(tls=trust.server, max_connections=1) as service:
        await silent(service, 65)
        for _ in range(20):
            assert await (await service.connect()).closed()
        assert len(service.front._expected) == 65
        assert service.counted == ["too_many_connections"] * 20


async def test_who_is_in_the_middle_of_a_handshake_when_it_ends_is_served_once(trust: Trust) -> None:
    """Also where it ends because it was cancelled, as a source does."""
    front = Front(Limits(), route, lambda _: None)
    over = False
    with anyio.CancelScope() as scope:
        async with front.serve("127.0.0.1", 0, trust.server) as address:
            client = Client(*await asyncio.open_connection(*address))
            await until(lambda: front._expected)
            scope.cancel()
            front.stop()
            with anyio.fail_after(5, shield=True):
                await client.writer.start_tls(trust.client, server_hostname="127.0.0.1")
                await client.send(GOOD)
                front.answer(await front.take(), accepted())
                status, headers, _ = await client.answer()
                await client.close()
                assert await front.take() == []
                over = True
    assert over
    assert (status, headers["connection"]) == (204, "close")


async def test_a_stop_gives_handshakes_a_moment_and_lets_requests_be_answered(trust: Trust) -> None:
    async with serving(tls=trust.server, hold=True) as service:
        client = await service.connect(ssl=trust.client)
        [slow] = await silent(service, 1)
        await client.send(GOOD)
        await until(lambda: service.taken)
        service.front.stop()
        assert await slow.closed()
        with pytest.raises(OSError, match=r".*"):
            await service.connect()
        service.open.set()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (204, "close")
    assert service.counted == []
