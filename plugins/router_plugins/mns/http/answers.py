"""Answers as bytes, rendered once for all requests that get the same."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from time import time
from typing import NamedTuple

from router_plugins.mns.http.codings import OFFERED

_BLANK = b"\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Answer(NamedTuple):
    """One answer in its two forms: the connection stays open after it, or it is the last one.

    `reason`: why something is refused, for the log; empty where nothing is.
    """

    status: int
    keep: bytes
    close: bytes
    reason: str = ""


def accepted() -> Answer:
    """Render `204 No Content`: a push answered with a 3xx would be lost, so it is exactly this (PROTOCOL 2.6)."""
    return _accepted_in(int(time()))


@lru_cache(1)
def _accepted_in(second: int) -> Answer:  # noqa: ARG001 - it is the key
    return _render(HTTPStatus.NO_CONTENT, "", b"")


def refusal(status: HTTPStatus, reason: str, *, retry_after: float | None = None, allow: str = "") -> Answer:
    """Render a refusal with a one-line reason as its body.

    `retry_after` is in seconds, rounded up to whole ones and at least 1; `allow` lists the methods of a 405.
    """
    body = " ".join(reason.split()).encode() + b"\n"
    fields = f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    if retry_after is not None:
        fields += f"Retry-After: {max(1, ceil(retry_after))}\r\n"
    if status is HTTPStatus.UNSUPPORTED_MEDIA_TYPE:  # RFC 9110, 15.5.16
        fields += f"Accept-Encoding: {OFFERED}\r\n"
    if allow:
        fields += f"Allow: {allow}\r\n"
    return _render(status, fields, body)._replace(reason=reason)


def health(*, well: bool) -> Answer:
    """Render the answer to a check of health: 200, or 503 while nothing can be taken. It is no refusal."""
    status, body = (HTTPStatus.OK, b"ok\n") if well else (HTTPStatus.SERVICE_UNAVAILABLE, b"nothing can be stored\n")
    fields = f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
    return _render(status, fields, body)


def without_content(written: bytes) -> bytes:
    """Return what is written of an answer to HEAD: all but its body, whose length is still told (RFC 9110, 9.3.2)."""
    return written[: written.index(_BLANK) + len(_BLANK)]


def _render(status: HTTPStatus, fields: str, body: bytes) -> Answer:
    """Write the answer out; RFC 9110, 6.6.1 wants a Date from every server with a clock."""
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {formatdate(usegmt=True)}\r\n{fields}".encode()
    return Answer(status.value, head + b"\r\n" + body, head + b"Connection: close\r\n\r\n" + body)
