"""What waits in the queue of a listening socket: connections that clients have opened and nobody has accepted."""

from __future__ import annotations

from collections.abc import Iterator
from socket import socket

MOST = 1024
"""Connections that are taken from one queue: as many as it holds, so that clients who keep coming do not keep us."""


def queued(listener: socket) -> Iterator[socket]:
    """Accept what waits, without waiting for more."""
    listener.setblocking(False)
    for _ in range(MOST):
        try:
            client, _ = listener.accept()
        except ConnectionError:
            continue  # the client was gone before its turn
        except OSError:  # nothing waits, or no descriptor is left
            return
        client.setblocking(False)
        yield client
