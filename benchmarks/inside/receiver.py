"""Web servers that note what comes: `python receiver.py FOLDER STATUS DELAY PORT...`; SIGTERM ends them.

Each request is answered with the status, DELAY seconds late. At the end, the number of each result and when it came
(monotonic seconds) are in FOLDER/PORT.times, as pairs of doubles.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from array import array
from functools import partial
from pathlib import Path
from typing import cast

import httptools
import uvloop

NUMBER = re.compile(rb'env_id(?:=|":"?)(\d+)')


class Connection(asyncio.Protocol):
    """One client's connection; `times` is shared by all of a port."""

    def __init__(self, times: array[float], answer: bytes, delay: float) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._times = times
        self._answer = answer
        self._delay = delay
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        now = time.monotonic()
        for number in NUMBER.findall(self._body):
            self._times.extend((int(number), now))
        self._body = b""
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, self._answer)
        else:
            self._transport.write(self._answer)


async def serve(folder: Path, status: int, delay: float, ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    answer = b"HTTP/1.1 %d Status\r\n%b\r\n" % (status, b"" if status == 204 else b"Content-Length: 0\r\n")
    all_times = {port: array("d") for port in ports}
    for port, times in all_times.items():
        await loop.create_server(partial(Connection, times, answer, delay), "127.0.0.1", port, backlog=1024)
    await end.wait()
    for port, times in all_times.items():
        (folder / f"{port}.times").write_bytes(times.tobytes())


if __name__ == "__main__":
    where, code, late, *some = sys.argv[1:]
    uvloop.run(serve(Path(where), int(code), float(late), [int(port) for port in some]))
