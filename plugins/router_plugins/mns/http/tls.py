"""Connections over TLS: a handshake counts as a connection as soon as it begins, and has a deadline.

asyncio's server tells of a connection only when its handshake is over, so clients that never finish one could be as
many as they like. Here sockets are accepted first, counted, and then handed to asyncio.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ssl import SSLContext
from typing import TYPE_CHECKING

import anyio
import structlog
from anyio.abc import SocketAttribute, TaskGroup

from router_plugins.mns.http.connection import LINGER, Connection

if TYPE_CHECKING:
    from router_plugins.mns.http.front import Front

_NO_ROOM = 1.0
"""Seconds to wait when the system has no descriptor or memory for one more socket, as asyncio's server does."""

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def listen_tls(
    front: Front, host: str, port: int, backlog: int, context: SSLContext, given: Sequence[socket.socket] = ()
) -> AsyncGenerator[tuple[tuple[str, int], Callable[[], None]]]:
    """Accept connections until the block ends, from `given` sockets if there are any.

    Yields the address, and what stops accepting. Stopping cuts off those that are in the middle of a handshake.
    """
    async with AsyncExitStack() as opened:
        sockets = given
        if not sockets:
            made = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=backlog)
            listener = await opened.enter_async_context(made)
            sockets = [each.extra(SocketAttribute.raw_socket) for each in listener.listeners]  # noqa: S610 - no Django
        accepting = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_accept_all, front, sockets, context, accepting)
            yield sockets[0].getsockname()[:2], accepting.cancel
            accepting.cancel()


async def _accept_all(
    front: Front, sockets: Sequence[socket.socket], context: SSLContext, scope: anyio.CancelScope
) -> None:
    with scope:
        async with anyio.create_task_group() as tasks:
            for each in sockets:
                tasks.start_soon(_accept, front, each, context, tasks)


async def _accept(front: Front, listener: socket.socket, context: SSLContext, tasks: TaskGroup) -> None:
    """Accept one socket after the other, and close the listening one in the end."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # the client was gone before its turn
            except OSError as error:
                _log.warning("no connection can be accepted now", error=str(error))
                await anyio.sleep(_NO_ROOM)
                continue
            connection = Connection(front)
            if front.expect(connection):
                tasks.start_soon(_shake_hands, front, client, context, connection)
            else:
                client.close()
    finally:
        loop.remove_reader(listener)  # a cancelled `sock_accept` leaves it (python/cpython#85489)
        listener.close()


async def _shake_hands(front: Front, client: socket.socket, context: SSLContext, connection: Connection) -> None:
    """Let asyncio do the handshake; the connection joins the front by itself when that is done."""
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection,
            client,
            ssl=context,
            ssl_handshake_timeout=front.limits.header_timeout,
            ssl_shutdown_timeout=LINGER,
        )
    except OSError:  # among them what is no TLS at all, and a deadline that has passed
        pass
    finally:
        front.give_up(connection)
