"""Ten cheap web servers in one process: each answers every request 204 and remembers its `Webhook-Id`.

Prints its ports, one line of JSON. Then for each line on standard input: a number of seconds makes all answers that
late; `count` prints how many requests came to each port; a path writes the ids there, one file a port, and empties
the memory. Ends with its input.

    python benchmarks/receivers.py [--ports 10]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import cast

import httptools
import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """One port, and what came there."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.delay = 0.0


class Connection(asyncio.Protocol):
    """One client's connection."""

    transport: asyncio.Transport

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Webhook-Id":
            self._receiver.ids.append(value)

    def on_message_complete(self) -> None:
        if self._receiver.delay:
            asyncio.get_running_loop().call_later(self._receiver.delay, self.transport.write, ANSWER)
        else:
            self.transport.write(ANSWER)


async def serve(ports: int) -> None:
    loop = asyncio.get_running_loop()
    receivers = [Receiver() for _ in range(ports)]
    servers = [await loop.create_server(lambda r=r: Connection(r), "127.0.0.1", 0) for r in receivers]  # type: ignore[misc]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := (await orders.readline()).decode().strip():
        obey(order, receivers)


def obey(order: str, receivers: list[Receiver]) -> None:
    if order == "count":
        print(json.dumps([len(receiver.ids) for receiver in receivers]), flush=True)
    elif order.replace(".", "").isdigit():
        for receiver in receivers:
            receiver.delay = float(order)
    else:
        for number, receiver in enumerate(receivers):
            Path(order, f"{number}.ids").write_bytes(b"\n".join(receiver.ids))
            receiver.ids = []
        print("written", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ports", type=int, default=10)
    uvloop.run(serve(parser.parse_args().ports))
