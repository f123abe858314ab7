"""Who may connect to a listener at all: how many, how many of one address, and whose address is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import structlog
from msgspec.structs import replace

from router_plugins.descriptors import for_listeners
from router_plugins.mns.http.limits import Limits

if TYPE_CHECKING:
    from router_plugins.mns.http.connection import Connection

TURNED_AWAY = 64
"""Connections over the limit that are told so; those beyond are cut off without a word."""
LEAST = 16
"""Connections that a listener has room for, however few descriptors there are."""

Tell = Callable[..., None]
"""Is told of each refusal: its kind, and of the `request`, `peer` and `reason` by name what is known."""

log = structlog.get_logger(__name__)


def plain_address(peer: str) -> str:
    """Return an address as it is shown and counted: one of IPv4 that came over an IPv6 socket is the IPv4 one."""
    return peer.removeprefix("::ffff:") if "." in peer else peer


def only_count(count: Callable[[str], None], kind: str, **_details: object) -> None:
    """Be told of a refusal, and count it."""
    count(kind)


class Door(Protocol):
    """Says who may connect, by the address of the socket's other end."""

    def turns_away(self, peer: str) -> bool:
        """Say whether nothing can be taken of it."""
        ...

    def is_proxy(self, peer: str) -> bool:
        """Say whether it may have any number of connections, since it speaks for others."""
        ...


class Entrance:
    """Counts connections by address; `most` of one may come, or any number for 0."""

    def __init__(self, most: int, door: Door | None) -> None:
        self._most = most
        self._door = door
        self._addresses: dict[Connection, str] = {}
        self._count: Counter[str] = Counter()

    def refuses(self, connection: Connection, peer: str, *, proxied: bool = False) -> str | None:
        """Say what a connection from this address is refused as; else it is counted until it is forgotten.

        `proxied`: it is to be a trusted proxy's, which will say for whom it is.
        """
        if proxied:
            return None if self._door is not None and self._door.is_proxy(peer) else "wrong_address"
        if self._door is not None and self._door.turns_away(peer):
            return "wrong_address"
        if not self._most or (self._door is not None and self._door.is_proxy(peer)):
            return None
        if self._count[peer] >= self._most:
            return "too_many_of_address"
        self._count[peer] += 1
        self._addresses[connection] = peer
        return None

    def forget(self, connection: Connection) -> None:
        """Count a connection no longer."""
        peer = self._addresses.pop(connection, None)
        if peer is not None:
            self._count[peer] -= 1
            if not self._count[peer]:
                del self._count[peer]


@contextmanager
def room(limits: Limits) -> Generator[Limits]:
    """Take descriptors for connections out of what listeners may have; yield the limits with what there is."""
    purse, wanted = for_listeners(), limits.max_connections
    given = min(wanted, max(LEAST, purse.left - TURNED_AWAY))
    if given < wanted:
        log.warning("room for fewer connections than max_connections: too few descriptors", room=given, wanted=wanted)
    purse.draw(given + TURNED_AWAY)
    try:
        yield replace(limits, max_connections=given)
    finally:
        purse.draw(-given - TURNED_AWAY)
