"""The MNS API's requests and replies: what was asked, and how it is answered (PROTOCOL 1)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

import msgspec
from aiohttp import web

from router_plugins.emulator import xml
from router_plugins.emulator.credentials import AccessKey, check_signature
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.limits import whole_number
from router_plugins.emulator.queued import Clock
from router_plugins.mns.signing import body_matches, signed_date

VERSION = "2015-06-06"

_WINDOW = 900.0
"""Seconds that a request's date may be off (PROTOCOL 1.2)."""


class Call(msgspec.Struct, frozen=True):
    """A request that passed the checks: its query with lower-cased keys, its lower-cased headers, its body."""

    method: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    url: str

    def number(self, name: str, default: int | None, low: int, high: int) -> int:
        """Return a number from the query; raise `InvalidQueryString` unless it lies between `low` and `high`."""
        text = self.query.get(name)
        if text is None and default is not None:
            return default
        return whole_number(text or "", name, low, high, in_query=True)


async def checked(request: web.Request, keys: Mapping[str, AccessKey], clock: Clock) -> Call:
    """Return the call, or raise what is wrong with its headers or its signature.

    The signature covers the target as it stands on the request line.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    if "x-mns-version" not in headers:
        raise ServiceError("MissingVersionHeader")
    date = _date(headers)
    target = request.raw_path
    check_signature(request.method, target, headers, keys, date)
    if abs(date.timestamp() - clock()) > _WINDOW:
        raise ServiceError("TimeExpired")
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise ServiceError("InvalidArgument", "The request body is too large.") from error
    if (claim := headers.get("content-md5")) is not None and not body_matches(claim, body):
        raise ServiceError("InvalidDigest")
    return Call(request.method, dict(request.match_info), query_of(target), headers, body, f"http://{request.host}")


def query_of(target: str) -> dict[str, str]:
    """Return the query by lower-cased keys. A `+` stays a plus: clients put handles in verbatim (PROTOCOL 1.3)."""
    pairs = (pair.partition("=") for pair in target.partition("?")[2].split("&") if pair)
    return {unquote(key).lower(): unquote(value) for key, _, value in pairs}


def reply(
    status: int, name: str, children: Iterable[xml.Node], headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with one XML document."""
    return web.Response(status=status, body=xml.document(name, children), headers=headers)


def empty(headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer 204."""
    return web.Response(status=204, headers=headers)


def created(new: bool, location: str) -> web.Response:  # noqa: FBT001 - the one thing it is about
    """Answer a creation: 201, or 204 when it was there already and is the same; both say where (PROTOCOL 1.6)."""
    return web.Response(status=201 if new else 204, headers={"Location": location})


def refusal(error: ServiceError, request_id: str, host: str) -> web.Response:
    """Answer with the documented error body (PROTOCOL 1.8)."""
    fields = {"Code": error.code, "Message": error.message, "RequestId": request_id, "HostId": host}
    return reply(error.status, "Error", xml.leaves(fields))


def dress(response: web.StreamResponse, request_id: str, skew: float, now: float) -> None:
    """Put the headers on that every reply of the service has (PROTOCOL 1.5); a skewed clock shows in `Date`."""
    response.headers["Server"] = "AliyunMQS"
    response.headers["Content-Type"] = "text/xml;charset=utf-8"
    response.headers["x-mns-version"] = VERSION
    response.headers["x-mns-request-id"] = request_id
    response.headers["x-mns-response-format"] = "xml"
    if skew:
        response.headers["Date"] = f"{datetime.fromtimestamp(now, UTC):%a, %d %b %Y %H:%M:%S} GMT"


def new_request_id() -> str:
    """Return 24 hex digits."""
    return secrets.token_hex(12).upper()


def _date(headers: Mapping[str, str]) -> datetime:
    """Return the signed date in UTC."""
    text = signed_date(headers)
    if not text:
        raise ServiceError("MissingDateHeader")
    try:
        date = parsedate_to_datetime(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ServiceError("InvalidDateHeader") from error
