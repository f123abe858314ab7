"""The webhooks of the demo: a destination that keeps what arrives, and one that is down for a while."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

Key = tuple[str, str]
"""What tells results apart: (env_id, rcpt)."""


class Receiver:
    """Counts what arrived, by path; `down` are the paths that answer 503."""

    def __init__(self) -> None:
        self.arrived: defaultdict[str, Counter[Key]] = defaultdict(Counter)
        self.down: set[str] = set()
        self.refused = 0

    async def take(self, request: web.Request) -> web.Response:
        """Answer one delivery."""
        name = request.path.strip("/")
        body = await request.read()
        if name in self.down:
            self.refused += 1
            return web.Response(status=503)
        fields = orjson.loads(body)
        self.arrived[name][fields["env_id"], fields["rcpt"]] += 1
        return web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncGenerator[tuple[str, Receiver]]:
    """Serve on a free loopback port until the block ends; yields the URL and what arrives."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{name:.*}", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=1.0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", receiver
    finally:
        await runner.cleanup()
