"""Names: who looks up one that no server answers for waits alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import pytest

from router import Names, names, threads

pytestmark = pytest.mark.anyio

Place = tuple[Any, ...]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Servers:
    """Name servers: they know what they are told, say that they are busy, or hang."""

    def __init__(self) -> None:
        self.known: Mapping[str, str | None] = {"here.example": "127.0.0.1"}
        self.asked: list[str] = []
        self.hang = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self, host: str, port: int, *_: object) -> list[Place]:
        self.asked.append(host)
        self.begun.release()
        if host.startswith("dead"):
            self.hang.wait()
        address = self.known.get(host, "127.0.0.9")
        if address is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    found = Servers()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield found
    found.hang.set()


async def address(some: Names, host: str) -> str:
    return str((await some.look_up(host, 80))[0][4][0])


async def test_however_many_names_hang_those_of_others_are_found(servers: Servers) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(5 * threads.USUAL):
            tasks.start_soon(Names().look_up, f"dead{number}.example", 80)
        with anyio.fail_after(5):
            assert await address(Names(), "here.example") == "127.0.0.1"
        tasks.cancel_scope.cancel()


async def test_a_name_of_the_same_destination_is_found_while_another_hangs(servers: Servers) -> None:
    """Such as one of several Kafka servers."""
    mine = Names()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(mine.look_up, "dead.example", 80)
        with anyio.fail_after(5):
            assert await address(mine, "here.example") == "127.0.0.1"
        tasks.cancel_scope.cancel()


async def test_all_who_ask_for_a_name_wait_for_one_look_up_and_so_do_those_who_come_after_them(
    servers: Servers,
) -> None:
    mine = Names()
    for _ in range(3):
        with anyio.move_on_after(0.02):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(mine.look_up, "dead.example", 80)
    servers.hang.set()
    assert await address(mine, "dead.example") == "127.0.0.9"
    assert servers.asked == ["dead.example"]


async def test_a_name_that_hangs_for_long_is_looked_up_again(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "LONGEST", 0.0)
    mine = Names()
    for _ in range(2 * names.AT_ONCE):
        with anyio.move_on_after(0.02):
            await mine.look_up("dead.example", 80)
    assert 1 < len(servers.asked) <= names.AT_ONCE


async def test_the_last_addresses_are_used_while_a_name_cannot_be_looked_up(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "FRESH", 0.0)
    monkeypatch.setattr(names, "PATIENCE", 0.05)
    mine = Names()
    servers.hang.set()
    assert await address(mine, "dead.example") == "127.0.0.9"
    servers.known = {"dead.example": None}
    assert await address(mine, "dead.example") == "127.0.0.9"
    servers.hang.clear()
    assert await address(mine, "dead.example") == "127.0.0.9"
    assert len(servers.asked) == 3


async def test_a_name_that_is_no_more_has_no_addresses(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "FRESH", 0.0)
    mine = Names()
    await mine.look_up("here.example", 80)

    def nobody(*_: object) -> list[Place]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(socket.gaierror):
        await mine.look_up("here.example", 80)
