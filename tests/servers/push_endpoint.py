"""An HTTP endpoint that pushes go to: it answers as told, and keeps what it was sent byte for byte."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
from anyio.abc import SocketAttribute, SocketStream


class Pushed(NamedTuple):
    target: str
    headers: dict[str, str]
    """By the names as they came."""
    body: bytes

    @property
    def lowered(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}


class Endpoint:
    """An HTTP server that answers as told, the last answer for ever; "" closes the connection without one."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.pushed: list[Pushed] = []
        self.connections = 0
        self.url = ""
        self._changed = anyio.Event()

    async def wait(self, count: int) -> list[Pushed]:
        with anyio.fail_after(5):
            while len(self.pushed) < count:
                await self._changed.wait()
        return self.pushed

    async def serve(self, stream: SocketStream) -> None:
        self.connections += 1
        received = b""
        async with stream:
            while True:
                try:
                    received += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                head, found, rest = received.partition(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines[1:])
                lengths = [int(value) for name, value in headers.items() if name.lower() == "content-length"]
                if not found or len(rest) < lengths[0]:
                    continue
                received = b""
                self.pushed.append(Pushed(lines[0], headers, rest))
                self._changed.set()
                self._changed = anyio.Event()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    return
                await stream.send(f"HTTP/1.1 {answer}\r\n\r\n".encode())


@asynccontextmanager
async def endpoint(*answers: str, path: str = "/notifications") -> AsyncGenerator[Endpoint]:
    made = Endpoint(answers or ["204 No Content"])
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        port = listener.extra(SocketAttribute.local_port)
        made.url = f"http://127.0.0.1:{port}{path}"
        tasks.start_soon(listener.serve, made.serve)
        yield made
        tasks.cancel_scope.cancel()
