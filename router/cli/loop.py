"""The event loop of the daemon: uvloop, but what blocks (names, and what is called in threads) stands in nobody's way.

uvloop has four threads for all names, and waits for them when it ends: four names that no server answers for stop the
connections to all others, and the daemon from ending. As many calls that hang stop all that asyncio calls in threads.
The plugins here look names up and call by themselves (`Names`, `Threads`); this is for the libraries that they use, as
aiokafka, and for other plugins.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast

import aiohappyeyeballs

from router.names import Names
from router.threads import Threads

if TYPE_CHECKING or sys.platform == "win32":
    System = asyncio.SelectorEventLoop
else:
    from uvloop import Loop as System

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STAGGER = 0.25
"""Seconds until another address is tried beside one that does not answer (RFC 8305)."""

_connect = cast("Any", aiohappyeyeballs).start_connection  # its types are not complete


class Loop(System):
    """Make it with `anyio.run(..., backend_options={"loop_factory": Loop})`."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, Names] = defaultdict(Names)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call a function in a thread; without an executor, in one that a call which hangs takes from nobody."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        return self.create_task(Threads().run(partial(func, *args)))

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """Look a name up as asyncio's loops do; what is asked for otherwise than by TCP clients is left to uvloop."""
        plain = set(options) <= {"type", "family"} and options.get("type") == socket.SOCK_STREAM
        if not plain or not _is_name(host):
            return await super().getaddrinfo(host, port, **options)
        return await self._names[host].look_up(host, port, options.get("family", 0))

    async def create_connection(  # pyright: ignore[reportIncompatibleMethodOverride] - the rest is passed on
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Connect as asyncio's loops do."""
        if not _is_name(host) or options.get("local_addr") or options.get("flags"):
            return await super().create_connection(protocol_factory, host, port, **options)
        names = self._names[host]
        found = await names.look_up(host, port, options.pop("family", 0))
        try:
            options["sock"] = await _connect(found, happy_eyeballs_delay=STAGGER, loop=self)
        except OSError:
            names.doubt(host, port)
            raise
        if options.get("ssl"):
            options.setdefault("server_hostname", host)
        return await super().create_connection(protocol_factory, **options)


def _is_name(host: object) -> bool:
    """Say whether it is a name that must be looked up."""
    if not isinstance(host, str) or not host:
        return False
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False
