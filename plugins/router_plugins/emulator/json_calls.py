"""Requests and replies of the emulator's own JSON API: who may call, what was asked, and how mistakes are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import msgspec
from aiohttp import web
from yarl import URL

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.limits import whole_number
from router_plugins.emulator.push_request import is_loopback

T = TypeVar("T")
Answering: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MOST_SHOWN = 10_000

_encode = msgspec.json.Encoder().encode


def guarded(answer: Answering) -> Answering:
    """Refuse what a web page elsewhere could send through a browser here, and write errors as JSON.

    A name that was made to point at this machine shows in `Host`; a form cannot send JSON.
    """

    async def answered(request: web.Request) -> web.StreamResponse:
        if not is_loopback(URL(f"http://{request.host}")):
            return json_reply({"code": "AccessDenied", "message": f"{request.host} is not this machine."}, 403)
        if request.method in {"POST", "PUT"} and request.content_type != "application/json":
            return json_reply({"code": "InvalidArgument", "message": "Send JSON with its content type."}, 415)
        try:
            return await answer(request)
        except ServiceError as error:
            return json_reply({"code": error.code, "message": error.message}, error.status)

    return answered


async def order_of(request: web.Request, kind: type[T]) -> T:
    """Return what the request asks for; raises `InvalidArgument` with the place of a mistake."""
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except web.HTTPRequestEntityTooLarge as error:
        raise ServiceError("InvalidArgument", "The request body is too large.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServiceError("InvalidArgument", f"{error}.") from error


def limit_of(request: web.Request, default: int = 16) -> int:
    """Return how many entries the query's `limit` asks for."""
    return whole_number(request.query.get("limit", str(default)), "limit", 1, _MOST_SHOWN)


def json_reply(value: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=_encode(value), status=status, content_type="application/json")
