"""aiohttp clients that look names up in threads of their own (`Names`): one for each destination."""

from __future__ import annotations

import socket
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import aiohttp.abc

from router import Names

MAX_AGE = 60.0
"""Seconds after which a connection is not used for another request."""


class Resolver(aiohttp.abc.AbstractResolver):
    """The resolver of one client, which keeps nothing of it itself."""

    def __init__(self, fresh: float) -> None:
        self._names = Names(fresh)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Return the addresses of a name."""
        found = await self._names.look_up(host, port, family)
        return [
            {
                "hostname": host,
                "host": _numeric(address),
                "port": address[1],
                "family": kind,
                "proto": proto,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Leave what is under way alone."""


class Connector(aiohttp.TCPConnector):
    """The connections of a client to one destination.

    One that is `max_age` seconds old is not used for another request, and names are looked up again.
    """

    def __init__(self, max_age: float = MAX_AGE, **options: Any) -> None:
        resolver = Resolver(max_age)
        super().__init__(resolver=resolver, use_dns_cache=False, **options)  # pyright: ignore[reportUnknownMemberType]
        self._max_age = max_age
        self._born: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        """Close one that is too old; it is as old as its first answer."""
        age = monotonic() - self._born.setdefault(protocol, monotonic())
        super()._release(key, protocol, should_close=should_close or age > self._max_age)


def _numeric(address: Any) -> str:
    """Return an address as text, with its zone where it needs one (fe80::1%eth0)."""
    if len(address) > 2 and address[3]:  # noqa: PLR2004 - host, port, flow, zone
        return socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    return str(address[0])
