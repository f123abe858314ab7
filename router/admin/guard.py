"""Who may ask what over the admin API.

Health and figures are for everyone who can connect, but without what destinations and sources said, which may name
people. Whatever changes something, or shows mails or such texts, wants the token where the config has one; without one
it must come to a loopback address from a client that names it so. Orders must be JSON, which no form of a web page
elsewhere can send through a browser here; and a name that somebody made to point here (DNS rebinding) shows in `Host`.
"""

from __future__ import annotations

from hmac import compare_digest
from ipaddress import ip_address

from aiohttp import web

OPEN = frozenset({"/health", "/ready", "/status", "/metrics"})
"""Paths that anyone may read."""
_STRANGER = "stranger"
"""What a request is marked with that anyone could make."""


def refusal(request: web.Request, token: str | None) -> web.Response | None:
    """Return the answer to a request that is not allowed; None if it is."""
    stranger = _unknown(request, token)
    if request.method in {"GET", "HEAD"} and request.path in OPEN:
        request[_STRANGER] = stranger is not None
        return None
    if stranger is not None:
        return stranger
    if request.method != "GET" and request.content_type != "application/json":
        return web.Response(status=403, text="orders are taken only as JSON")
    return None


def is_stranger(request: web.Request) -> bool:
    """Say whether a request that was let through is one that anyone could make."""
    return bool(request.get(_STRANGER))


def _unknown(request: web.Request, token: str | None) -> web.Response | None:
    """Return the answer to one who is neither the operator nor on this machine; None if it is."""
    if token is not None:
        if not _has(request, token):
            text = "the token of `admin: token:` is wanted, as `Authorization: Bearer ...`"
            return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})
    elif not _is_loopback(request):
        return web.Response(status=403, text="without a token this is answered only on a loopback address")
    return None


def _has(request: web.Request, token: str) -> bool:
    scheme, _, said = request.headers.get("Authorization", "").partition(" ")
    same = compare_digest(said.strip().encode("utf-8", "surrogateescape"), token.encode())
    return scheme.lower() == "bearer" and same


def _is_loopback(request: web.Request) -> bool:
    """Say whether the request came to a loopback address, and was meant to."""
    host = request.url.host or ""
    here: tuple[str, int] = request.transport.get_extra_info("sockname") if request.transport else ("", 0)
    try:
        return ip_address(here[0]).is_loopback and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False
