"""Who may connect to a listener: by address, and how many of one."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from anyio.lowlevel import RunVar
from servers.http_front import GOOD, serving, until

from router_plugins import descriptors
from router_plugins.mns.callers import Callers

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Make the settings of both ends."""
    if not request.param:
        yield {}
        return
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    yield {"server": server, "client": {"ssl": client}}


async def test_one_address_has_so_many_connections_and_room_is_given_back(tls: dict[str, Any]) -> None:
    async with serving(tls=tls.get("server"), max_per_address=2) as service:
        first, second = [await service.connect(**tls.get("client", {})) for _ in range(2)]
        assert await (await service.connect()).closed()
        await first.close()
        await until(lambda: len(service.front._connections) == 1)
        fourth = await service.connect(**tls.get("client", {}))
        for client in (second, fourth):
            await client.send(GOOD)
            assert (await client.answer())[0] == 204
    assert service.counted == ["too_many_of_address"]


async def test_a_trusted_proxy_has_any_number(tls: dict[str, Any]) -> None:
    door = Callers((), ("127.0.0.1/32",))
    async with serving(tls=tls.get("server"), door=door, max_per_address=1) as service:
        for client in [await service.connect(**tls.get("client", {})) for _ in range(5)]:
            await client.send(GOOD)
            assert (await client.answer())[0] == 204
    assert service.counted == []


async def test_who_is_not_allowed_is_cut_off_when_it_connects(tls: dict[str, Any]) -> None:
    """Before it sends a byte, or a handshake begins."""
    async with serving(tls=tls.get("server"), door=Callers(("47.90.0.0/16",), ("10.0.0.0/8",))) as service:
        assert await (await service.connect()).closed()
    assert service.counted == ["wrong_address"]


async def test_who_is_allowed_or_a_proxy_may_connect(tls: dict[str, Any]) -> None:
    for door in (Callers(("127.0.0.0/8",), ()), Callers(("47.90.0.0/16",), ("127.0.0.1/32",)), Callers((), ())):
        async with serving(tls=tls.get("server"), door=door) as service:
            client = await service.connect(**tls.get("client", {}))
            await client.send(GOOD)
            assert (await client.answer())[0] == 204


async def test_all_listeners_share_the_descriptors_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: 600)
    monkeypatch.setattr(descriptors, "_listeners", RunVar("test"))
    async with serving(max_connections=200) as one, serving(max_connections=200) as other:
        rooms = [each.front.limits.max_connections for each in (one, other)]
    async with serving(max_connections=200) as again:
        rooms.append(again.front.limits.max_connections)
    assert rooms == [200, 16, 200]
