"""Sockets at several addresses, for a listener that is given none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from socket import AF_INET6, AI_PASSIVE, SOCK_STREAM, create_server, getaddrinfo, socket

_BACKLOG = 1024


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
