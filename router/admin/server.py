"""The admin API: a small HTTP server on a loopback address of its own.

GET /health   204 while the process serves
GET /ready    204 when every source takes messages and the journal can be written, else 503
GET /status   `Status` as JSON
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import msgspec
import structlog
from aiohttp import web

from router.admin.status import Status
from router.errors import ConfigError

log = structlog.get_logger("admin")


@asynccontextmanager
async def admin(listen: str, status: Callable[[], Status]) -> AsyncGenerator[None]:
    """Serve on `listen` (`HOST:PORT`) until the block ends; raises `ConfigError` if the address cannot be had."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(status=204)

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=204 if status().ready else 503)

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(status()), content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/health", health), web.get("/ready", ready), web.get("/status", show)])
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        host, _, port = listen.rpartition(":")
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port), shutdown_timeout=1.0).start()
        except OSError as error:
            raise ConfigError(
                "admin.listen", f"cannot listen on {listen}: {error.strerror}", "name a free port"
            ) from error
        log.info("admin API listening", address=listen)
        yield
    finally:
        await runner.cleanup()
