"""New connections to one origin: names, addresses, TLS.

A name is looked up again when its addresses are ten seconds old or none of them took a connection (`names`). Several
are tried side by side, a quarter of a second apart (RFC 8305, by aiohappyeyeballs, as aiohttp does): uvloop would wait
for each in turn. Addresses in a denied network are left out after the name was looked up, and connected to is what was
looked at: so no name leads there, whoever answers for it. Where a connection has come to is looked at once more, before
anything is sent: what a system takes an address for is its own affair.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

import aiohappyeyeballs
from yarl import URL

from router import Names
from router_plugins.http_client.connection import Connection
from router_plugins.http_client.denial import Network, denies
from router_plugins.http_client.errors import DeniedError

STAGGER = 0.25
"""Seconds until another address is tried beside one that does not answer."""
FAREWELL = 1.0
"""Seconds that a TLS connection takes to close in an orderly way, at most."""

_connect = cast("Any", aiohappyeyeballs).start_connection  # its types are not complete


class Dialler:
    """Connects to the host and port of a URL, but to no address in a `denied` network; `tls` is used for https.

    What a name leads to is used for so many seconds (`fresh`), or less.
    """

    def __init__(
        self, url: URL, tls: ssl.SSLContext | None, denied: Sequence[Network] = (), fresh: float = math.inf
    ) -> None:
        assert url.raw_host is not None
        assert url.port is not None
        self._host = url.raw_host
        self._port = url.port
        self._tls = tls if url.scheme == "https" else None
        self._denied = denied
        self._names = Names(fresh)

    async def dial(self, factory: Callable[[], Connection]) -> Connection:
        """Open a connection; raises `OSError` (`ssl.SSLError` and `socket.gaierror` are such)."""
        loop = asyncio.get_running_loop()
        addresses = await self._look_up()
        try:
            sock = await _connect(addresses, happy_eyeballs_delay=STAGGER, loop=loop)
        except OSError:
            self._names.doubt(self._host, self._port)
            raise
        self._check_peer(sock)
        if self._tls is None:
            return (await loop.create_connection(factory, sock=sock))[1]
        _, connection = await loop.create_connection(
            factory,
            sock=sock,
            ssl=self._tls,
            server_hostname=self._host.rstrip("."),  # certificates name hosts without the dot
            ssl_shutdown_timeout=FAREWELL,
        )
        return connection

    async def _look_up(self) -> Sequence[Any]:
        """Return the addresses that may be connected to."""
        found = await self._names.look_up(self._host, self._port)
        allowed = [one for one in found if not denies(self._denied, one[4][0])]
        if found and not allowed:
            raise DeniedError(f"{found[0][4][0]} is in a network that is denied")
        return allowed

    def _check_peer(self, sock: socket.socket) -> None:
        """Close a connection that has come to a denied address."""
        try:
            peer = sock.getpeername()[0]
        except OSError:  # it has ended by now
            sock.close()
            raise
        if denies(self._denied, peer):
            sock.close()
            raise DeniedError(f"{peer} is in a network that is denied")
