"""The load: HTTP/1.1 requests made by one thread over many connections, as fast as they are answered or at a rate.

Closed: each connection sends its next request when the last one is answered, as wrk does. Open: requests are due at
fixed times whether or not earlier ones are answered, and their time counts from when they were due, so that a server
that stalls is not asked less meanwhile. Both take the whole requests ready made, and read just enough of the answers.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import count

from benchmarks.messages import Request

Address = tuple[str, int]


CLOSED = -1
"""In place of a status: the server closed the connection."""


class Answers:
    """What was answered: the numbers of the results with a 2xx, with their seconds and when (monotonic)."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self.seconds = array("d")
        self.times = array("d")
        self.refused: Counter[int] = Counter()
        """Other answers, by status; `CLOSED` for connections that were closed without one."""
        self.elapsed = 0.0
        self.cpu_seconds = 0.0
        """What the load itself used: it cannot make more requests than one core has time for."""

    def note(self, number: int, status: int, began: float, now: float) -> None:
        if 200 <= status < 300:
            self.numbers.append(number)
            self.seconds.append(now - began)
            self.times.append(now)
        else:
            self.refused[status] += 1

    @property
    def rate(self) -> float:
        """Return the results that were taken, a second."""
        return len(self.numbers) / self.elapsed

    def milliseconds(self, share: float) -> float:
        """Return the time of an answer, in ms, that this share of them did not exceed."""
        return quantile(self.seconds, share) * 1000


def quantile(values: array[float], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class _Line:
    """One connection, and the request that is out on it."""

    def __init__(self, address: Address) -> None:
        self.sock = socket.create_connection(address, 30)
        self.sock.settimeout(None)  # with one, each call would ask first whether the socket is ready
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self.began = 0.0
        self.last = False
        """Whether the server has said, or shown, that it takes no more requests here."""
        self._rest = b""

    def send(self, number: int, request: bytes, began: float) -> None:
        self.number = number
        self.began = began
        with suppress(ConnectionError):  # seen again by `receive`, behind an answer that may have come before
            self.sock.sendall(request)

    def receive(self) -> int:
        """Return the status of the answer, `CLOSED`, or 0 while it is not whole."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.last = True
            return CLOSED
        data = self._rest + data
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found or not _whole(head, rest):
            self._rest = data
            return 0
        self._rest = b""
        status = int(data[9:12])
        self.last = status >= 300 and b"connection: close" in head.lower()  # servers that take a result keep it open
        return status


def _whole(head: bytes, rest: bytes) -> bool:
    """Say whether what follows the head is the whole body."""
    if not rest and head.startswith((b"HTTP/1.1 204", b"HTTP/1.0 204")):
        return True
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return rest.endswith(b"0\r\n\r\n")
    _, found, after = lower.partition(b"content-length:")
    return len(rest) >= (int(after.partition(b"\r\n")[0]) if found else 0)


class _Lines:
    """All connections, and one wait for those that have an answer."""

    def __init__(self, address: Address, connections: int) -> None:
        self._address = address
        self._epoll = select.epoll()
        self.all: dict[int, _Line] = {}
        for _ in range(connections):
            self.open()

    def open(self) -> _Line:
        line = _Line(self._address)
        self.all[line.sock.fileno()] = line
        self._epoll.register(line.sock, select.EPOLLIN)
        return line

    def usable(self, line: _Line) -> _Line:
        """Return the connection, or another one in its place where it takes no more requests."""
        if not line.last:
            return line
        self.drop(line)
        return self.open()

    def drop(self, line: _Line) -> None:
        """Close a connection that is no longer needed."""
        del self.all[line.sock.fileno()]
        line.sock.close()

    def ready(self, seconds: float) -> list[_Line]:
        """Wait for answers, not longer than this; to the microsecond, which epoll's own timeout is not."""
        found = self._epoll.poll(0)
        if not found and seconds > 0:
            select.select([self._epoll], [], [], seconds)
            found = self._epoll.poll(0)
        return [self.all[handle] for handle, _ in found]

    def close(self) -> None:
        self._epoll.close()
        for line in self.all.values():
            line.sock.close()


@contextmanager
def _measured(address: Address, connections: int, answers: Answers) -> Generator[_Lines]:
    """Connect, and measure what happens in the block; the garbage collector rests."""
    lines = _Lines(address, connections)
    gc.collect()
    gc.disable()
    began, used = time.monotonic(), time.thread_time()
    try:
        yield lines
    finally:
        answers.elapsed = time.monotonic() - began
        answers.cpu_seconds = time.thread_time() - used
        gc.enable()
        lines.close()


def closed(
    address: Address,
    request: Request,
    *,
    connections: int,
    seconds: float,
    first: int = 1,
    most: int = 10**10,
    until_gone: bool = False,
) -> Answers:
    """Keep all connections busy for some seconds, with `most` results at most; numbers go up from `first`.

    `until_gone` takes it for the end, and not for an error, when the server does not take connections any more.
    """
    answers = Answers()
    clock = time.monotonic
    gone = (ConnectionError,) if until_gone else ()
    with _measured(address, connections, answers) as lines, suppress(*gone):
        number, last = first, first + most
        end = clock() + seconds
        out = 0
        for line in tuple(lines.all.values()):
            if number < last:
                line.send(number, request(number), clock())
                number += 1
                out += 1
        while out:
            for line in lines.ready(30.0) or _nothing_came(out):
                status = line.receive()
                if not status:
                    continue
                now = clock()
                answers.note(line.number, status, line.began, now)
                if now < end and number < last:
                    lines.usable(line).send(number, request(number), now)
                    number += 1
                else:
                    lines.drop(line)
                    out -= 1
    return answers


def open_loop(
    address: Address, request: Request, *, rate: float, seconds: float, connections: int = 256, first: int = 1
) -> Answers:
    """Send results at a fixed rate over as many connections as it takes, up to `connections`.

    They are made when they are needed: a server closes those on which nothing is asked, all at once, and that would be
    measured too.
    """
    answers = Answers()
    clock = time.monotonic
    with _measured(address, 0, answers) as lines:
        idle: list[_Line] = []
        out = 0
        start = clock()
        due = (start + n / rate for n in count())
        at, number, last = next(due), first, first + round(rate * seconds)
        while out or number < last:
            while number < last and (idle or len(lines.all) < connections) and at <= clock():
                line = idle.pop() if idle else lines.open()
                line.send(number, request(number), at)
                number, at, out = number + 1, next(due), out + 1
            free = idle or len(lines.all) < connections
            wait = at - clock() if free and number < last else 30.0
            for line in lines.ready(wait):
                if line in idle:  # the server closes it, and nothing is asked there
                    idle.remove(line)
                    lines.drop(line)
                elif status := line.receive():
                    answers.note(line.number, status, line.began, clock())
                    idle.append(lines.usable(line))
                    out -= 1
    return answers


def _nothing_came(out: int) -> list[_Line]:
    raise TimeoutError(f"{out} requests were not answered within 30 s")
