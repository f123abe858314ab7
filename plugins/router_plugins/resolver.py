"""aiohttp clients that look names up in threads of their own (`Names`): one for each destination."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
import aiohttp.abc

from router import Names


class Resolver(aiohttp.abc.AbstractResolver):
    """The resolver of one client, which keeps nothing of it itself."""

    def __init__(self) -> None:
        self._names = Names()

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


def connector(**options: Any) -> aiohttp.TCPConnector:
    """Return a connector of an aiohttp client for one destination."""
    return aiohttp.TCPConnector(resolver=Resolver(), use_dns_cache=False, **options)


def _numeric(address: Any) -> str:
    """Return an address as text, with its zone where it needs one (fe80::1%eth0)."""
    if len(address) > 2 and address[3]:  # noqa: PLR2004 - host, port, flow, zone
        return socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    return str(address[0])
