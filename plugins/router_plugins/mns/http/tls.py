"""Connections over TLS, or with a PROXY header in front: they count as soon as they begin, and have a deadline.

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
from router_plugins.mns.http.proxied import read_client

if TYPE_CHECKING:
    from router_plugins.mns.http.front import Front

_NO_ROOM = 1.0
"""Seconds to wait when the system has no descriptor or memory for one more socket, as asyncio's server does."""

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def listen_tls(
    front: Front, host: str, port: int, backlog: int, context: SSLContext | None, given: Sequence[socket.socket] = ()
) -> AsyncGenerator[tuple[tuple[str, int], Callable[[], None]]]:
    """Accept connections until the block ends, from `given` sockets if there are any.

    Yields the address, and what stops accepting; those that are in the middle of a handshake then have a moment for it.
    """
    async with AsyncExitStack() as opened:
        sockets = given
        if not sockets:
            made = await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=backlog)
            listener = await opened.enter_async_context(made)
            sockets = [each.extra(SocketAttribute.raw_socket) for each in listener.listeners]  # noqa: S610 - no Django
        accepting, shaking = anyio.CancelScope(), anyio.CancelScope(shield=True)

        def stop() -> None:
            accepting.cancel()
            shaking.deadline = anyio.current_time() + LINGER

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_accept_all, front, sockets, context, accepting, shaking)
            try:
                yield sockets[0].getsockname()[:2], stop
            finally:
                shaking.cancel()


async def _accept_all(
    front: Front,
    sockets: Sequence[socket.socket],
    context: SSLContext | None,
    accepting: anyio.CancelScope,
    shaking: anyio.CancelScope,
) -> None:
    with shaking:
        async with anyio.create_task_group() as handshakes:
            with accepting:
                async with anyio.create_task_group() as tasks:
                    for each in sockets:
                        tasks.start_soon(_accept, front, each, context, handshakes)


async def _accept(front: Front, listener: socket.socket, context: SSLContext | None, handshakes: TaskGroup) -> None:
    """Accept one socket after the other, and close the listening one in the end."""
    listener.setblocking(False)
    try:
        while True:
            await anyio.wait_readable(listener)
            try:
                client, address = listener.accept()
            except (BlockingIOError, ConnectionError):
                continue  # another front was first, or the client was gone before its turn
            except OSError as error:
                _log.warning("no connection can be accepted now", error=str(error))
                await anyio.sleep(_NO_ROOM)
                continue
            client.setblocking(False)
            connection = Connection(front)
            if front.expect(connection, str(address[0])):
                handshakes.start_soon(_shake_hands, front, client, context, connection)
            else:
                client.close()
    finally:
        listener.close()


async def _shake_hands(front: Front, client: socket.socket, context: SSLContext | None, connection: Connection) -> None:
    """Let asyncio do the handshake; the connection joins the front by itself when that is done."""
    try:
        if front.proxied and not await _is_introduced(front, client, connection):
            client.close()
            return
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection,
            client,
            ssl=context,
            ssl_handshake_timeout=front.limits.header_timeout if context else None,
            ssl_shutdown_timeout=LINGER if context else None,
        )
    except OSError:  # among them what is no TLS at all, and a deadline that has passed
        pass
    finally:
        front.give_up(connection)


async def _is_introduced(front: Front, client: socket.socket, connection: Connection) -> bool:
    """Read the PROXY header, and say whether its client may connect; the socket is closed if this is cancelled."""
    try:
        with anyio.fail_after(front.limits.header_timeout):
            return front.introduce(connection, await read_client(client))
    except TimeoutError:
        front.give_up(connection, "bad_proxy_header", "the PROXY header took too long")
    except EOFError:
        front.give_up(connection, "")  # a balancer looks whether there is anybody
    except ConnectionError:
        front.give_up(connection)
    except ValueError as error:
        front.give_up(connection, "bad_proxy_header", str(error))
    except BaseException:
        client.close()
        raise
    return False
