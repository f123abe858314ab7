"""A web server on loopback that answers as a coroutine says; and a webhook's destination, which can be told to fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(answer: Answer, *, port: int = 0, path: str = "/{path:.*}", **options: Any) -> AsyncGenerator[str]:
    """Answer requests for a path, or all, until the block ends; yield `http://127.0.0.1:PORT`.

    `options` are those of the runner.
    """
    application = web.Application()
    application.router.add_route("*", path, answer)
    runner = web.AppRunner(application, **options)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Hook:
    """Answers with `status`; keeps the events that were sent, and the env_ids and webhook-ids of those that it took."""

    def __init__(self) -> None:
        self.status = 204
        self.sent: list[dict[str, str]] = []
        self.got: list[str] = []
        self.ids: list[str] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        event = await request.json()
        self.sent.append(event)
        if self.status == 204:
            self.got.append(event["env_id"])
            self.ids.append(request.headers["webhook-id"])
        return web.Response(status=self.status)


@asynccontextmanager
async def hook() -> AsyncGenerator[Hook]:
    made = Hook()
    async with answering(made.take) as made.url:
        yield made
