"""The addresses of a listener, and sockets at several of them where it is given none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from socket import AF_INET6, AI_PASSIVE, SOCK_STREAM, create_server, getaddrinfo, socket

_BACKLOG = 1024
_PORT = re.compile("[0-9]{1,5}")


def addresses_of(listen: Sequence[str]) -> Sequence[tuple[str, int]]:
    """Return the host and the port of each `HOST:PORT`; raises ValueError."""
    found = [_address(one) for one in listen]
    if not found:
        raise ValueError("there is no address")
    again = next((a for i, a in enumerate(found) if a[1] and a in found[:i]), None)
    if again is not None:
        raise ValueError(f"{again[0]}:{again[1]} stands twice")
    return found


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not _PORT.fullmatch(port) or int(port) > 0xFFFF:  # noqa: PLR2004 - the last port
        raise ValueError(f"{text[:100]!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def open_sockets(addresses: Sequence[tuple[str, int]]) -> Sequence[socket]:
    """Listen at all of them, each a host and a port; `::` takes IPv4 as well unless there is `0.0.0.0`."""
    opened: list[socket] = []
    with ExitStack() as undo:
        for host, port in addresses:
            both = host == "::" and ("0.0.0.0", port) not in addresses  # noqa: S104 - only compared with
            for family, *_, where in getaddrinfo(host, port, type=SOCK_STREAM, flags=AI_PASSIVE):
                dual = both and family == AF_INET6
                one = create_server(where[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
                opened.append(undo.enter_context(one))
        undo.pop_all()
    return opened
