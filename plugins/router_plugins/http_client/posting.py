"""POSTs to one URL, straight or through a proxy: what its users see of both clients."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from yarl import URL

from router_plugins.http_client.client import MAX_AGE, Client
from router_plugins.http_client.denial import Network
from router_plugins.http_client.dialling import Dialler
from router_plugins.http_client.parser import Answer, Limits
from router_plugins.http_client.proxied import Proxied
from router_plugins.http_client.request import Requests

Post = Callable[[bytes, bytes], Coroutine[Any, Any, Answer]]
"""Send further header lines, each with its CRLF, and a body; raises `NoAnswerError` or `TimeoutError`."""


@asynccontextmanager
async def posting(
    requests: Requests,
    patience: float,
    *,
    tls: ssl.SSLContext | None = None,
    proxy: URL | None = None,
    limits: Limits | None = None,
    wanted: frozenset[bytes] = frozenset(),
    denied: Sequence[Network] = (),
    max_age: float = MAX_AGE,
) -> AsyncGenerator[Post]:
    """Keep connections for as long as the block.

    `patience` is in seconds, from connecting to the end of the answer's head; answers have the `wanted` headers, named
    in lower case; `tls` is used for https, also through a `proxy`, which is an http URL. No address in a `denied`
    network is connected to; where there is a proxy, that is up to the proxy. A connection that is `max_age` seconds old
    is not used for another request, and names are looked up again.
    """
    bounds = limits or Limits()
    if proxy is not None:
        through = Proxied.opened(requests, proxy, patience, tls=tls, limits=bounds, wanted=wanted, max_age=max_age)
        async with through as proxied:
            yield proxied.post
        return
    dialler = Dialler(requests.url, tls, denied, max_age)
    async with Client.opened(dialler, patience, limits=bounds, wanted=wanted, max_age=max_age) as client:

        def post(lines: bytes, body: bytes) -> Coroutine[Any, Any, Answer]:
            return client.post(requests.render(lines, body))

        yield post
