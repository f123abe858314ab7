"""A link: whole frames over a stream socket, each behind its length in four bytes."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

import anyio
from anyio.lowlevel import checkpoint

LONGEST = 256 * 2**20
"""Bytes of a frame at most; a longer one is no frame of ours."""
_LENGTH = 4


class Link:
    """One end, non-blocking. One task receives; any may send. A peer that is gone ends it with `EndOfStream`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._head = bytearray(_LENGTH)
        self._sending = anyio.Lock()

    async def receive(self) -> bytearray:
        """Return the next frame; raises `EndOfStream`."""
        await self._fill(self._head)
        length = int.from_bytes(self._head, "big")
        if length > LONGEST:
            raise anyio.EndOfStream
        frame = bytearray(length)
        await self._fill(frame)
        await checkpoint()  # a peer that always has more must not keep everybody else waiting
        return frame

    async def send(self, frame: bytes) -> None:
        """Send a frame, waiting while the peer takes nothing; raises `EndOfStream`.

        Where it is cancelled in the middle of a frame, the link is of no use any more, and is shut down.
        """
        async with self._sending:
            done = False
            try:
                await self._put([len(frame).to_bytes(_LENGTH, "big"), frame])
                done = True
            finally:
                if not done:
                    self.shutdown()

    def shutdown(self) -> None:
        """Let both ends see that it is over."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    async def _fill(self, buffer: bytearray) -> None:
        rest = memoryview(buffer)
        while rest:
            try:
                count = self._sock.recv_into(rest)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
                continue
            except OSError as error:
                raise anyio.EndOfStream from error
            if not count:
                raise anyio.EndOfStream
            rest = rest[count:]

    async def _put(self, parts: Sequence[bytes]) -> None:
        rest = [memoryview(part) for part in parts]
        while rest:
            try:
                count = self._sock.sendmsg(rest)
            except BlockingIOError:
                await anyio.wait_writable(self._sock)
                continue
            except OSError as error:
                raise anyio.EndOfStream from error
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if count:
                rest[0] = rest[0][count:]
