"""What tests of a daemon process do that wait for it without a loop of their own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from servers.daemon import Daemon, text


def answers(daemon: Daemon) -> bool:
    try:
        socket.create_connection(("127.0.0.1", daemon.push), 1).close()
    except OSError:
        return False
    return True


def wait(happens: Callable[[], bool], daemon: Daemon, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert daemon.process
        assert daemon.process.poll() is None, f"the daemon ended with {daemon.process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def push(daemon: Daemon, numbers: Sequence[int]) -> None:
    for number in numbers:
        with socket.create_connection(("127.0.0.1", daemon.push), 5) as client:
            body = text(number)
            client.sendall(b"POST /n HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            client.settimeout(10)
            assert client.recv(1000).startswith(b"HTTP/1.1 204")
