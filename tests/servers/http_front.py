"""A push front on a real socket, and raw clients of it, for the tests of the front."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import anyio

from router_plugins.mns.callers import Callers
from router_plugins.mns.http import Front, Limits, Request, accepted, refusal

START = b"POST /n HTTP/1.1\r\nHost: x\r\n"
GOOD = START + b"Content-Length: 2\r\n\r\nhi"
BRIEF = 0.1


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.002)


class Service:
    """A front whose requests are answered 204 at once, or when `hold` is opened."""

    def __init__(self, port: int, front: Front) -> None:
        self.port = port
        self.front = front
        self.taken: list[Request] = []
        self.counted: list[str] = []
        self.open = anyio.Event()
        self.clients: list[Client] = []

    async def answer_all(self) -> None:
        while requests := await self.front.take():
            self.taken += requests
            await self.open.wait()
            self.front.answer(requests, accepted())

    async def connect(self, **options: Any) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port, **options)))
        return self.clients[-1]


class Client:
    """A raw socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer: status, headers, body."""
        with anyio.fail_after(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:-2])}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body

    async def statuses(self, count: int) -> list[int]:
        return [(await self.answer())[0] for _ in range(count)]

    async def closed(self) -> bool:
        with anyio.fail_after(5):
            try:
                return await self.reader.read(1) == b""
            except ConnectionResetError:
                return True

    async def nothing_came(self) -> bool:
        with anyio.move_on_after(BRIEF):
            return not await self.reader.read(1) and False
        return True

    async def close(self) -> None:
        self.writer.close()
        with anyio.move_on_after(1):
            try:
                await self.writer.wait_closed()
            except (ConnectionError, OSError):
                return


def route(method: bytes, target: bytes) -> Any:
    return None if target == b"/n" else refusal(HTTPStatus.NOT_FOUND, "nothing is here")


@asynccontextmanager
async def serving(
    *, hold: bool = False, tls: ssl.SSLContext | None = None, door: Callers | None = None, **limits: Any
) -> AsyncGenerator[Service]:
    """Serve a front with these limits; with `hold`, answers wait for `open`."""
    counted: list[str] = []
    front = Front(Limits(**limits), route, counted.append, door)
    async with front.serve("127.0.0.1", 0, tls) as (_, port), anyio.create_task_group() as tasks:
        service = Service(port, front)
        service.counted = counted
        if not hold:
            service.open.set()
        tasks.start_soon(service.answer_all)
        try:
            yield service
        finally:
            with anyio.CancelScope(shield=True):
                for client in service.clients:
                    await client.close()
        tasks.cancel_scope.cancel()
