"""The admin API: a small HTTP server on an address of its own.

    GET  /health                            204 while the process serves
    GET  /ready                             204 when all sources take messages and the journal can be written, else 503
    GET  /status                            `Status`
    GET  /metrics                           the same for Prometheus
    GET  /explain?key=&limit=               `Explanation`
    GET  /verify                            `Balance` each
    GET  /dead/DEPT/SUB?after=&limit=       a page of dead letters, `Letter` each; choose=: a `Choice` as JSON
    GET  /dead/DEPT/SUB/POSITION            `Letter`
    POST /dead/DEPT/SUB/replay, /discard    `Order`
    GET  /replays, /replays/DEPT/SUB        `ReplayReport` each
    POST /replays/DEPT/SUB                  `ReplayOrder`; answers a `ReplayReport`
    POST /replays/DEPT/SUB/stop, /resume    `ReplayChoice`
    POST /pause/DEPT/SUB, /resume/DEPT/SUB, /forget/DEPT/SUB
    POST /reload                            `ReloadOrder`

What cannot be done is answered 409 with one line of text, what is not understood 400, and what is not there 404, with
the nearest that is; `router.admin.guard` says who may ask what.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from router.admin.controls import (
    Choice,
    Controls,
    Done,
    Order,
    ReloadOrder,
    ReplayChoice,
    ReplayOrder,
    letter_of,
)
from router.admin.guard import is_stranger, refusal
from router.admin.metrics import exposition
from router.admin.questions import OF_CONFIG, Unclear, astray, decoded, number
from router.config.problem import BadConfig
from router.errors import ConfigError, RouterError
from router.journal import State

PAGE = 100
"""Dead letters in one answer, unless asked for others."""
MOST = 1000
LINE = 64 * 1024
"""Bytes of a path with its query at most: that of a choice may be long."""
EXPLAINED = 20
"""Events that are explained, unless asked for others."""

log = structlog.get_logger("admin")

T = TypeVar("T")
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def admin(listen: str, token: str | None, controls: Controls) -> AsyncGenerator[str]:
    """Serve on `listen` (`HOST:PORT`) until the block ends, guarded by the token if there is one.

    Yields where it listens, with the port that it has where 0 was asked for. Raises `ConfigError` if the address cannot
    be had.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    app = web.Application(
        middlewares=[web.middleware(partial(_guard, token)), web.middleware(partial(_answer_errors, controls))]
    )
    app.add_routes(_Api(controls).routes())
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0, max_line_size=LINE)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, int(port)).start()
        except OSError as error:
            raise ConfigError(
                "admin.listen", f"cannot listen on {listen}: {error.strerror}", "name a free port"
            ) from error
        if port == "0":
            listen = f"{listen.removesuffix(':0')}:{runner.addresses[0][1]}"
        log.info("admin API listening", address=listen)
        yield listen
    finally:
        await runner.cleanup()


async def _guard(token: str | None, request: web.Request, handler: Answering) -> web.StreamResponse:
    return refusal(request, token) or await handler(request)


async def _answer_errors(controls: Controls, request: web.Request, handler: Answering) -> web.StreamResponse:
    try:
        return await handler(request)
    except Unclear as error:
        return web.Response(status=400, text=str(error))
    except RouterError as error:
        headers = {OF_CONFIG: "yes"} if isinstance(error, BadConfig) else None
        return web.Response(status=409, text=str(error), headers=headers)
    except web.HTTPNotFound:
        return web.Response(status=404, text=astray(request.path, controls.status().subscriptions))
    except web.HTTPMethodNotAllowed as error:
        wanted = ", ".join(sorted(error.allowed_methods))
        return web.Response(status=405, text=f"{request.path} takes {wanted}", headers={"Allow": wanted})


class _Api:
    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._metrics_of = exposition(controls.status)

    def routes(self) -> list[web.RouteDef]:
        name = "{department}/{subscription}"
        return [
            web.get("/health", self._health),
            web.get("/ready", self._ready),
            web.get("/status", self._status),
            web.get("/metrics", self._metrics),
            web.get("/explain", self._explain),
            web.get("/verify", self._verify),
            web.get(f"/dead/{name}", self._dead),
            web.get(f"/dead/{name}/{{position:[0-9]+}}", self._dead_letter),
            web.post(f"/dead/{name}/replay", self._replay),
            web.post(f"/dead/{name}/discard", self._discard),
            web.get("/replays", self._replays_of_all),
            web.get(f"/replays/{name}", self._replays),
            web.post(f"/replays/{name}", self._begin_replay),
            web.post(f"/replays/{name}/stop", self._stop_replay),
            web.post(f"/replays/{name}/resume", self._resume_replay),
            web.post(f"/pause/{name}", self._pause),
            web.post(f"/resume/{name}", self._resume),
            web.post(f"/forget/{name}", self._forget),
            web.post("/reload", self._reload),
        ]

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(status=204 if self._controls.status().ready else 503)

    async def _status(self, request: web.Request) -> web.Response:
        status = self._controls.status()
        return _json(status.without_texts() if is_stranger(request) else status)

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics_of(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _dead(self, request: web.Request) -> web.Response:
        after, limit = number(request.query, "after", 0), min(number(request.query, "limit", PAGE), MOST)
        choice = decoded(request.query.get("choose", "{}"), Choice, "choose")
        letters = await self._controls.letters.choose(_name(request), choice, after, limit)
        return _json([letter_of(letter) for letter in letters])

    async def _dead_letter(self, request: web.Request) -> web.Response:
        position = number(request.match_info, "position", 0)
        choice = Choice(positions=frozenset((position,)))
        letters = await self._controls.letters.choose(_name(request), choice, position - 1, 1)
        if not letters:
            raise RouterError(f"{_name(request)} has no dead letter at position {position}")
        return _json(letter_of(letters[0]))

    async def _explain(self, request: web.Request) -> web.Response:
        limit = min(number(request.query, "limit", EXPLAINED), MOST)
        return _json(await self._controls.explain(request.query.get("key", ""), limit))

    async def _verify(self, _: web.Request) -> web.Response:
        return _json(await self._controls.verify())

    async def _replay(self, request: web.Request) -> web.Response:
        order = await _order(request, Order)
        count = await self._controls.letters.replay(_name(request), order.choice, order.per_second)
        return _json(Done(f"{count} dead letters are due again, {order.per_second:g} a second", count))

    async def _discard(self, request: web.Request) -> web.Response:
        count = await self._controls.letters.discard(_name(request), (await _order(request, Order)).choice)
        return _json(Done(f"{count} dead letters discarded", count))

    async def _replays_of_all(self, _: web.Request) -> web.Response:
        return _json(self._controls.replays.known())

    async def _replays(self, request: web.Request) -> web.Response:
        return _json(self._controls.replays.known(_name(request)))

    async def _begin_replay(self, request: web.Request) -> web.Response:
        return _json(await self._controls.replays.begin(_name(request), await _order(request, ReplayOrder)))

    async def _stop_replay(self, request: web.Request) -> web.Response:
        which = await _order(request, ReplayChoice)
        return _json(await self._controls.replays.stop(_name(request), which.number))

    async def _resume_replay(self, request: web.Request) -> web.Response:
        which = await _order(request, ReplayChoice)
        return _json(await self._controls.replays.resume(_name(request), which.number, which.per_second))

    async def _pause(self, request: web.Request) -> web.Response:
        return await self._turn(_name(request), "paused", "is paused")

    async def _resume(self, request: web.Request) -> web.Response:
        return await self._turn(_name(request), "active", "delivers")

    async def _turn(self, name: str, state: State, said: str) -> web.Response:
        waits = self._controls.turn(name, state)
        await self._controls.kept(f"{name} {said}")
        return _json(Done(f"{name} {said}" + (f"; {waits}" if waits and state == "active" else "")))

    async def _forget(self, request: web.Request) -> web.Response:
        return _json(Done(await self._controls.forget(_name(request))))

    async def _reload(self, request: web.Request) -> web.Response:
        order = await _order(request, ReloadOrder)
        said = await self._controls.reload_file(drop=order.drop, drain=order.drain, only_plan=order.plan)
        return _json(Done(said))


def _name(request: web.Request) -> str:
    return f"{request.match_info['department']}/{request.match_info['subscription']}"


async def _order(request: web.Request, kind: type[T]) -> T:
    return decoded(await request.read() or b"{}", kind, "the order")


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
