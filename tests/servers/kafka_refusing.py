"""A broker that only says who it is and refuses idempotent producers, as most instances of ApsaraMQ for Kafka do.

It stands in for a cluster whose InitProducerId answers ClusterAuthorizationFailed: an Apache Kafka since 2.8 gives that
right to all who may write to any topic.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v0
from aiokafka.protocol.transaction import InitProducerIdResponse_v0

CLUSTER_AUTHORIZATION_FAILED = 31
_METADATA, _VERSIONS, _INIT_PRODUCER_ID = 3, 18, 22


@asynccontextmanager
async def refusing_broker() -> AsyncGenerator[tuple[str, list[int]]]:
    """Yield its host:port, and the numbers of the requests that came."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                key, _, correlation = struct.unpack_from(">hhi", await reader.readexactly(size))
                asked.append(key)
                answer = struct.pack(">i", correlation) + _answer(key, port)
                writer.write(struct.pack(">i", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    async with server:
        yield f"127.0.0.1:{port}", asked


def _answer(key: int, port: int) -> bytes:
    if key == _VERSIONS:
        return bytes(ApiVersionResponse_v0(0, [(0, 2, 2), (_METADATA, 0, 0), (_VERSIONS, 0, 0), (22, 0, 0)]).encode())
    if key == _METADATA:
        return bytes(MetadataResponse_v0([(1, "127.0.0.1", port)], []).encode())
    assert key == _INIT_PRODUCER_ID, key
    return bytes(InitProducerIdResponse_v0(0, CLUSTER_AUTHORIZATION_FAILED, -1, -1).encode())
