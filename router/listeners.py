"""Listening sockets that outlive the sources and fronts that accept from them.

The daemon keeps them open: what waits in the queue of a front that died, or of a source that is exchanged, is still
there for its successor. None is closed while its address is served, since Linux resets what waits in its queue, or
comes in that moment: when there are to be fewer fronts, all of them accept from the sockets of those that are gone.

Each front has its own, all at one address (SO_REUSEPORT), and the system spreads connections over them evenly. One
socket for all would be taken from by whoever wakes first: of 64 connections to four fronts it gave 1, 12, 23 and 28,
and once none to one of them; sockets of their own gave 12 to 20. Where SO_REUSEPORT does not spread connections
(everywhere but on Linux), there is one socket for all. A source that runs in the daemon is as a single front.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import cast

from router.errors import RouterError

BACKLOG = 1024
SPREADS = sys.platform == "linux"
PATIENCE = 2.0
"""Seconds to wait for an address that is in use: the fronts of a daemon that was killed just now are ending."""


def parted(address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, without the brackets of IPv6; raises ValueError."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def clash(one: str, other: str) -> bool:
    """Say whether two addresses, each HOST:PORT, cannot be listened at both; port 0 is any free one.

    `[::]` takes IPv4 as well, but not where there is `0.0.0.0`, too.
    """
    try:
        (host, port), (other_host, other_port) = parted(one), parted(other)
    except ValueError:
        return False
    if port != other_port or port == 0:
        return False
    hosts = {_ip(host), _ip(other_host)}
    if hosts == {IPv4Address(0), IPv6Address(0)}:
        return False
    if len(hosts) == 1 or hosts & {IPv6Address(0), "", "*"}:
        return True
    return IPv4Address(0) in hosts and not any(isinstance(each, IPv6Address) for each in hosts)


def _ip(host: str) -> IPv4Address | IPv6Address | str:
    try:
        found = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return host.lower()
    return getattr(found, "ipv4_mapped", None) or found


def addresses(listen: object) -> Sequence[str]:
    """Return the addresses of an option that is one or several; none where it is neither."""
    if isinstance(listen, str):
        return (listen,) if listen else ()
    return tuple(map(str, cast("Sequence[object]", listen))) if isinstance(listen, tuple | list) else ()


def single_family(address: str, all_of_them: Iterable[str]) -> bool:
    """Say whether IPv4 at this address of IPv6 is for another listener: there is `0.0.0.0`, at the same port."""
    host, port = parted(address)
    others = [parted(other) for other in all_of_them if other != address]
    return _ip(host) != IPv6Address(0) or any(port and port == p and _ip(h) == IPv4Address(0) for h, p in others)


class Listeners:
    """The sockets at all addresses of one source, as those of one `Listener` at each."""

    def __init__(self, each: Sequence[Listener]) -> None:
        self.each = each

    def sockets(self, number: int, count: int) -> list[socket.socket]:
        """Return what a front of so many accepts from; blocks, and raises `RouterError`."""
        return [one for listener in self.each for one in listener.sockets(number, count)]

    def drop(self, number: int) -> None:
        """Close the sockets of a front that does not run."""
        for listener in self.each:
            listener.drop(number)

    def close(self) -> None:
        """Close them all."""
        for listener in self.each:
            listener.close()


class Listener:
    """The sockets at one address, HOST:PORT; a host's name may stand for several addresses, port 0 is any free one.

    `ours` are ports at which this process listens at other addresses, which cannot be told from those of others.
    `alone`: one of IPv6 takes no IPv4; so it is at each but `[::]`.
    """

    def __init__(self, address: str, ours: Collection[int] = (), *, alone: bool = True) -> None:
        self.address = address
        self.alone = alone
        self._ours = ours
        self._host, self._port = parted(address)
        self._sockets: dict[int, list[socket.socket]] = {}
        self._count = 0

    @property
    def port(self) -> int:
        """The port; 0 for any that is free, until it is open."""
        return self._port

    def sockets(self, number: int, count: int) -> list[socket.socket]:
        """Return what a front of so many accepts from, its own and those that are left over from when there were more.

        Opens its own where they are not open; blocks, and raises `RouterError`.
        """
        self._count = count
        place = number if SPREADS else 0
        if place not in self._sockets:
            try:
                self._sockets[place] = self._open(first=not self._sockets)
            except OSError as error:
                raise RouterError(f"cannot listen at {self.address}: {error.strerror or error}") from error
        left_over = [one for other, some in self._sockets.items() if other > count for one in some]
        return self._sockets[place] + left_over

    def drop(self, number: int) -> None:
        """Close the sockets of a front that does not run: else they are given connections that nobody accepts.

        With the last front's go those that are left over.
        """
        for one in self._sockets.pop(number, ()) if SPREADS else ():
            one.close()
        if not any(place <= self._count for place in self._sockets):
            self.close()

    def close(self) -> None:
        """Close them all."""
        while self._sockets:
            for one in self._sockets.popitem()[1]:
                one.close()

    def _open(self, *, first: bool) -> list[socket.socket]:
        """Bind and listen; the first one makes sure that no other program does so at this address."""
        opened: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, host in dict.fromkeys((family, where[0]) for family, *_, where in found):
                if first and SPREADS and self._port and self._port not in self._ours:
                    _bound(family, host, self._port, shared=False, alone=self.alone).close()
                one = _bound(family, host, self._port, shared=SPREADS, alone=self.alone)
                opened.append(one)
                one.listen(BACKLOG)
                self._port = one.getsockname()[1]
        except BaseException:
            for one in opened:
                one.close()
            raise
        return opened


def _bound(family: int, host: str | int, port: int, *, shared: bool, alone: bool) -> socket.socket:
    """Return a socket bound to the address, waiting a little for one that is in use."""
    deadline = time.monotonic() + PATIENCE
    while True:
        one = socket.socket(family, socket.SOCK_STREAM)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(alone))
            one.bind((host, port))
        except OSError as error:
            one.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return one
