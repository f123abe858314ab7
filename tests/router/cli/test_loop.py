"""The daemon's loop: names that no server answers for, and calls that hang, stand in nobody's way."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from router.cli.loop import Loop


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let names that begin with `dead` hang until the test ends; all others are this machine's."""
    event, real = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *rest: Any) -> Any:
        if host.startswith("dead"):
            event.wait()
        return real("127.0.0.1", *rest)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield event
    event.set()


def in_loop(main: Any) -> Any:
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(asyncio.wait_for(main(), 20))


@pytest.mark.usefixtures("hang")
def test_connections_by_name_are_made_while_others_hang_and_the_loop_ends_at_once() -> None:
    """As aiokafka makes them."""

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        dead = [
            asyncio.create_task(loop.create_connection(asyncio.Protocol, f"dead{number}.example", port))
            for number in range(50)
        ]
        found = await loop.getaddrinfo("here.example", port, type=socket.SOCK_STREAM)
        reader, writer = await asyncio.open_connection("here.example", port)
        read = await reader.read()
        writer.close()
        server.close()
        for one in dead:
            one.cancel()
        assert found[0][4] == ("127.0.0.1", port)
        return read

    begun = time.monotonic()
    assert in_loop(main) == b""
    assert time.monotonic() - begun < 10


def test_calls_in_threads_go_on_while_others_hang(hang: threading.Event) -> None:
    async def main() -> int:
        hanging = [asyncio.create_task(asyncio.to_thread(hang.wait)) for _ in range(100)]
        result = await asyncio.to_thread(lambda: 7)
        for one in hanging:
            one.cancel()
        return result

    assert in_loop(main) == 7


def test_an_address_is_no_name() -> None:
    async def main() -> bytes:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "::1", 0)
        reader, writer = await asyncio.open_connection("::1", server.sockets[0].getsockname()[1])
        read = await reader.read()
        writer.close()
        server.close()
        return read

    assert in_loop(main) == b""
