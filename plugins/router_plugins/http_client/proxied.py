"""The same POSTs through a forward proxy, by aiohttp's client: absolute targets for http, CONNECT for https.

The rules are those of `client`: no redirects, no cookies, no proxies but the one it is given, the same deadlines, a
body read no further than its limit, no answer that nobody asked for, and a request that met a closing connection sent
once more, over a fresh one. Three things differ, as aiohttp does not tell more:

* Of an answer's head each line has the limit, and there is one on their number; `client` has it on the whole.
* A request whose connection ended after some bytes of a head is sent once more as well.
* Garbage that comes with an answer, behind its end, makes it no usable answer.

The proxy resolves the destination's name. For https it sees host and port, and what goes through is between the two
ends; for http it sees and may change everything, and an answer of its own looks like the destination's. Only 407 is
certainly the proxy's.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from router_plugins.http_client import client
from router_plugins.http_client.connection import DRAIN
from router_plugins.http_client.errors import LostError, NoAnswerError, lost, no_connection
from router_plugins.http_client.parser import Answer, Limits
from router_plugins.http_client.request import Requests, basic
from router_plugins.resolver import Connector

_MAX_HEADERS = 128
_LARGE = 2**20
"""Bytes of a body above which aiohttp wants a file."""
_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that aiohttp would add where there are none; what is sent is up to the caller."""
_PROXY_AUTHORIZATION = "Proxy-Authorization"


class Proxied:
    """Posts to one URL through an http proxy; make it with `opened`, inside a running asyncio loop."""

    def __init__(
        self, kept: aiohttp.ClientSession, fresh: aiohttp.ClientSession, requests: Requests, proxy: URL,
        patience: float, limits: Limits, wanted: frozenset[bytes],
    ) -> None:  # fmt: skip
        self._kept = kept
        self._fresh = fresh
        self._headers: Mapping[str, str] = dict(requests.headers)
        self._patience = patience
        self._limits = limits
        self._wanted = {name.decode(): name for name in wanted}
        credentials = basic(proxy)
        to_proxy = {_PROXY_AUTHORIZATION: credentials} if credentials else {}
        tunnelled = requests.url.scheme == "https"
        if not tunnelled:
            self._headers = {**self._headers, **to_proxy}
        self._options: dict[str, Any] = {
            "url": requests.url.with_user(None).with_fragment(None),
            "proxy": proxy.with_user(None),
            "proxy_headers": to_proxy if tunnelled else None,
            "allow_redirects": False,
            "skip_auto_headers": _NOT_ADDED,
        }

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, requests: Requests, proxy: URL, patience: float, *,
        tls: ssl.SSLContext | None, limits: Limits, wanted: frozenset[bytes], max_age: float,
    ) -> AsyncGenerator[Proxied]:  # fmt: skip
        """Keep connections for as long as the block; `patience` and `wanted` are as for `Client`."""
        async with _session(tls, limits, max_age) as kept, _session(tls, limits, 0.0) as fresh:
            yield cls(kept, fresh, requests, proxy, patience, limits, wanted)

    async def post(self, lines: bytes, body: bytes) -> Answer:
        """Send a request with further header lines and return its answer; raises `NoAnswerError` or `TimeoutError`."""
        deadline = asyncio.get_running_loop().time() + self._patience
        used_before: list[bool] = []
        try:
            return await self._try(self._kept, lines, body, deadline, used_before)
        except LostError:
            if not used_before:
                raise
        return await self._try(self._fresh, lines, body, deadline, used_before)

    async def _try(
        self, session: aiohttp.ClientSession, lines: bytes, body: bytes, deadline: float, used_before: list[bool]
    ) -> Answer:
        headers = {**self._headers, **_parsed(lines)}
        try:
            async with asyncio.timeout_at(deadline):
                response = await session.post(
                    data=body if len(body) <= _LARGE else io.BytesIO(body),
                    headers=headers,
                    trace_request_ctx=used_before,
                    **self._options,
                )
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise TimeoutError from error
            raise _no_answer(error) from error
        try:
            answer = await self._answer(response, deadline)
        finally:
            response.close()  # unless its end was read, and its connection is free for another request
        if answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise NoAnswerError("the proxy wants other credentials (407)")
        if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
            raise NoAnswerError("no usable answer (101, and no other protocol was asked for)")
        return answer

    async def _answer(self, response: aiohttp.ClientResponse, deadline: float) -> Answer:
        """Read the rest of an answer whose status stands, whatever becomes of its body."""
        body, read = b"", 0
        until = min(deadline, asyncio.get_running_loop().time() + DRAIN)
        with suppress(aiohttp.ClientError, OSError):  # TimeoutError is one
            async with asyncio.timeout_at(until):
                async for part in response.content.iter_any():
                    read += len(part)
                    if len(body) < self._limits.kept:
                        body = (body + part)[: self._limits.kept]
                    if read > self._limits.whole:
                        break
        headers = {
            key: response.headers[name].encode("utf-8", "surrogateescape")
            for name, key in self._wanted.items()
            if name in response.headers
        }
        return Answer(response.status, headers, body)


class _Connector(Connector):
    """Keeps connections, and closes those on which something came while nothing was asked."""

    async def _get(self, key: Any, traces: Any) -> Any:
        """Return a kept connection; aiohttp would take what came on it for the answer to the next request."""
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


def _session(tls: ssl.SSLContext | None, limits: Limits, max_age: float) -> aiohttp.ClientSession:
    """Return a session that has no opinion of its own; without a `max_age` it makes a connection for each request."""
    reuse: dict[str, Any] = {"keepalive_timeout": client.IDLE} if max_age else {"force_close": True}
    connector = _Connector(max_age, limit=0, ssl=tls or True, **reuse)
    traced = aiohttp.TraceConfig()
    traced.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        max_line_size=limits.head,
        max_field_size=limits.head,
        max_headers=_MAX_HEADERS,
        trace_configs=[traced],
    )


async def _note_reuse(_session: Any, context: Any, _params: Any) -> None:
    """Note that a request goes over a connection that was used before."""
    context.trace_request_ctx.append(True)


def _parsed(lines: bytes) -> Mapping[str, str]:
    """Return header lines, each with its CRLF, by name."""
    pairs = (line.partition(": ") for line in lines.decode().split("\r\n") if line)
    return {name: value for name, _, value in pairs}


def _no_answer(error: Exception) -> NoAnswerError:
    """Say why there is no answer; the errors of aiohttp show URLs, which may have a token in them."""
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return _no_connection(error)
        case aiohttp.ClientHttpProxyError():
            return NoAnswerError(f"the proxy makes no connection (it answered {error.status})")
        case aiohttp.ClientResponseError():
            return NoAnswerError(f"no usable answer ({' '.join(error.message.split())[:200]})")
        case aiohttp.ServerDisconnectedError():
            return lost(None, began=False)
        case _:
            return lost(error, began=False)


def _no_connection(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError) -> NoAnswerError:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return NoAnswerError(
                f"its certificate is not trusted: {error.certificate_error} (its authority's file: set `ca`)"
            )
        case aiohttp.ClientProxyConnectionError():
            return NoAnswerError(f"the proxy: {no_connection(error.os_error)}")
        case _:
            return no_connection(error.os_error)
