"""Looks up host names, each destination in threads of its own: a name that no server answers for holds up nobody else.

The loop has a few threads for all names (uvloop: four), and waits for them when it ends. `getaddrinfo` cannot be
cancelled: who no longer waits leaves it alone, and who comes next waits for the same one, or has what came of it.

What is found is used for ten seconds. While a name cannot be looked up for the moment, or not in time, the addresses
that it had last are used (RFC 8767): an outage of the name servers is none of the destinations.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

import anyio

from router.threads import Threads

FRESH = 10.0
"""Seconds that the addresses of a name are used."""
PATIENCE = 2.0
"""Seconds that a name is waited for that had addresses before."""
LONGEST = 60.0
"""Seconds after which a name that is still being looked up is looked up once more."""
AT_ONCE = 4
"""Names of one destination that are looked up at once."""

Addresses: TypeAlias = Sequence[Any]
"""As `socket.getaddrinfo` gives them."""
_Name: TypeAlias = tuple[str, int, int]
"""Host, port and family."""


class Names:
    """What is known of the names of one destination; make it inside a running loop."""

    def __init__(self, fresh: float = math.inf) -> None:
        """Use what was found for so many seconds, `FRESH` at most."""
        self._fresh = min(fresh, FRESH)
        self._threads = Threads(AT_ONCE)
        self._under_way: dict[_Name, tuple[Callable[[], Coroutine[Any, Any, Addresses]], float]] = {}
        """What gives the addresses when they are found, and when it was begun, on the monotonic clock."""
        self._found: dict[_Name, tuple[Addresses, float]] = {}
        """Until when the addresses are used."""

    async def look_up(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Addresses:
        """Return the addresses of a name, or of what is an address already; raises `OSError`."""
        name = (host, port, family)
        last, fresh_until = self._found.get(name, ((), 0.0))
        if time.monotonic() < fresh_until:
            return last
        try:
            with anyio.fail_after(PATIENCE if last else None):
                last = await self._ask(name)
        except TimeoutError:
            pass
        except socket.gaierror as error:
            if not last or error.errno != socket.EAI_AGAIN:
                raise
        self._found[name] = last, time.monotonic() + self._fresh
        return last

    async def _ask(self, name: _Name) -> Addresses:
        """Wait for what looks it up now, or begin it; one that was begun long ago is left alone."""
        now = time.monotonic()
        under_way = self._under_way.get(name)
        if under_way is None or now - under_way[1] > LONGEST:
            under_way = self._under_way[name] = self._threads.begin(partial(_look_up, *name)).result, now
        try:
            found = await under_way[0]()
        except OSError:
            self._forget(name, under_way)
            raise
        self._forget(name, under_way)
        return found

    def _forget(self, name: _Name, under_way: object) -> None:
        if self._under_way.get(name) is under_way:
            del self._under_way[name]

    def doubt(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> None:
        """Look a name up again before it is used: none of its addresses took a connection."""
        last, _ = self._found.get((host, port, family), ((), 0.0))
        self._found[host, port, family] = last, 0.0


def _look_up(host: str, port: int, family: int) -> Addresses:
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
